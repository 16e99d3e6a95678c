"""InfoNCE against a loop over predictions."""

import math

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import info_nce_loss


def vectors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    preds = torch.randn(7, 5, generator=generator).to(dtype)
    targets = torch.randn(11, 5, generator=generator).to(dtype)
    return preds, targets, torch.randint(0, 11, (7,), generator=generator)


def reference(preds, targets, positives, temperature):
    losses, hits = [], []
    for pred, positive in zip(preds.double().numpy(), positives.tolist(), strict=True):
        scores = [float(np.dot(pred, other)) / temperature for other in targets.double().numpy()]
        losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[positive])
        hits.append(max(scores) == scores[positive])
    return np.mean(losses), np.mean(hits)


@each("temperature", [0.1, 1.0, 10.0])
def test_equals_the_loop(temperature):
    preds, targets, positives = vectors()
    loss, accuracy = info_nce_loss(preds, targets, positives, temperature)
    expected_loss, expected_accuracy = reference(preds, targets, positives, temperature)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    assert float(accuracy) == pytest.approx(expected_accuracy)


def test_vectors_that_say_nothing_have_the_loss_of_guessing():
    _, targets, positives = vectors()
    loss, _ = info_nce_loss(torch.zeros(7, 5), targets, positives)
    assert float(loss) == pytest.approx(math.log(11))


def test_perfect_vectors_have_loss_zero():
    loss, accuracy = info_nce_loss(100 * torch.eye(6), torch.eye(6), torch.arange(6))
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert accuracy == 1


def test_gradient():
    preds, targets, positives = (v.double() if v.is_floating_point() else v for v in vectors())
    preds.requires_grad_()
    targets.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, t: info_nce_loss(p, t, positives, 2.0)[0], (preds, targets)
    )
    assert not info_nce_loss(preds, targets, positives)[1].requires_grad


def test_float32_under_autocast():
    preds, targets, positives = vectors()
    expected = info_nce_loss(preds, targets, positives)
    with torch.autocast("cpu", torch.bfloat16):
        assert info_nce_loss(preds, targets, positives) == expected
        half = info_nce_loss(preds.bfloat16(), targets.bfloat16(), positives)
    assert {value.dtype for value in half} == {torch.float32}


@each(
    ("preds", "targets", "positives"),
    [((7, 5), (11, 4), 7), ((7, 5), (11, 5), 6), ((0, 5), (11, 5), 0), ((7, 5, 1), (11, 5), 7)],
)
def test_shapes_that_do_not_fit(preds, targets, positives):
    with pytest.raises(ValueError, match="do not fit; give"):
        info_nce_loss(
            torch.zeros(preds), torch.zeros(targets), torch.zeros(positives, dtype=torch.int64)
        )


def test_temperature_not_positive():
    with pytest.raises(ValueError, match="temperature is 0; give a number above 0"):
        info_nce_loss(*vectors(), temperature=0)
