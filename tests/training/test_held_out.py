"""Choice on held-out masks: against plain numpy and torchmetrics-free loops."""

import numpy as np
import pytest
import torch

from wsss_zoo.functional import mean_iou
from wsss_zoo.training.held_out import (
    Score,
    best_score,
    compare_candidates,
    make_folds,
    mean_ious,
)


def confusions(seed, images=7, classes=3, good=0.5):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 40, (images, classes, classes))
    counts[:, range(classes), range(classes)] += int(200 * good)
    return counts


def test_mean_iou_is_that_of_the_metrics():
    counts = confusions(0)
    counts[2, 1], counts[2, :, 1] = 0, 0  # a class that occurs nowhere
    found = mean_ious(counts)
    for index, matrix in enumerate(counts):
        assert found[index] == pytest.approx(mean_iou(torch.from_numpy(matrix)), abs=1e-12)


def test_numbers_are_of_one_matrix_over_all_images():
    counts = {"supervised": confusions(1), "fixmatch": confusions(2, good=0.9)}
    first, second = compare_candidates(counts)
    for score, name in ((first, "supervised"), (second, "fixmatch")):
        whole = torch.from_numpy(counts[name].sum(0))
        assert score.miou == pytest.approx(mean_iou(whole), abs=1e-12)
        assert score.interval[0] < score.miou < score.interval[1]
    assert first.gain == 0
    assert first.gain_interval == (0, 0)
    assert second.gain == pytest.approx(second.miou - first.miou)
    assert best_score([first, second]) is second


def test_intervals_are_those_of_a_loop_of_draws():
    counts = {"a": confusions(3), "b": confusions(4)}
    rng = np.random.default_rng(0)
    times = rng.multinomial(7, np.full(7, 1 / 7), size=2000)
    drawn = []
    for row in times:
        matrix = sum(int(n) * c for n, c in zip(row, counts["b"], strict=True))
        drawn.append(mean_iou(torch.from_numpy(matrix)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert compare_candidates(counts)[1].interval == pytest.approx((low, high), abs=1e-12)


def test_paired_draws_are_narrower_than_unpaired_ones():
    # Images differ much, candidates little.
    hard = np.eye(3, dtype=np.int64) * 100
    base = np.stack([hard * (n + 1) + n * 30 for n in range(9)])
    scores = compare_candidates({"a": base, "b": base + np.eye(3, dtype=np.int64) * 5})
    gain, own = scores[1].gain_interval, scores[1].interval
    assert gain[1] - gain[0] < (own[1] - own[0]) / 3


def test_a_single_image_has_no_interval():
    (score,) = compare_candidates({"supervised": confusions(0, images=1)})
    assert score.interval is None
    assert "95 %" not in score.line()


def test_the_baseline_wins_a_tie():
    scores = [Score(name, 3, 0.5, None, 0.0, None) for name in ("supervised", "fixmatch")]
    assert best_score(scores).name == "supervised"


def test_lines_say_percent_and_points():
    score = Score("fixmatch", 12, 0.5, (0.4, 0.6), 0.051, (-0.01, 0.1))
    assert score.line() == "fixmatch: 50.0 % mIoU on 12 held-out masks (95 %: 40.0 to 60.0)"
    assert score.gain_line("supervised") == "+5.1 points over supervised (95 %: -1.0 to +10.0)"


def test_folds_are_a_partition_of_near_equal_sizes():
    ids = [f"i{n}" for n in range(11)]
    folds = make_folds(ids, 3)
    assert sorted(i for fold in folds for i in fold) == sorted(ids)
    assert {len(fold) for fold in folds} == {3, 4}
    assert make_folds(["b", "a"], 5) == [["a"], ["b"]]
