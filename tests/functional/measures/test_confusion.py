"""Confusion matrix, mIoU and harmonic mean against loops and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from tests.each import each
from wsss_zoo.functional import confusion_matrix, harmonic_mean, intersection_over_union, mean_iou


def random_pair(num_classes=5, seed=0, shape=(3, 11, 13)):
    generator = torch.Generator().manual_seed(seed)
    preds = torch.randint(0, num_classes, shape, generator=generator)
    target = torch.randint(0, num_classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.2] = 255
    return preds, target


def test_counts_as_the_loop_does():
    preds, target = random_pair()
    expected = np.zeros((5, 5), dtype=np.int64)
    for pred, truth in zip(preds.flatten().tolist(), target.flatten().tolist(), strict=True):
        if truth != 255:
            expected[truth, pred] += 1
    confusion = confusion_matrix(preds, target, 5)
    assert confusion.dtype == torch.int64
    np.testing.assert_array_equal(confusion.numpy(), expected)


def test_agrees_with_torchmetrics():
    preds, target = random_pair(21, seed=1)
    expected = multiclass_confusion_matrix(preds, target, 21, ignore_index=255)
    assert torch.equal(confusion_matrix(preds, target, 21), expected)


def test_parts_add_up():
    preds, target = random_pair()
    parts = sum(confusion_matrix(p, t, 5) for p, t in zip(preds, target, strict=True))
    assert torch.equal(parts, confusion_matrix(preds, target, 5))


@each("dtype", [torch.uint8, torch.int16, torch.int32])
def test_small_integer_types_do_not_overflow(dtype):
    preds, target = random_pair(100)
    if dtype == torch.uint8:
        confusion = confusion_matrix(preds.byte(), target.byte(), 100)
    else:
        confusion = confusion_matrix(preds.to(dtype), target.to(dtype), 100)
    assert torch.equal(confusion, confusion_matrix(preds, target, 100))


def test_ignored_pixels_may_be_predicted_as_anything():
    preds = torch.tensor([0, 300, -7, 255])
    target = torch.tensor([0, 255, 255, 255])
    assert confusion_matrix(preds, target, 2).tolist() == [[1, 0], [0, 0]]


def test_ignore_index_can_be_a_class():
    preds, target = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    assert confusion_matrix(preds, target, 2, ignore_index=0).tolist() == [[0, 0], [0, 1]]


def test_nothing_at_all():
    empty = torch.zeros(0, dtype=torch.int64)
    assert confusion_matrix(empty, empty, 3).tolist() == [[0] * 3] * 3


@each(("pred", "truth"), [(5, 0), (-1, 0), (255, 0), (0, 5), (0, -1), (0, 254), (2**40, 1)])
def test_an_index_outside_the_classes_is_an_error(pred, truth):
    preds, target = random_pair()
    preds[1, 2, 3], target[1, 2, 3] = pred, truth
    with pytest.raises(ValueError, match=f"1 of 429 .* preds {pred} where target is {truth}"):
        confusion_matrix(preds, target, 5)


def test_never_reads_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        preds = torch.zeros(2, 5, 6, dtype=torch.int64, device="cuda")
        confusion = confusion_matrix(preds, preds.byte(), 21)
        assert (confusion.device.type, confusion.shape) == ("cuda", (21, 21))


@each(
    ("preds", "target", "num_classes", "message"),
    [
        (torch.zeros(2, 3).long(), torch.zeros(2, 4).long(), 2, "differ"),
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), 2, "preds is torch.float32"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3), 2, "target is torch.float32"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), 0, "num_classes is 0"),
    ],
)
def test_confusion_matrix_rejects(preds, target, num_classes, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(preds, target, num_classes)


def iou_reference(confusion):
    out = []
    for c in range(len(confusion)):
        hit = confusion[c][c]
        union = sum(confusion[c]) + sum(row[c] for row in confusion) - hit
        out.append(hit / union if union else math.nan)
    return out


def test_iou_equals_the_loop_and_marks_absent_classes():
    preds, target = random_pair()
    target[target == 2] = 255
    preds[preds == 2] = 0
    target[target == 3] = 255  # predicted only: counts, with 0
    confusion = confusion_matrix(preds, target, 5)
    iou = intersection_over_union(confusion)
    assert iou.dtype == torch.float64
    expected = iou_reference(confusion.tolist())
    np.testing.assert_allclose(iou.numpy(), expected)
    assert math.isnan(iou[2])
    assert iou[3] == 0
    assert mean_iou(confusion) == pytest.approx(np.nanmean(expected), abs=1e-12)


def test_the_three_rules_differ_and_ours_is_the_nan_mean():
    confusion = torch.tensor([[6, 2, 0], [0, 0, 0], [0, 0, 0]])
    # present in truth: 0.75; nan-mean: (0.75 + 0) / 2; all: (0.75 + 0 + 0) / 3
    assert mean_iou(confusion) == 0.375


def test_mean_iou_extremes():
    assert mean_iou(torch.eye(4, dtype=torch.int64)) == 1.0
    assert mean_iou(torch.tensor([[0, 3], [5, 0]])) == 0.0
    assert math.isnan(mean_iou(torch.zeros(3, 3, dtype=torch.int64)))
    assert isinstance(mean_iou(torch.eye(2)), float)


def test_mean_iou_is_exact_for_large_counts():
    # float32 would lose single pixels beyond 2**24.
    big = 2**40
    confusion = torch.tensor([[big, 1], [0, big]])
    assert mean_iou(confusion) == pytest.approx(big / (big + 1), abs=1e-15)
    assert mean_iou(confusion) < 1


def test_permuting_the_classes_permutes_the_iou():
    confusion = confusion_matrix(*random_pair(), 5)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(
        intersection_over_union(confusion[order][:, order]),
        intersection_over_union(confusion)[order],
    )


@each("function", [intersection_over_union, mean_iou])
@each("shape", [(3,), (2, 3), (1, 3, 3)])
def test_a_matrix_that_is_not_square_is_an_error(function, shape):
    with pytest.raises(ValueError, match="square matrix"):
        function(torch.zeros(shape))


def test_mean_iou_rules_differ_on_absent_classes():
    # Class 0 and 1 are in the truth, class 2 only in the prediction, class 3 nowhere.
    confusion = torch.tensor([[2, 0, 2, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert mean_iou(confusion) == pytest.approx((0.5 + 1 + 0) / 3)
    assert mean_iou(confusion, "present") == pytest.approx((0.5 + 1) / 2)
    assert mean_iou(confusion, "all") == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert math.isnan(mean_iou(torch.zeros(3, 3, dtype=torch.int64), "all"))


def test_mean_iou_of_some_classes():
    """As above: 0.5, 1, 0 (only predicted), and one that is nowhere."""
    confusion = torch.tensor([[2, 0, 2, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    expected = {
        "nan-mean": [(0.5 + 0) / 2, (1 + 0) / 2, 1.0],
        "present": [0.5, 1.0, 1.0],
        "all": [(0.5 + 0) / 2, (1 + 0) / 2, (1 + 0) / 2],
    }
    for rule, means in expected.items():
        given = [mean_iou(confusion, rule, classes) for classes in ([0, 2], [2, 1], (1, 3))]
        assert given == pytest.approx(means)
    assert math.isnan(mean_iou(confusion, "present", [2, 3]))


def test_mean_iou_refuses_another_rule():
    with pytest.raises(ValueError, match="rule is 'micro'"):
        mean_iou(torch.eye(2), "micro")


def test_harmonic_mean_is_the_inverse_of_the_mean_inverse():
    assert harmonic_mean(0.7, 0.3) == pytest.approx(1 / ((1 / 0.7 + 1 / 0.3) / 2))
    assert harmonic_mean(0.4, 0.4) == pytest.approx(0.4)
    assert harmonic_mean(0.3, 0.7) == harmonic_mean(0.7, 0.3)


def test_harmonic_mean_a_group_at_0_or_unknown_decides():
    assert harmonic_mean(0.9, 0.0) == harmonic_mean(0.0, 0.0) == 0
    assert math.isnan(harmonic_mean(0.9, math.nan))
