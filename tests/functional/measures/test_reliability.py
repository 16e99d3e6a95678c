import math

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import confusion_matrix, image_reliability, mean_iou


def naive(earlier: np.ndarray, last: np.ndarray, num_classes: int) -> float:
    """Loops over pairs, classes and pixels, as ST++ defines it."""
    means = []
    for preds in earlier:
        overlaps = []
        for index in range(num_classes):
            intersection = union = 0
            for a, b in zip(preds.ravel(), last.ravel(), strict=True):
                if a == 255 or b == 255:
                    continue
                intersection += a == index and b == index
                union += a == index or b == index
            if union:
                overlaps.append(intersection / union)
        means.append(sum(overlaps) / len(overlaps) if overlaps else 0.0)
    return sum(means) / len(means)


def random_maps(seed: int, count: int, classes: int, ignored: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, classes, (count + 1, 6, 9))
    maps[rng.random(maps.shape) < ignored] = 255
    return maps


@each("dtype", [torch.uint8, torch.int64])
@each(("count", "classes", "ignored"), [(1, 2, 0.0), (2, 4, 0.0), (2, 3, 0.3), (4, 21, 0.9)])
def test_equals_loops(count, classes, ignored, dtype):
    for seed in range(5):
        maps = random_maps(seed, count, classes, ignored)
        tensor = torch.from_numpy(maps).to(dtype)
        # More classes than occur change nothing: a class without a union does not count.
        value = image_reliability(tensor[:-1], tensor[-1], classes + 2)
        assert value == pytest.approx(naive(maps[:-1], maps[-1], classes), abs=1e-12)


def test_is_the_mean_of_means_not_of_one_matrix():
    last = torch.tensor([[0, 0, 1, 1]])
    earlier = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
    assert image_reliability(earlier, last, 2) == pytest.approx((1 + (0.5 + 0) / 2) / 2)
    both = sum(confusion_matrix(preds, last, 2) for preds in earlier)
    assert image_reliability(earlier, last, 2) != pytest.approx(mean_iou(both))


def test_symmetric_in_earlier_and_last_and_one_for_equal_maps():
    first, second = torch.from_numpy(random_maps(3, 1, 4, 0.2))
    forth, back = (image_reliability(a[None], b, 4) for a, b in ((first, second), (second, first)))
    assert forth == pytest.approx(back)
    assert image_reliability(torch.stack([first, first]), first, 4) == 1.0


@pytest.mark.parametrize(
    ("earlier", "last"),
    [
        (torch.full((2, 3, 4), 255), torch.full((3, 4), 255)),
        (torch.full((2, 3, 4), 255), torch.zeros(3, 4).long()),
        (torch.zeros(2, 3, 4).long(), torch.full((3, 4), 255)),
        (torch.zeros(2, 0, 4).long(), torch.zeros(0, 4).long()),
    ],
)
def test_nothing_to_compare_is_not_reliable(earlier, last):
    assert image_reliability(earlier, last, 3) == 0.0
    assert not math.isnan(image_reliability(earlier, last, 3))


def test_one_empty_pair_counts_zero():
    last = torch.zeros(3, 4).long()
    earlier = torch.stack([last, torch.full_like(last, 255)])
    assert image_reliability(earlier, last, 3) == 0.5


@each(
    ("earlier", "last", "message"),
    [
        (torch.zeros(2, 3, 4).long(), torch.zeros(3, 5).long(), "do not fit; give"),
        (torch.zeros(3, 4).long(), torch.zeros(3, 4).long(), "do not fit"),
        (torch.zeros(0, 3, 4).long(), torch.zeros(3, 4).long(), "no earlier prediction"),
        (torch.full((1, 3, 4), 3), torch.zeros(3, 4).long(), r"outside \[0, 3\)"),
        (torch.zeros(1, 3, 4), torch.zeros(3, 4).long(), "give class indices"),
    ],
)
def test_rejects(earlier, last, message):
    with pytest.raises(ValueError, match=message):
        image_reliability(earlier, last, 3)
