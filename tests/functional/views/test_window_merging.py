import torch

from tests.each import each
from wsss_zoo.functional import sliding_windows
from wsss_zoo.functional.views.window_merging import merge_windows


def naive(windows, maps, height, width):
    total, visits = torch.zeros(2, height, width), torch.zeros(height, width)
    for (y0, x0, y1, x1), part in zip(windows, maps, strict=True):
        total[:, y0:y1, x0:x1] += part
        visits[y0:y1, x0:x1] += 1
    return total / visits


@each(
    ("height", "width", "crop", "stride"),
    [(30, 41, 12, 8), (12, 41, 12, 5), (25, 25, 12, 12), (7, 5, 12, 8), (40, 9, 10, 3)],
)
@each("columns_first", [False, True])
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
