"""Averaging of overlapping windows without holding the whole map."""

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Box = tuple[int, int, int, int]


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
