"""Contact sheets: many small images with their masks laid over them and their tags below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wsss_zoo.drawing.overlay import draw_overlay
from wsss_zoo.drawing.pictures import (
    color_label,
    draw_legend,
    font,
    resized,
    scaled,
    shorten,
    shown_classes,
)
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array

_GAP = 8
_LINE = 15
_TITLE = 24
_OPACITY = 0.55
_PAPER, _CELL, _INK = (255, 255, 255), (238, 238, 238), (30, 30, 30)
_FAINT, _WRONG = (110, 110, 110), (200, 0, 0)


@dataclass(frozen=True)
class Tile:
    """One image of a contact sheet."""

    image_id: str
    image: UInt8Array  # RGB, (H, W, 3)
    mask: UInt8Array | None = None  # class index per pixel, 255 = ignored, (H, W)
    tags: Sequence[str] | None = None  # names of the tagged classes
    warning: str = ""  # what looks wrong; shown in red
    note: str = ""  # what else is said of it, before the tags
    marks: UInt8Array | None = None  # class index where something is drawn, else 255, (H, W)
    boxes: Sequence[tuple[Sequence[float], int]] = ()  # x0, y0, x1, y1 in pixels, and class index


def draw_contact_sheet(
    tiles: Sequence[Tile],
    class_names: Sequence[str],
    *,
    title: str,
    first_fg: int = 1,
    columns: int = 6,
) -> Image.Image:
    """Draw images in a grid: masks over them, ids and tags below, and a legend.

    Classes from ``first_fg`` on have the colours of PASCAL VOC and an outline; 255 is hatched.
    Marks are opaque, of the background too, and boxes are outlines.

    Raises:
        ValueError: If there is no tile.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one image")
    columns = min(columns, len(tiles))
    width, height = _cell_size(tiles)
    rows = math.ceil(len(tiles) / columns)
    sheet_width = max(columns, 3) * (width + _GAP) + _GAP
    masks = [tile.mask for tile in tiles if tile.mask is not None]
    legend = draw_legend(_legend(tiles, masks, class_names, first_fg), sheet_width)
    cell_height = height + 2 * _LINE + _GAP + 4
    size = (sheet_width, _TITLE + rows * cell_height + _GAP + legend.height)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 4), shorten(title, sheet_width - 2 * _GAP, 13), _INK, font(13))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        left, top = _GAP + column * (width + _GAP), _TITLE + _GAP // 2 + row * cell_height
        draw.rectangle((left, top, left + width - 1, top + height - 1), _CELL)
        picture = _draw_tile(tile, first_fg, width, height)
        place = (left + (width - picture.width) // 2, top + (height - picture.height) // 2)
        sheet.paste(picture, place)
        draw.text((left, top + height + 2), shorten(tile.image_id, width), _INK, font(11))
        text, color = _tag_line(tile)
        draw.text((left, top + height + 2 + _LINE), shorten(text, width), color, font(11))
    sheet.paste(legend, (0, sheet.height - legend.height))
    return sheet


def _legend(
    tiles: Sequence[Tile], masks: list[UInt8Array], class_names: Sequence[str], first_fg: int
) -> list[tuple[str, int]]:
    """List name and index of the classes that are shown."""
    marks = [tile.marks for tile in tiles if tile.marks is not None]
    drawn = {int(index) for label in marks for index in np.unique(label)}
    drawn |= {index for tile in tiles for _, index in tile.boxes}
    entries = shown_classes(masks, class_names, first_fg)
    more = [(name, index) for index, name in enumerate(class_names) if index in drawn]
    return sorted({*entries, *more}, key=lambda entry: entry[1])


def _cell_size(tiles: Sequence[Tile]) -> tuple[int, int]:
    """Choose a width and height of the cells that most images fill."""
    ratios = [tile.image.shape[1] / tile.image.shape[0] for tile in tiles]
    ratio = float(np.clip(np.median(ratios), 0.75, 1.6))
    width = round((200 * 160 * ratio) ** 0.5)
    return width, round(width / ratio)


def _draw_tile(tile: Tile, first_fg: int, width: int, height: int) -> Image.Image:
    scale = min(width / tile.image.shape[1], height / tile.image.shape[0])
    pixels = scaled(tile.image, scale)
    if tile.mask is not None:
        mask = resized(tile.mask, pixels.shape[1::-1], is_label=True)
        draw_overlay(pixels, mask, opacity=_OPACITY, background=first_fg > 0)
    if tile.marks is not None:
        _draw_marks(pixels, tile.marks, scale)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for box, index in tile.boxes:
        x0, y0, x1, y1 = (scale * side for side in box)
        red, green, blue = color_label(np.array([[index]], dtype=np.uint8))[0, 0].tolist()
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), None, (red, green, blue), 2)
    return picture


def _draw_marks(pixels: UInt8Array, marks: UInt8Array, scale: float) -> None:
    """Colour marked pixels of a picture at a scale, in place, two pixels wide at least."""
    height, width = pixels.shape[:2]
    rows, columns = np.nonzero(marks != IGNORE_INDEX)
    colors = color_label(marks[rows, columns][None])[0]
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y = np.minimum((rows * scale).astype(int) + down, height - 1)
        x = np.minimum((columns * scale).astype(int) + right, width - 1)
        pixels[y, x] = colors


def _tag_line(tile: Tile) -> tuple[str, tuple[int, int, int]]:
    if tile.tags is not None:
        text = f"tags: {', '.join(tile.tags) or 'none of the classes'}"
    else:
        labelled = "unlabelled" if tile.marks is None else "sparse labels"
        text = labelled if tile.mask is None else "mask, no tags"
    if tile.note:
        text = tile.note if tile.tags is None else f"{tile.note}; {text}"
    if tile.warning:
        return tile.warning if tile.tags is None else f"{tile.warning}; {text}", _WRONG
    return text, _FAINT if tile.tags is None else _INK
