"""Contact sheets: many small images with their masks laid over them and their tags below."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss_zoo.callbacks.pictures import color_label
from wsss_zoo.data.image_files import IGNORE_INDEX, UInt8Array

_GAP = 8
_LINE = 15
_TITLE = 24
_SWATCH = 11
_OPACITY = 0.55
_PAPER, _CELL, _INK = (255, 255, 255), (238, 238, 238), (30, 30, 30)
_FAINT, _WRONG = (110, 110, 110), (200, 0, 0)


@dataclass(frozen=True)
class Tile:
    """One image of a contact sheet.

    Args:
        image_id: Name below the image.
        image: RGB image, (H, W, 3).
        mask: Class index per pixel, 255 = ignored, (H, W); None without a mask.
        tags: Names of the classes in its tags; None without tags.
        warning: What looks wrong with it; shown in red.
    """

    image_id: str
    image: UInt8Array
    mask: UInt8Array | None = None
    tags: Sequence[str] | None = None
    warning: str = ""


def draw_contact_sheet(
    tiles: Sequence[Tile],
    class_names: Sequence[str],
    *,
    title: str,
    first_fg: int = 1,
    columns: int = 6,
) -> Image.Image:
    """Draw images in a grid, masks over them, ids and tags below, and a legend.

    Args:
        tiles: Images to draw, at least one.
        class_names: Names by class index.
        title: First line.
        first_fg: Index of the first foreground class; what is below stays uncoloured.
        columns: Images side by side.

    Returns:
        RGB picture. Classes have the colours of PASCAL VOC and an outline; 255 is hatched.

    Raises:
        ValueError: If there is no tile.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one image")
    columns = min(columns, len(tiles))
    width, height = _cell_size(tiles)
    rows = -(-len(tiles) // columns)
    sheet_width = max(columns, 3) * (width + _GAP) + _GAP
    legend = _legend(tiles, class_names, first_fg, sheet_width)
    cell_height = height + 2 * _LINE + _GAP + 4
    size = (sheet_width, _TITLE + rows * cell_height + _GAP + legend.height)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 4), _shortened(title, sheet_width - 2 * _GAP, 13), _INK, _font(13))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        left, top = _GAP + column * (width + _GAP), _TITLE + _GAP // 2 + row * cell_height
        draw.rectangle((left, top, left + width - 1, top + height - 1), _CELL)
        picture = _overlay(tile, first_fg, width, height)
        place = (left + (width - picture.width) // 2, top + (height - picture.height) // 2)
        sheet.paste(picture, place)
        draw.text((left, top + height + 2), _shortened(tile.image_id, width), _INK, _font(11))
        text, color = _tag_line(tile)
        draw.text((left, top + height + 2 + _LINE), _shortened(text, width), color, _font(11))
    sheet.paste(legend, (0, sheet.height - legend.height))
    return sheet


def _cell_size(tiles: Sequence[Tile]) -> tuple[int, int]:
    """Width and height of the pictures' cells: those of most images fill them."""
    ratios = [tile.image.shape[1] / tile.image.shape[0] for tile in tiles]
    ratio = float(np.clip(np.median(ratios), 0.75, 1.6))
    width = round((200 * 160 * ratio) ** 0.5)
    return width, round(width / ratio)


def _overlay(tile: Tile, first_fg: int, width: int, height: int) -> Image.Image:
    image = Image.fromarray(tile.image)
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))
    if tile.mask is None:
        return Image.fromarray(pixels)
    mask = np.asarray(Image.fromarray(tile.mask).resize(size, Image.Resampling.NEAREST))
    colors = color_label(mask)
    shown = mask >= first_fg
    mixed = _OPACITY * colors[shown] + (1 - _OPACITY) * pixels[shown]
    pixels[shown] = mixed.astype(np.uint8)
    edge = np.zeros_like(shown)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    pixels[edge & (mask != IGNORE_INDEX)] = 255
    return Image.fromarray(pixels)


def _tag_line(tile: Tile) -> tuple[str, tuple[int, int, int]]:
    if tile.tags is not None:
        text = f"tags: {', '.join(tile.tags) or 'none of the classes'}"
    else:
        text = "unlabelled" if tile.mask is None else "mask, no tags"
    if tile.warning:
        return tile.warning if tile.tags is None else f"{tile.warning}; {text}", _WRONG
    return text, _FAINT if tile.tags is None else _INK


def _legend(
    tiles: Sequence[Tile], class_names: Sequence[str], first_fg: int, width: int
) -> Image.Image:
    found = np.zeros(256, dtype=bool)
    for tile in tiles:
        if tile.mask is not None:
            found[np.unique(tile.mask)] = True
    entries = [
        (name, index)
        for index, name in enumerate(class_names)
        if index >= first_fg and found[index]
    ]
    if found[IGNORE_INDEX]:
        entries.append(("ignored (255)", IGNORE_INDEX))
    places, left, top = [], _GAP, 0
    for name, _ in entries:
        length = _SWATCH + 4 + round(_font(12).getlength(name)) + 14
        if left + length > width and left > _GAP:
            left, top = _GAP, top + _LINE + 4
        places.append((left, top))
        left += length
    legend = Image.new("RGB", (width, top + _LINE + _GAP if entries else _GAP), _PAPER)
    draw = ImageDraw.Draw(legend)
    for (name, index), (left, top) in zip(entries, places, strict=True):
        swatch = color_label(np.full((_SWATCH, _SWATCH), index, dtype=np.uint8))
        legend.paste(Image.fromarray(swatch), (left, top + 2))
        draw.rectangle((left, top + 2, left + _SWATCH, top + 2 + _SWATCH), outline=_FAINT)
        draw.text((left + _SWATCH + 4, top), name, _INK, _font(12))
    return legend


def _shortened(text: str, width: int, size: int = 11) -> str:
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(f"{text}..") > width:
        text = text[:-1]
    return f"{text}.."


@cache
def _font(size: int) -> Any:
    # Pillow's own font has Latin letters only.
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)
