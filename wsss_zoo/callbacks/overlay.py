"""Label maps laid over their images, and the legend of their colours."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss_zoo.callbacks.pictures import color_label
from wsss_zoo.data.image_files import IGNORE_INDEX, UInt8Array
from wsss_zoo.data.pseudo_labels import voc_palette

_ROWS = 256  # of an image at a time: no colour picture of the whole is held beside it
_EDGE = 0.6  # opacity of an outline, as a share of the way from that of the area to full
_SWATCH, _LINE, _PER_COLUMN, _GAP, _FONT = 22, 30, 25, 12, 16
_PAPER, _INK, _OUTLINE = (255, 255, 255), (30, 30, 30), (120, 120, 120)


def draw_overlay(image: UInt8Array, label: UInt8Array, *, opacity: float, background: bool) -> None:
    """Lay a label map over its image, in place.

    Classes have the colours of PASCAL VOC and a stronger outline; background shows the image, 255
    is hatched.

    Args:
        image: RGB image, (H, W, 3); is changed.
        label: Class index per pixel, 255 = ignored, (H, W).
        opacity: Of the colours, in (0, 1].
        background: Whether class 0 is background.
    """
    edge_opacity = opacity + (1 - opacity) * _EDGE
    for top in range(0, len(label), _ROWS):
        part = label[top : top + _ROWS]
        # The rows around tell whether the outer ones are edges.
        first = max(top - 1, 0)
        edge = _edges(label[first : top + _ROWS + 1])[top - first :][: len(part)]
        strength = np.where(edge, edge_opacity, opacity)
        if background:
            strength[part == 0] = 0
        strength = strength.astype(np.float32)[..., None]
        rows = image[top : top + _ROWS]
        blended = rows * (1 - strength) + color_label(part) * strength
        rows[:] = blended.round().astype(np.uint8)


def draw_legend(class_names: Sequence[str], *, ignored: bool) -> Image.Image:
    """Colour, index and name of every class, in columns.

    Args:
        class_names: Names by class index.
        ignored: Whether 255 is listed too.

    Returns:
        RGB picture.
    """
    entries = [(str(index), name, index) for index, name in enumerate(class_names)]
    if ignored:
        entries.append(("255", "ignored", IGNORE_INDEX))
    font = ImageFont.load_default(_FONT)
    columns = [entries[i : i + _PER_COLUMN] for i in range(0, len(entries), _PER_COLUMN)]
    number_width = max(round(font.getlength(number)) for number, _, _ in entries)
    text_left = _SWATCH + _GAP + number_width + _GAP
    widths = [text_left + max(round(font.getlength(name)) for _, name, _ in c) for c in columns]
    size = (sum(widths) + 2 * _GAP * len(widths), _LINE * len(columns[0]) + _GAP)
    legend = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(legend)
    left = _GAP
    for column, width in zip(columns, widths, strict=True):
        for place, (number, name, index) in enumerate(column):
            top = _GAP + place * _LINE
            swatch = color_label(np.full((_SWATCH, _SWATCH), index, dtype=np.uint8))
            legend.paste(Image.fromarray(swatch), (left, top))
            box = (left, top, left + _SWATCH - 1, top + _SWATCH - 1)
            draw.rectangle(box, outline=_OUTLINE)
            right, middle = left + _SWATCH + _GAP + number_width, top + _SWATCH // 2
            draw.text((right, middle), number, _INK, font, anchor="rm")
            draw.text((left + text_left, middle), name, _INK, font, anchor="lm")
        left += width + 2 * _GAP
    return legend


def class_lines(class_names: Sequence[str], *, ignored: bool) -> str:
    r"""The same as text, as `Folder` reads it in ``classes.txt``: name, red, green, blue a line.

    >>> class_lines(["background", "cat"], ignored=True)
    'background 0 0 0\ncat 128 0 0\nignore 224 224 192\n'
    """
    indices = dict(enumerate(class_names)) | ({IGNORE_INDEX: "ignore"} if ignored else {})
    palette = voc_palette()
    colors = {index: " ".join(map(str, palette[index].tolist())) for index in indices}
    return "".join(f"{name} {colors[index]}\n" for index, name in indices.items())


def _edges(label: UInt8Array) -> np.ndarray:
    """Pixels with a neighbour of another label, (H, W) bool."""
    edge = np.zeros(label.shape, dtype=bool)
    below, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    edge[1:] |= below
    edge[:-1] |= below
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
