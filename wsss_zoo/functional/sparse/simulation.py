"""Sparse labels drawn from full masks, for benchmarks: they say what a person would have marked.

All are functions of the mask and the seed alone. Class 0 is the background, 255 has no class.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import route_through_array

from wsss_zoo.functional.sparse.drawing import UInt8Array, disc_mask, draw_strokes

_UNKNOWN = 255
_STROKE_AREA, _POINT_AREA = 80, 50  # least pixels of a component that is marked
_SIDE = 160  # a larger component is shrunk before the way through it is searched
_BACKGROUND_STROKES, _BACKGROUND_POINTS = 2, 3
Window = tuple[slice, ...]
BoolArray = NDArray[np.bool_]


def simulate_scribbles(
    mask: UInt8Array, seed: int | Sequence[int], *, width: int = 3, clip: bool = True
) -> UInt8Array:
    """Draw strokes along the middle of the objects of a mask.

    Each class has a stroke in every component of at least 80 pixels, or in its largest one; the
    background has two, in its largest component. A stroke is 50 to 100 % of the cheapest way
    between two far points, where a step costs 1 / (depth / largest depth + 0.1)^2.

    Args:
        mask: Class index per pixel, (H, W); 0 the background, 255 no class.
        seed: Seed of ``numpy.random.default_rng``.
        width: Width of the strokes, pixels.
        clip: Keep the strokes inside their class. False lets them leave it, as those of people do.

    Returns:
        Class index per pixel, (H, W), 255 where nothing is drawn. Every class of the mask occurs.
    """
    rng = np.random.default_rng(seed)
    drawn = np.full(mask.shape, _UNKNOWN, dtype=np.uint8)
    for index, window, inside in _components(mask, _STROKE_AREA):
        for _ in range(1 if index else _BACKGROUND_STROKES):
            way = _stroke(inside, rng) + np.array([window[1].start, window[0].start])
            new = draw_strokes([way], [index], (mask.shape[0], mask.shape[1]), width) == index
            drawn[new & (mask == index) if clip else new] = index
    return _with_all_classes(drawn, mask)


def simulate_points(
    mask: UInt8Array, seed: int | Sequence[int], *, radius: int = 2, error: float = 0.0
) -> UInt8Array:
    """Mark discs of objects where people click: deep inside, with probability ~ depth^2.

    Each class has a point in every component of at least 50 pixels, or in its largest one; the
    background has three, in its largest component. The depth is the distance to the edge. Real
    clicks have depths like these; 5 % of them hit the border (255) and 2 % another class.

    Args:
        mask: Class index per pixel, (H, W); 0 the background, 255 no class.
        seed: Seed of ``numpy.random.default_rng``.
        radius: Radius of the discs, pixels. A disc ends where its class ends.
        error: Share of points, in [0, 1], that are set beside their component, on a pixel of
            another class or of none. Their discs are whole.

    Returns:
        Class index per pixel, (H, W), 255 where nothing is marked. Every class of the mask occurs.
    """
    if not 0 <= error <= 1:
        raise ValueError(f"error is {error}; give a share of the points in [0, 1]")
    rng = np.random.default_rng(seed)
    drawn = np.full(mask.shape, _UNKNOWN, dtype=np.uint8)
    for index, window, inside in _components(mask, _POINT_AREA):
        chance = (_depth(inside) ** 2).ravel().cumsum()
        rows, columns = _beside(mask, index, window, inside) if error else ((), ())
        for _ in range(1 if index else _BACKGROUND_POINTS):
            place = int(np.searchsorted(chance, rng.random() * chance[-1], "right"))
            y, x = divmod(place, inside.shape[1])
            y, x = y + window[0].start, x + window[1].start
            wrong = bool(error) and rng.random() < error and len(rows) > 0
            if wrong:
                other = int(rng.integers(len(rows)))
                y, x = int(rows[other]), int(columns[other])
            disc = disc_mask(x + 0.5, y + 0.5, radius, (mask.shape[0], mask.shape[1]))
            drawn[disc if wrong else disc & (mask == index)] = index
    return _with_all_classes(drawn, mask)


def simulate_boxes(
    mask: UInt8Array, seed: int | Sequence[int], *, jitter: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Put a box around every connected component of every foreground class.

    Args:
        mask: Class index per pixel, (H, W); 0 the background, 255 no class. Components touch at
            sides, not at corners.
        seed: Seed of ``numpy.random.default_rng``.
        jitter: Standard deviation of the shift of each side, as a share of the box's length.

    Returns:
        Boxes x0, y0, x1, y1, (R, 4), half open, inside the image; and their class indices, (R,).

    >>> mask = np.array([[0, 0, 0], [0, 4, 4]], dtype=np.uint8)
    >>> simulate_boxes(mask, 0)
    (array([[1., 1., 3., 2.]]), array([4]))
    """
    if jitter < 0:
        raise ValueError(f"jitter is {jitter}; give a share of the box's length >= 0")
    rng = np.random.default_rng(seed)
    found = [(w, index) for index, w, _ in _components(mask, 1) if index]
    sides = [(w[1].start, w[0].start, w[1].stop, w[0].stop) for w, _ in found]
    boxes = np.array(sides, dtype=np.float64).reshape(-1, 4)
    if jitter:
        lengths = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + rng.normal(0, jitter, boxes.shape) * lengths
        limits = np.array(mask.shape[::-1], dtype=np.float64)
        low = np.minimum(boxes[:, :2], boxes[:, 2:]).clip(0, limits - 1)
        # A box keeps one pixel at least.
        high = np.maximum(np.maximum(boxes[:, :2], boxes[:, 2:]).clip(0, limits), low + 1)
        boxes = np.concatenate([low, high], 1)
    return boxes, np.array([index for _, index in found], dtype=np.int64)


def simulate_blocks(mask: UInt8Array, seed: int | Sequence[int], share: float) -> UInt8Array:
    """Show random rectangles of a mask until a share of its pixels is known.

    Args:
        mask: Class index per pixel, (H, W); 255 no class.
        seed: Seed of ``numpy.random.default_rng``.
        share: Share of the pixels with a class to show, in (0, 1]. The last rectangle is cut where
            it is reached.

    Returns:
        Class index per pixel, (H, W), 255 outside the rectangles. The first rectangles show a pixel
        of each class, so that every class occurs.

    The block-wise annotations of Liang et al., "Tree Energy Loss", CVPR 2022.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; give a share of the pixels in (0, 1]")
    rng = np.random.default_rng(seed)
    known = mask != _UNKNOWN
    wanted = int(np.ceil(share * known.sum()))
    shown = np.zeros(mask.shape, dtype=bool)
    classes = np.unique(mask[known])
    for index in classes:
        pixels = np.flatnonzero(mask == index)
        centre = divmod(int(pixels[rng.integers(len(pixels))]), mask.shape[1])
        # All of them together are at most half of what is shown, down to single pixels.
        limit = (share / 2 / len(classes)) ** 0.5
        shown[_rectangle(rng, centre, mask.shape, limit)] = True
    while (missing := wanted - int((shown & known).sum())) > 0:
        centre = (int(rng.integers(mask.shape[0])), int(rng.integers(mask.shape[1])))
        window = _rectangle(rng, centre, mask.shape, 1.0)
        gains = (known & ~shown)[window].sum(1).cumsum()
        rows = int(np.searchsorted(gains, missing)) + 1
        shown[window[0].start : min(window[0].start + rows, window[0].stop), window[1]] = True
    return np.where(shown, mask, np.uint8(_UNKNOWN))


def _components(mask: UInt8Array, least: int) -> Iterator[tuple[int, Window, BoolArray]]:
    """Components (4 neighbours) by class: index, window, and where it is in the window.

    Those of ``least`` pixels, or the largest if there is none; of the background the largest.
    """
    for index in np.unique(mask[mask != _UNKNOWN]).tolist():
        labels, count = ndimage.label(mask == index)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        largest = int(areas.argmax()) + 1
        windows: list[Window] = ndimage.find_objects(labels)
        for number, window in enumerate(windows, 1):
            if number == largest or (index and areas[number - 1] >= least):
                yield index, window, labels[window] == number


def _depth(inside: BoolArray) -> NDArray[np.float64]:
    """Distance of each pixel of a component to its edge; the frame of the image is one too."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return depth


def _stroke(inside: BoolArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Joints x, y of a stroke through a component, (P, 2)."""
    step = -(-max(inside.shape) // _SIDE)
    padded = np.pad(inside, [(0, -side % step) for side in inside.shape])
    height, width = padded.shape
    # A cell is inside if any of its pixels is: no thin part is torn off.
    blocks = padded.reshape(height // step, step, width // step, step)
    cells = np.asarray(blocks.any(axis=(1, 3)))
    depth = _depth(cells)
    depth /= depth.max()
    deep = np.argwhere(depth > 0.3)
    points = deep[rng.integers(len(deep), size=25)]
    gaps = np.square(points[:, None] - points[None]).sum(2)
    start, end = divmod(int(gaps.argmax()), len(points))
    costs = np.where(cells, (depth + 0.1) ** -2.0, np.inf)
    # scikit-image has no types.
    way, _ = route_through_array(costs, points[start], points[end])  # type: ignore[no-untyped-call]
    count = max(1, round(rng.uniform(0.5, 1) * len(way)))
    first = int(rng.integers(len(way) - count + 1))
    part = np.array(way[first : first + count], dtype=np.float64)
    part = np.concatenate([part[:: max(1, 4 // step)], part[-1:]])
    joints: NDArray[np.float64] = (part[:, ::-1] + 0.5) * step
    joints += rng.normal(0, 0.5, joints.shape)
    return joints


def _beside(
    mask: UInt8Array, index: int, window: Window, inside: BoolArray
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels of other classes that touch a component."""
    whole = np.zeros(mask.shape, dtype=bool)
    whole[window] = inside
    rows, columns = np.nonzero(ndimage.binary_dilation(whole) & (mask != index))
    return rows, columns


def _rectangle(
    rng: np.random.Generator, centre: tuple[int, int], size: tuple[int, ...], limit: float
) -> Window:
    """A window around a pixel, with sides of 5 to 20 % of the image, but at most ``limit``."""
    sides = [max(1, int(min(rng.uniform(0.05, 0.2), limit) * length)) for length in size]
    starts = [max(0, place - side // 2) for place, side in zip(centre, sides, strict=True)]
    return (
        slice(starts[0], min(size[0], starts[0] + sides[0])),
        slice(starts[1], min(size[1], starts[1] + sides[1])),
    )


def _with_all_classes(drawn: UInt8Array, mask: UInt8Array) -> UInt8Array:
    """Mark the deepest pixel of each class that is not drawn, or was drawn over."""
    for index in set(np.unique(mask[mask != _UNKNOWN])) - set(np.unique(drawn)):
        drawn.ravel()[_depth(mask == index).argmax()] = index
    return drawn
