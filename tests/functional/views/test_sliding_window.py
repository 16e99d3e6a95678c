"""Windows: coverage, size, order."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.functional import sliding_windows


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
