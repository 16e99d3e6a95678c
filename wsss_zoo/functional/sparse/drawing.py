"""Strokes, points and boxes as label maps, 255 where nothing is drawn.

Coordinates are continuous pixels: x to the right, y down, (0, 0) the top left corner of the image.
The pixel in row i and column j has its centre at (j + 0.5, i + 0.5).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

UInt8Array = NDArray[np.uint8]
_UNKNOWN = 255


def draw_strokes(
    strokes: Sequence[ArrayLike], classes: Sequence[int], size: tuple[int, int], width: int = 3
) -> UInt8Array:
    """Draw polylines of classes, later ones over earlier ones.

    Each stroke is a line with a disc of diameter ``width`` at every joint. It is drawn as by the
    code of the gated CRF and of the tree energy loss (megvii-research/TreeEnergyLoss @ a4bf602), by
    Pillow.

    Args:
        strokes: Joints of each stroke, (P, 2) as x, y; P >= 1. Parts outside the image are cut off.
        classes: Class index of each stroke, 0..254.
        size: Height and width (H, W), pixels.
        width: Width of the strokes, pixels, >= 1.

    Returns:
        Class index per pixel, (H, W); 255 where no stroke is.

    >>> draw_strokes([[[1, 1], [4, 1]]], [7], (3, 6), width=1)[1].tolist()
    [7, 7, 7, 7, 7, 255]
    """
    if width < 1:
        raise ValueError(f"width is {width}; give a number of pixels >= 1")
    if len(strokes) != len(classes):
        raise ValueError(
            f"there are {len(strokes)} strokes and {len(classes)} classes; give each stroke a class"
        )
    canvas = Image.new("L", (size[1], size[0]), _UNKNOWN)
    draw, half = ImageDraw.Draw(canvas), width / 2
    for stroke, index in zip(strokes, classes, strict=True):
        joints = _table(stroke, 2, "a stroke", "joints x, y")
        if not len(joints):
            raise ValueError("a stroke has no joint; give at least one point x, y")
        if not 0 <= index < _UNKNOWN:
            raise ValueError(f"a stroke has class {index}; give a class index in 0..254")
        points = [(x, y) for x, y in joints.tolist()]
        if len(points) > 1:
            draw.line(points, int(index), width, joint="curve")
        for x, y in points:
            draw.ellipse((x - half, y - half, x + half, y + half), int(index))
    return np.array(canvas)


def disc_mask(x: float, y: float, radius: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the pixels whose centres are at most ``radius`` from a point, (H, W).

    The pixel that the point lies in is always marked, if there is one.

    >>> disc_mask(1.5, 0.5, 1, (2, 3)).astype(int).tolist()
    [[1, 1, 1], [0, 1, 0]]
    """
    inside = np.zeros(size, dtype=bool)
    # The window that the disc lies in.
    top, left = max(0, math.floor(y - radius)), max(0, math.floor(x - radius))
    bottom, right = math.ceil(y + radius) + 1, math.ceil(x + radius) + 1
    rows, columns = np.ogrid[top : min(bottom, size[0]), left : min(right, size[1])]
    near = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
    inside[top : top + near.shape[0], left : left + near.shape[1]] = near
    if 0 <= x < size[1] and 0 <= y < size[0]:
        inside[int(y), int(x)] = True
    return inside


def box_mask(box: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the pixels whose centres lie in a half-open box x0, y0, x1, y1, (H, W).

    >>> box_mask([1, 0, 2.6, 1], (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64).tolist()
    y, x = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    rows, columns = (y >= y0) & (y < y1), (x >= x0) & (x < x1)
    inside: NDArray[np.bool_] = rows[:, None] & columns
    return inside


def boxes_to_mask(
    boxes: ArrayLike, classes: ArrayLike, size: tuple[int, int], core: float = 0.2
) -> UInt8Array:
    """Label the middle of boxes by their class, and what is outside all boxes as background.

    Between the middle and the sides of a box nothing is known. Middles of small boxes lie on those
    of large ones; corners of a box may be given in any order.

    Args:
        boxes: Boxes x0, y0, x1, y1, (R, 4), half open.
        classes: Class index of each box, (R,), 1..254.
        size: Height and width (H, W), pixels.
        core: Share of a box's area that its middle has, in [0, 1]; 1 fills the boxes.

    Returns:
        Class index per pixel, (H, W): 0 outside all boxes, 255 where nothing is known.

    Khoreva et al., "Simple Does It", CVPR 2017, ignore the rest of a box likewise.

    >>> boxes_to_mask([[1, 0, 4, 1]], [5], (1, 5)).tolist()
    [[0, 255, 5, 255, 0]]
    """
    table, indices = _table(boxes, 4, "boxes", "boxes x0, y0, x1, y1"), np.asarray(classes)
    if indices.shape != (len(table),):
        raise ValueError(
            f"there are {len(table)} boxes and classes {indices.shape}; give each box a class"
        )
    if not 0 <= core <= 1:
        raise ValueError(f"core is {core}; give a share of the box in [0, 1]")
    mask = np.zeros(size, dtype=np.uint8)
    table = np.concatenate([np.sort(table[:, 0::2]), np.sort(table[:, 1::2])], 1)[:, [0, 2, 1, 3]]
    areas = (table[:, 2] - table[:, 0]) * (table[:, 3] - table[:, 1])
    middle, half = (table[:, 2:] + table[:, :2]) / 2, (table[:, 2:] - table[:, :2]) / 2
    cores = np.concatenate([middle - half * core**0.5, middle + half * core**0.5], 1)
    for box in table:
        mask[box_mask(box, size)] = _UNKNOWN
    for place in np.argsort(-areas, kind="stable"):
        mask[box_mask(cores[place], size)] = indices[place]
    return mask


def _table(values: ArrayLike, columns: int, name: str, wanted: str) -> NDArray[Any]:
    """Rows of numbers, (R, columns)."""
    table = np.asarray(values)
    if table.size == 0:
        return np.empty((0, columns))
    if table.ndim != 2 or table.shape[1] != columns:
        raise ValueError(f"{name} has the shape {table.shape}; give {wanted} as (R, {columns})")
    if not np.isfinite(table.astype(np.float64)).all():
        raise ValueError(f"{name} has a coordinate that is no number; give pixels")
    return table
