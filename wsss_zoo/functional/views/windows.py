"""Sliding windows that cover an image, and the average of what they show."""

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from torch import Tensor

LastWindow = Literal["shift", "truncate"]
Box = tuple[int, int, int, int]


def sliding_windows(
    height: int, width: int, crop: int, stride: int, last: LastWindow = "shift"
) -> list[tuple[int, int, int, int]]:
    """List square windows that together cover every pixel of an image.

    The last window of a row or column is either shifted back to the full crop, or kept in place and
    cut off by the image. A side not longer than the crop has one window, which ends with the image.

    Args:
        height: Height of the image, 1 pixel or more, like the other lengths.
        width: Width of the image.
        crop: Side of a window.
        stride: Step between windows, at most `crop`.
        last: "shift" (charlesCXK/TorchSemiSeg) or "truncate" (LiheYoung/UniMatch).

    Returns:
        (y0, x0, y1, x1) of each window, row by row, ends exclusive.

    >>> sliding_windows(4, 7, crop=4, stride=2)
    [(0, 0, 4, 4), (0, 2, 4, 6), (0, 3, 4, 7)]
    """
    for name, value in (("height", height), ("width", width), ("crop", crop), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give a number of pixels >= 1")
    if stride > crop:
        raise ValueError(f"stride {stride} is larger than crop {crop} and leaves gaps; lower it")
    if last not in ("shift", "truncate"):
        raise ValueError(f"last is {last!r}; give 'shift' or 'truncate'")
    return [
        (y0, x0, min(y0 + crop, height), min(x0 + crop, width))
        for y0 in _starts(height, crop, stride, last)
        for x0 in _starts(width, crop, stride, last)
    ]


def _starts(length: int, crop: int, stride: int, last: LastWindow) -> list[int]:
    end = max(length - crop, 0)
    steps = -(-end // stride)
    return [*range(0, end, stride), end if last == "shift" else steps * stride]


def merge_windows(
    windows: Sequence[Box], maps_of: Callable[[Box], Tensor]
) -> Iterator[tuple[Box, Tensor]]:
    """Average maps where windows overlap, and yield every part as soon as it is complete.

    The edges of the windows divide the image into cells. A cell is complete when all windows that
    cover it have run; only started cells are held. With windows row by row these are the rows that
    the next row of windows covers again.

    Args:
        windows: (y0, x0, y1, x1) of each window, ends exclusive, in the order to run them.
        maps_of: Computes the maps (C, y1 - y0, x1 - x0) of a window.

    Yields:
        (y0, x0, y1, x1) of a cell and the mean of its maps, (C, y1 - y0, x1 - x0). Each covered
        pixel is in exactly one cell.

    >>> import torch
    >>> windows = [(0, 0, 1, 2), (0, 1, 1, 3)]
    >>> parts = merge_windows(windows, lambda window: torch.full((1, 1, 2), float(window[1])))
    >>> [(cell, mean.flatten().tolist()) for cell, mean in parts]
    [((0, 0, 1, 1), [0.0]), ((0, 1, 1, 2), [0.5]), ((0, 2, 1, 3), [1.0])]
    """
    rows = sorted({edge for y0, _, y1, _ in windows for edge in (y0, y1)})
    columns = sorted({edge for _, x0, _, x1 in windows for edge in (x0, x1)})

    def cells_of(window: Box) -> list[Box]:
        y0, x0, y1, x1 = window
        return [
            (top, left, below, right)
            for top, below in _intervals(rows, y0, y1)
            for left, right in _intervals(columns, x0, x1)
        ]

    visits = Counter(cell for window in windows for cell in cells_of(window))
    left = visits.copy()
    sums: dict[Box, Tensor] = {}
    for window in windows:
        maps = maps_of(window)
        for cell in cells_of(window):
            y0, x0, y1, x1 = cell
            part = maps[:, y0 - window[0] : y1 - window[0], x0 - window[1] : x1 - window[1]]
            left[cell] -= 1
            if cell in sums:
                sums[cell] += part
            else:
                # A view would keep the maps of the whole window in memory.
                sums[cell] = part.clone() if left[cell] else part
            if left[cell] == 0:
                yield cell, sums.pop(cell) / visits[cell]


def _intervals(edges: list[int], start: int, stop: int) -> list[tuple[int, int]]:
    inside = edges[bisect.bisect_left(edges, start) : bisect.bisect_left(edges, stop) + 1]
    return list(itertools.pairwise(inside))
