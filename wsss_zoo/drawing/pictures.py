"""Sheets: image, truth, activation maps, pseudo-label and prediction side by side."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import voc_palette

# Text chunk of a saved sheet with the places of its panels.
PANELS = "wsss_zoo panels"
LEGEND_LINE = 20  # height of a line of a legend, pixels

_GAP = 6
_TITLE_HEIGHT = 20
_CAPTION_HEIGHT = 16
_SWATCH = 12
_HATCH_STEP = 8
_WIDEST = 2.0  # width of a panel over its height
_PAPER, _INK, _HATCH = (255, 255, 255), (30, 30, 30), (170, 170, 170)
_OUTLINE = (120, 120, 120)


@dataclass(frozen=True)
class SheetRow:
    """One image of a sheet, which has a column for everything that some row has.

    Args:
        image_id: Name below the image.
        image: RGB image, (H, W, 3).
        truth: Class index per pixel, 255 = ignored, (H, W).
        cam: Activation maps in [0, 1], or 255 times them as uint8, (k, H, W); k may be 0.
        scores: Probability of each foreground class in [0, 1], (K,).
        image_labels: Tags, 1 where a class is present, (K,); marked in the column of the scores.
        pseudo_label: Class index per pixel, 255 = ignored, (H, W).
        preds: Predicted class index per pixel, (H, W).
        note: What is said of the image beside its name.
    """

    image_id: str
    image: UInt8Array
    truth: UInt8Array | None = None
    cam: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None
    image_labels: NDArray[Any] | None = None
    pseudo_label: UInt8Array | None = None
    preds: UInt8Array | None = None
    note: str = ""


# Title of each column, and the field that it shows.
_COLUMNS = {
    "image": "image",
    "truth": "truth",
    "CAM": "cam",
    "scores": "scores",
    "pseudo-label": "pseudo_label",
    "prediction": "preds",
}
_LABEL_MAPS = ("truth", "pseudo_label", "preds")


def draw_sheet(
    rows: Sequence[SheetRow], class_names: Sequence[str], height: int = 160
) -> Image.Image:
    """Draw images below one another, what is known of them side by side, and a legend.

    Args:
        rows: Images to draw, at least one.
        class_names: Names by class index; scores are those of the last K.
        height: Height of a panel in pixels; at least 48.

    Returns:
        RGB picture. Classes have the colours of PASCAL VOC, 255 is white and hatched; the legend
        holds the classes of the label maps. Heat is the strongest map over the grey image.
        ``info[PANELS]`` is JSON: names and colours of the classes; of each panel the image's id,
        the field of `SheetRow` and the box (left, top, right, bottom); `save_sheet` keeps it.

    Raises:
        ValueError: If there is no row or ``height`` is too small.
    """
    if not rows or height < 48:
        raise ValueError(f"a sheet needs rows and a height >= 48, got {len(rows)} and {height}")
    columns = {
        title: [_draw_panel(row, field, class_names, height) for row in rows]
        for title, field in _COLUMNS.items()
        if any(getattr(row, field) is not None for row in rows)
    }
    widths = [max(p.width for p in panels if p is not None) for panels in columns.values()]
    width = sum(widths) + _GAP * (len(widths) + 1)
    maps = [getattr(row, field) for row in rows for field in _LABEL_MAPS]
    shown = shown_classes([label for label in maps if label is not None], class_names)
    legend = draw_legend(shown, width)
    row_height = height + _CAPTION_HEIGHT + _GAP
    full_height = _TITLE_HEIGHT + row_height * len(rows) + legend.height
    sheet = Image.new("RGB", (width, full_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    left, places = _GAP, []
    for (title, panels), column_width in zip(columns.items(), widths, strict=True):
        middle = left + column_width // 2
        draw.text((middle, 3), title, _INK, font(13), anchor="ma")
        for index, (row, panel) in enumerate(zip(rows, panels, strict=True)):
            top = _TITLE_HEIGHT + index * row_height
            if panel is not None:
                corner = left + (column_width - panel.width) // 2
                box = (corner, top, corner + panel.width, top + height)
                sheet.paste(panel, box)
                places.append({"image_id": row.image_id, "field": _COLUMNS[title], "box": box})
            if title == "image":
                caption = _caption(row, column_width)
                draw.text((middle, top + height + 1), caption, _INK, font(11), anchor="ma")
        left += column_width + _GAP
    sheet.paste(legend, (0, sheet.height - legend.height))
    colors = voc_palette()[: len(class_names)].tolist()
    described = {"class_names": list(class_names), "colors": colors, "panels": places}
    sheet.info[PANELS] = json.dumps(described)
    return sheet


def _caption(row: SheetRow, width: int) -> str:
    """The name of an image, shortened so that what is said of it stays."""
    if not row.note:
        return shorten(row.image_id, width)
    note = shorten(row.note, width)
    room = width - round(font(11).getlength(f", {note}"))
    return f"{shorten(row.image_id, room)}, {note}" if room > 20 else note


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Save a sheet as PNG with the places of its panels, for ``wsss-zoo compare``."""
    text = PngInfo()
    text.add_itxt(PANELS, sheet.info[PANELS], zip=True)
    sheet.save(path, pnginfo=text)


def color_label(label: UInt8Array) -> UInt8Array:
    """Colour a label map (H, W) as PASCAL VOC does, 255 white with grey diagonals: (H, W, 3) RGB.

    >>> color_label(np.array([[0, 1]], dtype=np.uint8)).tolist()
    [[[0, 0, 0], [128, 0, 0]]]
    """
    colored = voc_palette()[label]
    rows, columns = np.indices(label.shape)
    ignored, line = label == IGNORE_INDEX, (rows + columns) % _HATCH_STEP < 2
    colored[ignored] = _PAPER
    colored[ignored & line] = _HATCH
    return colored


def heat_overlay(image: UInt8Array, cam: NDArray[Any]) -> UInt8Array:
    """Lay the strongest activation over the grey image.

    Args:
        image: RGB image, (H, W, 3).
        cam: Maps in [0, 1], or 255 times them as uint8, (k, H, W); k may be 0: no activation.

    Returns:
        RGB, (H, W, 3), from blue (0) to red (1).
    """
    strongest = cam.max(axis=0, initial=0).astype(np.float32)
    if cam.dtype == np.uint8:
        strongest /= 255
    heat = 255 * colormaps["jet"](strongest)[..., :3]
    grey = image.mean(axis=2, keepdims=True)
    overlay: UInt8Array = (0.5 * heat + 0.5 * grey).astype(np.uint8)
    return overlay


def resized(pixels: UInt8Array, size: tuple[int, int], *, is_label: bool = False) -> UInt8Array:
    """Resize an image, or a label map without mixing classes, to a width and height."""
    how = Image.Resampling.NEAREST if is_label else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(pixels).resize(size, how))


def scaled(pixels: UInt8Array, scale: float, *, is_label: bool = False) -> UInt8Array:
    """Resize by a factor, to at least one pixel."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return resized(pixels, (width, height), is_label=is_label)


def _draw_panel(
    row: SheetRow, field: str, class_names: Sequence[str], height: int
) -> Image.Image | None:
    value = getattr(row, field)
    if value is None:
        return None
    if field == "scores":
        return _draw_scores(value, row.image_labels, class_names, height)
    full_height, full_width = row.image.shape[:2]
    width = max(1, min(round(full_width * height / full_height), round(_WIDEST * height)))
    if field in _LABEL_MAPS:
        # Resized before it is coloured: the hatch keeps its pitch and no colours mix.
        return Image.fromarray(color_label(resized(value, (width, height), is_label=True)))
    picture = value if field == "image" else heat_overlay(row.image, value)
    return Image.fromarray(resized(picture, (width, height)))


def _draw_scores(
    scores: NDArray[Any], tags: NDArray[Any] | None, class_names: Sequence[str], height: int
) -> Image.Image:
    """Draw a bar for each of the classes with the highest scores; tagged ones have a star."""
    first, line = len(class_names) - len(scores), 16
    shown = np.argsort(-scores, kind="stable")[: height // line]
    panel = Image.new("RGB", (180, height), _PAPER)
    draw = ImageDraw.Draw(panel)
    for place, index in enumerate(shown.tolist()):
        top = place * line
        score = float(scores[index])
        star = "* " if tags is not None and tags[index] > 0 else ""
        color = tuple(voc_palette()[first + index].tolist())
        draw.text((0, top + 1), shorten(star + class_names[first + index], 84), _INK, font(11))
        draw.rectangle((88, top + 2, 88 + round(56 * score), top + line - 4), color)
        draw.text((150, top + 1), f"{score:.2f}", _INK, font(11))
    return panel


def draw_legend(entries: Sequence[tuple[str, int]], width: int) -> Image.Image:
    """Draw names and colours of classes, 255 hatched, wrapped to a width in pixels."""
    places, left, top = [], _GAP, 0
    for name, _ in entries:
        length = _SWATCH + 5 + round(font(12).getlength(name)) + 12
        if left + length > width and left > _GAP:
            left, top = _GAP, top + LEGEND_LINE
        places.append((left, top))
        left += length
    legend = Image.new("RGB", (width, top + LEGEND_LINE + _GAP if entries else _GAP), _PAPER)
    draw = ImageDraw.Draw(legend)
    for (name, index), (left, top) in zip(entries, places, strict=True):
        swatch = color_label(np.full((_SWATCH, _SWATCH), index, dtype=np.uint8))
        legend.paste(Image.fromarray(swatch), (left, top + 3))
        draw.rectangle((left, top + 3, left + _SWATCH, top + 3 + _SWATCH), outline=_OUTLINE)
        draw.text((left + _SWATCH + 5, top + 1), name, _INK, font(12))
    return legend


def shown_classes(
    labels: Iterable[UInt8Array], class_names: Sequence[str], first: int = 0
) -> list[tuple[str, int]]:
    """List name and index of the classes in label maps, from ``first`` on; 255 comes last."""
    found = {index for label in labels for index in np.unique(label).tolist()}
    names = [*enumerate(class_names), (IGNORE_INDEX, "ignored (255)")]
    return [(name, index) for index, name in names if index in found and index >= first]


def shorten(text: str, width: int, size: int = 11) -> str:
    """Cut a text to one line of at most ``width`` pixels."""
    text = "".join(character if character.isprintable() else " " for character in text)
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}..") > width:
        text = text[:-1]
    return f"{text}.."


@cache
def font(size: int) -> Any:
    """Load the font of pictures; Pillow's own has Latin letters only."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)
