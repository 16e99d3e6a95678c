"""Label losses and thresholds against loops over pixels and candidates."""

import json
import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import (
    clean_pixels,
    detection_report,
    gate_by_tags,
    label_loss,
    noise_threshold,
    youden_threshold,
)

seeds = each("seed", range(30))


def draw_pixels(seed):
    """Up to 30 pixels of few distinct losses, so that many are equal, and whether each is right."""
    torch.manual_seed(seed)
    count = int(torch.randint(31, ()))
    return torch.randint(9, (count,)) / 4, torch.rand(count) < torch.rand(())


@seeds
@each("precision", [0.0, 0.5, 2 / 3, 0.9, 1.0])
def test_noise_threshold_is_the_highest_with_the_precision(seed, precision):
    losses, right = draw_pixels(seed)
    best = -math.inf
    for candidate in losses.tolist():
        clean = [
            r for loss, r in zip(losses.tolist(), right.tolist(), strict=True) if loss <= candidate
        ]
        if sum(clean) / len(clean) >= precision:
            best = max(best, candidate)
    assert noise_threshold(losses, right, precision) == best


@seeds
def test_youden_threshold_is_the_lowest_of_the_best(seed):
    losses, right = draw_pixels(seed)

    def index(candidate):
        clean = losses <= candidate
        of_right, of_wrong = (
            Fraction(int((clean & some).sum()), max(int(some.sum()), 1)) for some in (right, ~right)
        )
        return of_right - of_wrong

    candidates = sorted(set(losses.tolist()))
    best = max(map(index, candidates), default=0)
    expected = next(c for c in candidates if index(c) == best) if best > 0 else -math.inf
    assert youden_threshold(losses, right) == expected


def test_threshold_of_float32_losses_counts_its_own_pixel():
    torch.manual_seed(0)
    losses, right = torch.rand(5000), torch.rand(5000) < 0.8
    right |= losses < 0.2
    gamma = noise_threshold(losses, right, 0.9)
    clean = losses <= gamma
    assert gamma in losses
    assert right[clean].double().mean() >= 0.9
    higher = losses[losses > gamma]
    assert all(right[losses <= level].double().mean() < 0.9 for level in higher)


def test_ruled_out_labels_are_never_clean_below_full_precision():
    losses = torch.tensor([0.1, 0.2, torch.inf])
    assert noise_threshold(losses, torch.tensor([True, True, False]), 0.9) == pytest.approx(0.2)


def test_nothing_to_choose_from():
    nothing, wrong = torch.zeros(0), torch.zeros(3, dtype=torch.bool)
    for precision in (0.0, 0.5):
        assert noise_threshold(nothing, wrong[:0], precision) == -math.inf
    assert noise_threshold(torch.rand(3), wrong, 0.1) == -math.inf
    assert youden_threshold(nothing, wrong[:0]) == -math.inf
    assert youden_threshold(torch.rand(3), wrong) == -math.inf
    losses = torch.tensor([3.0, 1.0, 2.0])
    assert noise_threshold(losses, ~wrong, 1.0) == 3
    assert youden_threshold(losses, ~wrong) == 3


@each("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_label_loss_is_the_cross_entropy(dtype):
    torch.manual_seed(0)
    logits = (20 * torch.randn(2, 5, 6, 7)).to(dtype)
    labels = torch.randint(5, (2, 6, 7))
    labels[torch.rand(2, 6, 7) < 0.3] = 255
    with torch.autocast("cpu", torch.bfloat16):
        losses = label_loss(logits, labels.to(torch.uint8))
    assert losses.dtype == torch.float32
    expected = F.cross_entropy(logits.float(), labels, ignore_index=255, reduction="none")
    torch.testing.assert_close(losses, expected)
    assert (losses >= 0).all()
    assert (losses[labels == 255] == 0).all()


def test_label_that_the_tags_rule_out():
    logits = gate_by_tags(torch.randn(1, 4, 3, 3), torch.tensor([[0, 1, 0]]))
    for label, finite in enumerate([True, False, True, False]):
        losses = label_loss(logits, torch.full((1, 3, 3), label))
        assert losses.isfinite().all() if finite else (losses == torch.inf).all()
    assert (
        label_loss(torch.full_like(logits, -torch.inf), torch.zeros(1, 3, 3).long()) == torch.inf
    ).all()
    assert (label_loss(logits, torch.full((1, 3, 3), 255)) == 0).all()


def test_clean_pixels_by_one_threshold_and_by_one_of_each_class():
    torch.manual_seed(0)
    losses, labels = torch.rand(2, 5, 6), torch.randint(4, (2, 5, 6))
    losses[0, 0, 0] = torch.inf
    labels[labels == 3] = 255
    given_label = labels != 255
    assert torch.equal(clean_pixels(losses, labels, 0.5), given_label & (losses <= 0.5))
    assert torch.equal(
        clean_pixels(losses, labels, torch.tensor(0.5)), given_label & (losses <= 0.5)
    )
    bounds = torch.tensor([0.2, -torch.inf, 0.9])
    expected = [
        label != 255 and loss <= bounds[label]
        for loss, label in zip(losses.flatten().tolist(), labels.flatten().tolist(), strict=True)
    ]
    clean = clean_pixels(losses, labels.to(torch.uint8), bounds)
    assert clean.flatten().tolist() == expected
    assert not clean_pixels(losses, labels, -math.inf).any()


def share(part, whole):
    return pytest.approx(float(part.sum() / whole.sum())) if whole.any() else None


@each("threshold", [0.4, torch.tensor([0.3, 0.6, 0.0, 0.5])])
def test_report_equals_the_shares_of_each_class(threshold):
    torch.manual_seed(0)
    losses, labels = torch.rand(200) + 1e-3, torch.randint(3, (200,))
    right = torch.rand(200) < 0.7
    bound = threshold if isinstance(threshold, float) else threshold[labels]
    clean = losses <= bound
    report = detection_report(losses, labels, right, threshold, num_classes=4)
    everywhere = torch.ones_like(clean)
    assert report["precision"] == share(clean & right, clean)
    assert report["coverage"] == share(clean, everywhere)
    assert report["recall"] == share(clean & right, right)
    for label in range(4):
        of = labels == label
        assert report["class_precision"][label] == share(clean & right & of, clean & of)
        assert report["class_coverage"][label] == share(clean & of, of)
        assert report["class_recall"][label] == share(clean & right & of, right & of)
        assert report["class_pixels"][label] == of.sum()
    assert json.loads(json.dumps(report)) == report
    assert report["class_coverage"][3] is None


def test_report_of_nothing():
    report = detection_report(
        torch.zeros(0), torch.zeros(0).long(), torch.zeros(0, dtype=torch.bool), 0.5, num_classes=2
    )
    assert report["precision"] is None
    assert report["class_recall"] == [None, None]
    assert report["class_pixels"] == [0, 0]


LOSSES, LABELS, RIGHT = torch.rand(4), torch.zeros(4).long(), torch.ones(4, dtype=torch.bool)


@each(
    ("call", "told"),
    [
        (lambda: noise_threshold(LOSSES, RIGHT, 95), "precision is 95; give a share"),
        (lambda: noise_threshold(LOSSES, RIGHT[:3], 0.9), r"losses \(4,\) and is_correct \(3,\)"),
        (lambda: noise_threshold(LOSSES[None], RIGHT[None], 0.9), r"losses \(1, 4\) .*give \(P,\)"),
        (lambda: noise_threshold(LOSSES, RIGHT.long(), 0.9), "is_correct is torch.int64"),
        (lambda: youden_threshold(LOSSES / 0 * 0, RIGHT), "4 of 4 losses are NaN"),
        (lambda: clean_pixels(LOSSES, LABELS[:2], 0.5), r"losses \(4,\) and labels \(2,\)"),
        (lambda: clean_pixels(LOSSES, LABELS.float(), 0.5), "labels are torch.float32"),
        (lambda: clean_pixels(LOSSES, LABELS, torch.zeros(1, 2)), r"threshold has shape \(1, 2\)"),
        (
            lambda: label_loss(torch.zeros(1, 2, 3, 3), LABELS),
            r"logits \(1, 2, 3, 3\) and labels \(4,\)",
        ),
        (
            lambda: label_loss(torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2), 2)),
            "labels hold 2, but",
        ),
        (
            lambda: label_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2)),
            "labels are torch.float32",
        ),
        (lambda: detection_report(LOSSES, LABELS[:2], RIGHT, 0.5, 2), r"and labels \(2,\) differ"),
        (lambda: detection_report(LOSSES, LABELS + 255, RIGHT, 0.5, 2), "labels hold 255 to 255"),
        (
            lambda: detection_report(LOSSES, LABELS, RIGHT, torch.zeros(3), 2),
            r"give a number or \(2,\)",
        ),
        (
            lambda: detection_report(LOSSES, LABELS, RIGHT.float(), 0.5, 2),
            "is_correct is torch.float",
        ),
    ],
)
def test_arguments_that_do_not_fit(call, told):
    with pytest.raises(ValueError, match=told):
        call()
