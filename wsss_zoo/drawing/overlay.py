"""Label maps laid over their images, and the legend of their colours."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from wsss_zoo.drawing.pictures import LEGEND_LINE, color_label, draw_legend, font
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import voc_palette

_ROWS = 256  # of an image at a time: no colour picture of the whole is held beside it
_EDGE = 0.6  # opacity of an outline, as a share of the way from that of the area to full
_PER_COLUMN, _GAP, _PAPER = 25, 6, (255, 255, 255)


def draw_overlay(image: UInt8Array, label: UInt8Array, *, opacity: float, background: bool) -> None:
    """Lay a label map (H, W) over its image (H, W, 3), in place.

    Classes have the colours of PASCAL VOC, with an opacity in (0, 1] and a stronger outline; 255 is
    hatched. With ``background`` class 0 shows the image.
    """
    edge_opacity = opacity + (1 - opacity) * _EDGE
    for top in range(0, len(label), _ROWS):
        part = label[top : top + _ROWS]
        # Whether the outer rows are edges depends on the rows around.
        first = max(top - 1, 0)
        edge = _edges(label[first : top + _ROWS + 1])[top - first :][: len(part)]
        strength = np.where(edge, edge_opacity, opacity)
        if background:
            strength[part == 0] = 0
        strength = strength.astype(np.float32)[..., None]
        rows = image[top : top + _ROWS]
        blended = rows * (1 - strength) + color_label(part) * strength
        rows[:] = blended.round().astype(np.uint8)


def draw_class_list(class_names: Sequence[str], *, ignored: bool) -> Image.Image:
    """Draw colour, index and name of every class, and with ``ignored`` of 255, in columns."""
    entries = [(f"{index}  {name}", index) for index, name in enumerate(class_names)]
    entries += [("255  ignored", IGNORE_INDEX)] if ignored else []
    lines = min(len(entries), _PER_COLUMN)
    width = 50 + max(round(font(12).getlength(text)) for text, _ in entries)
    size = (width * math.ceil(len(entries) / lines), lines * LEGEND_LINE + 2 * _GAP)
    picture = Image.new("RGB", size, _PAPER)
    for number, entry in enumerate(entries):
        column, line = divmod(number, lines)
        picture.paste(draw_legend([entry], width), (column * width, _GAP + line * LEGEND_LINE))
    return picture


def class_lines(class_names: Sequence[str], *, ignored: bool) -> str:
    r"""Format the lines of a ``classes.txt`` for `Folder`: name, red, green, blue.

    >>> class_lines(["background", "cat"], ignored=True)
    'background 0 0 0\ncat 128 0 0\nignore 224 224 192\n'
    """
    indices = dict(enumerate(class_names)) | ({IGNORE_INDEX: "ignore"} if ignored else {})
    palette = voc_palette()
    colors = {index: " ".join(map(str, palette[index].tolist())) for index in indices}
    return "".join(f"{name} {colors[index]}\n" for index, name in indices.items())


def _edges(label: UInt8Array) -> np.ndarray:
    """Mark pixels with a neighbour of another label, (H, W) bool."""
    edge = np.zeros(label.shape, dtype=bool)
    below, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    edge[1:] |= below
    edge[:-1] |= below
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
