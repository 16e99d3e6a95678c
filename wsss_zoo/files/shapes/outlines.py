"""Outlines of regions: polygons to masks and masks to polygons, under one rule.

Coordinates are continuous pixels: (0, 0) is the top left corner of the top left pixel, and the
centre of the pixel in row i and column j is (j + .5, i + .5).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BoolArray = NDArray[np.bool_]
Ring = NDArray[np.float64]

_CROSSINGS = 1 << 21  # of edges and rows, held in memory at once


def polygon_mask(rings: Sequence[ArrayLike], height: int, width: int) -> BoolArray:
    """Rasterise a polygon: a pixel belongs to it if its centre is inside.

    Even-odd over all rings: a ring inside another one is a hole, and zero-width bridges between
    rings have no pixels. A centre on the left or upper edge is inside, one on the right or lower
    edge is not. Parts outside the image are cut off.

    Args:
        rings: Closed rings, each (P, 2) with x and y in pixels; the first point may be repeated at
            the end. A ring of fewer than three points has no pixels.
        height: Rows H of the mask, at least 1.
        width: Columns W of the mask, at least 1.

    Returns:
        The mask, (H, W).

    Raises:
        ValueError: If a ring has another shape or a coordinate that is not finite, or a size is
            below 1.

    Equal to `skimage.draw.polygon` with coordinates shifted by half a pixel.

    >>> polygon_mask([[(0, 0), (3, 0), (3, 2), (0, 2)]], 3, 4).sum()
    np.int64(6)
    """
    mask = np.zeros((max(height, 0), max(width, 0)), np.bool_)
    top, left, inside = polygon_crop(rings, height, width)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


def polygon_crop(rings: Sequence[ArrayLike], height: int, width: int) -> tuple[int, int, BoolArray]:
    """Rasterise a polygon as `polygon_mask` does, in a box around it.

    Returns:
        First row and first column of the box, and the pixels in it, (h, w); (0, 0) without any.
    """
    if height < 1 or width < 1:
        raise ValueError(f"the mask has {height} rows and {width} columns; give at least 1 each")
    nothing = 0, 0, np.zeros((0, 0), np.bool_)
    starts, ends = _edges([_as_ring(ring) for ring in rings])
    if not len(starts):
        return nothing
    # The first row whose centre is on or below an edge's upper end, and that of its lower end.
    rows = np.ceil(np.stack([starts[:, 1], ends[:, 1]]) - 0.5).clip(0, height).astype(np.int64)
    first, last = rows.min(0), rows.max(0)
    crossing = last > first
    starts, ends, first, last = (a[crossing] for a in (starts, ends, first, last))
    if not len(first):
        return nothing
    top, bottom = int(first.min()), int(last.max())
    columns = np.concatenate([starts[:, 0], ends[:, 0]])
    left, right = (int(np.clip(np.floor(x), 0, width)) for x in (columns.min(), columns.max() + 1))
    if right <= left:
        return nothing
    # One column more than the box has: what lies to its right changes nothing.
    shape = (bottom - top, right - left + 1)
    parity = np.zeros(shape[0] * shape[1], np.uint8)
    for part in _parts(last - first):
        row, x = _crossings(starts[part], ends[part], first[part], last[part])
        column = np.ceil(x - 0.5).clip(left, right).astype(np.int64) - left
        places = (row - top) * shape[1] + column
        parity ^= (np.bincount(places, minlength=parity.size) & 1).astype(np.uint8)
    inside = np.bitwise_xor.accumulate(parity.reshape(shape), axis=1)
    return top, left, inside[:, :-1].view(np.bool_)


def mask_polygons(mask: ArrayLike, tolerance: float = 0.5) -> list[Ring]:
    """Outline a mask with polygons, holes and parts included; the inverse of `polygon_mask`.

    Contours at level .5 of the mask padded by a pixel, simplified by Douglas and Peucker's method.
    A ring that would simplify to nothing keeps its exact form.

    Args:
        mask: The mask, (H, W) bool.
        tolerance: Largest distance of a point from its simplified ring, pixels; 0 is exact.

    Returns:
        Rings, each (P, 2) with x and y in pixels, the first point not repeated. Read them together,
        even-odd: an inner ring is a hole.

    Raises:
        ValueError: If the mask is no matrix or the tolerance is negative.

    >>> rings = mask_polygons(np.eye(3, dtype=bool), 0)
    >>> bool((polygon_mask(rings, 3, 3) == np.eye(3, dtype=bool)).all())
    True
    """
    pixels = np.asarray(mask)
    if pixels.ndim != 2:
        raise ValueError(f"the mask has shape {pixels.shape}; give (H, W)")
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; give a number of pixels >= 0")
    pixels = pixels.astype(np.bool_, copy=False)
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return []
    # Slow to import, and only needed here.
    import skimage.measure

    measure: Any = skimage.measure  # without types
    top, left = rows[0], columns[0]
    crop = np.pad(pixels[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.float64)
    rings = []
    for contour in measure.find_contours(crop, 0.5):
        simple = measure.approximate_polygon(contour, tolerance) if tolerance else contour
        if simple is not contour and not _covers_a_pixel(simple):
            simple = contour
        rings.append(simple[:-1, ::-1] + (left - 0.5, top - 0.5))
    return rings


def ring_area(ring: Ring) -> float:
    """Measure the area that a ring encloses, pixels."""
    return abs(signed_area(ring))


def signed_area(ring: Ring) -> float:
    """Measure the area that a ring encloses, pixels; its sign tells which way the ring goes."""
    x, y = (ring - ring[:1]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _parts(counts: NDArray[np.int64]) -> list[slice]:
    """Share out edges, so that the crossings of a part are not too many."""
    total = np.cumsum(counts)
    if total[-1] <= _CROSSINGS:
        return [slice(None)]
    bounds = np.searchsorted(total, np.arange(0, total[-1], _CROSSINGS), "right")
    ends = np.unique([0, *bounds.tolist(), len(counts)]).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _as_ring(ring: ArrayLike) -> Ring:
    points: NDArray[Any] = np.asarray(ring, np.float64)
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"a ring has shape {points.shape}; give points x, y: (P, 2)")
    if not np.isfinite(points).all():
        raise ValueError("a ring has a coordinate that is not finite; give numbers of pixels")
    return points


def _edges(rings: Sequence[Ring]) -> tuple[Ring, Ring]:
    if not rings:
        return np.zeros((0, 2)), np.zeros((0, 2))
    return np.concatenate(rings), np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])


def _crossings(
    starts: Ring, ends: Ring, first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows that edges cross, and where they cross the line of the centres of each."""
    counts = last - first
    x0, y0, dx, dy, start = (
        np.repeat(values, counts)
        for values in (
            *(starts[:, 0], starts[:, 1], ends[:, 0] - starts[:, 0], ends[:, 1] - starts[:, 1]),
            first - (np.cumsum(counts) - counts),
        )
    )
    row = np.arange(len(start)) + start
    return row, dx * (row + 0.5 - y0) / dy + x0


def _covers_a_pixel(ring: Ring) -> bool:
    """Whether a ring of row, column with pixels' centres at whole numbers covers any of them."""
    if len(ring) < 4:
        return False
    low = np.floor(ring.min(0))
    height, width = (np.ceil(ring.max(0)) - low + 1).astype(int).tolist()
    return bool(polygon_mask([(ring - low)[:, ::-1] + 0.5], height, width).any())
