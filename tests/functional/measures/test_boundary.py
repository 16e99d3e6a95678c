import math

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import boundary_counts, boundary_f_score


def naive_boundary(labels: np.ndarray, c: int) -> list[tuple[int, int]]:
    H, W = labels.shape
    found = []
    for i in range(H):
        for j in range(W):
            around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
            inside = [(y, x) for y, x in around if 0 <= y < H and 0 <= x < W]
            if labels[i, j] == c and any(labels[y, x] != c for y, x in inside):
                found.append((i, j))
    return found


def naive_counts(preds: np.ndarray, target: np.ndarray, C: int, tolerance: float) -> list:
    rows = []
    for c in range(C):
        pred, true = naive_boundary(preds, c), naive_boundary(target, c)

        def near(point, points):
            return any(math.dist(point, other) <= tolerance for other in points)

        matched = [p for p in pred if near(p, true)]
        counted = [p for p in pred if target[p] != 255 or p in matched]
        rows.append([len(matched), len(counted), sum(near(t, pred) for t in true), len(true)])
    return rows


@each("tolerance", [0.0, 1.0, 1.5, 3.0])
@each("seed", range(3))
def test_against_loops(seed, tolerance):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (2, 4, 5))
    preds, target = coarse.repeat(4, 1).repeat(4, 2)
    target = target.copy()
    target[rng.random(target.shape) < 0.1] = 255
    counts = boundary_counts(torch.from_numpy(preds), torch.from_numpy(target), 3, tolerance)
    assert counts.tolist() == naive_counts(preds, target, 3, tolerance)


def test_perfect_and_shifted():
    target = torch.zeros(20, 20, dtype=torch.int64)
    target[5:15, 5:15] = 1
    assert boundary_f_score(boundary_counts(target, target, 3, 0.0))[:2].tolist() == [1.0, 1.0]
    shifted = target.roll(2, 1)
    scores = [boundary_f_score(boundary_counts(shifted, target, 2, t)).mean() for t in (0, 1, 2)]
    assert scores[0] < scores[1] < scores[2] == 1


def test_class_without_boundary_is_nan_and_missed_class_is_0():
    target = torch.zeros(6, 6, dtype=torch.int64)
    target[2:4, 2:4] = 1
    scores = boundary_f_score(boundary_counts(torch.zeros_like(target), target, 3, 1.0))
    assert scores[1] == 0
    assert scores[2].isnan()


def test_void_ring_hides_no_outline():
    target = torch.zeros(16, 16, dtype=torch.int64)
    target[4:12, 4:12] = 255
    target[6:10, 6:10] = 1
    preds = torch.zeros_like(target)
    preds[5:11, 5:11] = 1
    assert boundary_f_score(boundary_counts(preds, target, 2, 2.0)).tolist() == [1.0, 1.0]


@each(
    ("preds", "target", "tolerance", "message"),
    [((2, 2), (2, 3), 1.0, "do not fit"), ((2, 2), (2, 2), -1.0, "tolerance is -1.0")],
)
def test_errors(preds, target, tolerance, message):
    with pytest.raises(ValueError, match=message):
        boundary_counts(torch.zeros(preds), torch.zeros(target), 2, tolerance)
