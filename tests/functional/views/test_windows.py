"""Windows: coverage, size, order, and their average."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import sliding_windows
from wsss_zoo.functional.views.windows import merge_windows


@each(
    ("height", "width", "crop", "stride"),
    [*product([1, 7, 8, 9, 16, 31], [5, 8, 20], [8], [1, 5, 8]), (375, 500, 321, 214)],
)
def test_covers_every_pixel_with_full_windows(height, width, crop, stride):
    windows = sliding_windows(height, width, crop, stride)
    visits = np.zeros((height, width), dtype=int)
    for y0, x0, y1, x1 in windows:
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        assert (y1 - y0, x1 - x0) == (min(crop, height), min(crop, width))
        visits[y0:y1, x0:x1] += 1
    assert (visits > 0).all()
    assert len(set(windows)) == len(windows)
    rows, columns = (1 + max(math.ceil((side - crop) / stride), 0) for side in (height, width))
    assert len(windows) == rows * columns


def test_order_and_steps():
    windows = sliding_windows(10, 10, 4, 3)
    assert windows == sorted(windows)
    assert [window[1] for window in windows[:3]] == [0, 3, 6]
    starts = [window[1] for window in sliding_windows(4, 12, 4, 3)]
    assert starts == [0, 3, 6, 8]
    assert all(second - first <= 3 for first, second in pairwise(starts))


@each(("height", "width"), [(8, 8), (3, 8), (8, 1), (5, 5)])
def test_one_window_when_the_image_is_not_larger(height, width):
    assert sliding_windows(height, width, 8, 5) == [(0, 0, height, width)]


@each(
    ("arguments", "message"),
    [
        ((0, 5, 3, 1), "height is 0"),
        ((5, -1, 3, 1), "width is -1"),
        ((5, 5, 0, 1), "crop is 0"),
        ((5, 5, 3, 0), "stride is 0"),
        ((5, 5, 3, 4), "leaves gaps"),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        sliding_windows(*arguments)


def test_truncated_windows_keep_their_steps_and_cover():
    windows = sliding_windows(4, 12, 4, 3, last="truncate")
    assert [(x0, x1) for _, x0, _, x1 in windows] == [(0, 4), (3, 7), (6, 10), (9, 12)]
    assert sliding_windows(3, 4, 4, 3, last="truncate") == [(0, 0, 3, 4)]
    assert sliding_windows(7, 7, 4, 3, last="truncate") == sliding_windows(7, 7, 4, 3)


def test_rejects_another_rule_for_the_last_window():
    with pytest.raises(ValueError, match="last is 'pad'; give 'shift' or 'truncate'"):
        sliding_windows(4, 4, 2, 1, last="pad")


def naive(windows, maps, height, width):
    total, visits = torch.zeros(2, height, width), torch.zeros(height, width)
    for (y0, x0, y1, x1), part in zip(windows, maps, strict=True):
        total[:, y0:y1, x0:x1] += part
        visits[y0:y1, x0:x1] += 1
    return total / visits


@pytest.mark.parametrize(
    ("height", "width", "crop", "stride"),
    [(30, 41, 12, 8), (12, 41, 12, 5), (25, 25, 12, 12), (7, 5, 12, 8), (40, 9, 10, 3)],
)
@pytest.mark.parametrize("columns_first", [False, True])
def test_mean_over_windows(height, width, crop, stride, columns_first):
    windows = sliding_windows(height, width, crop, stride)
    if columns_first:
        windows.sort(key=lambda box: box[1])
    maps = [torch.rand(2, y1 - y0, x1 - x0) for y0, x0, y1, x1 in windows]
    given = iter(maps)
    result = torch.full((2, height, width), torch.nan)
    for (y0, x0, y1, x1), mean in merge_windows(windows, lambda box: next(given).clone()):
        assert result[:, y0:y1, x0:x1].isnan().all()
        result[:, y0:y1, x0:x1] = mean
    torch.testing.assert_close(result, naive(windows, maps, height, width), rtol=0, atol=1e-6)


def test_any_boxes():
    """Windows of any size and place, some of them nested."""
    windows = [(0, 0, 9, 9), (2, 3, 5, 9), (2, 3, 5, 9), (0, 7, 4, 12), (8, 0, 9, 2)]
    maps = {box: torch.rand(2, box[2] - box[0], box[3] - box[1]) for box in windows}
    result = torch.zeros(2, 9, 12)
    for (y0, x0, y1, x1), mean in merge_windows(windows, lambda box: maps[box].clone()):
        result[:, y0:y1, x0:x1] = mean
    expected = naive(windows, [maps[box] for box in windows], 9, 12).nan_to_num()
    torch.testing.assert_close(result, expected)


def test_only_what_comes_again_is_held():
    """Ten rows of windows: all before the last but one are given away when the last one is run."""
    windows = sliding_windows(70, 20, 16, 6)
    last_row = [box for box in windows if box[2] == 70]
    done = 0

    def maps_of(box):
        if box == last_row[0]:
            # Rows that the last row of windows does not touch, and those it shares.
            assert done == 20 * last_row[0][0]
        return torch.zeros(1, 16, 16)

    for (y0, x0, y1, x1), _ in merge_windows(windows, maps_of):
        done += (y1 - y0) * (x1 - x0)
    assert done == 70 * 20
