"""Losses of hard, soft and cross pseudo-labels against loops over pixels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import cps_loss, fixmatch_loss, soft_label_loss


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 4, 5, 6, generator=generator)
    label = torch.randint(0, 4, (2, 5, 6), generator=generator)
    confidence = torch.rand(2, 5, 6, generator=generator)
    valid = torch.rand(2, 5, 6, generator=generator) < 0.7
    return logits, label, confidence, valid


def reference(logits, label, confidence, thresh, valid):
    total, count = 0.0, 0
    for n, y, x in np.ndindex(*label.shape):
        if not valid[n, y, x]:
            continue
        count += 1
        if confidence[n, y, x] >= thresh:
            row = logits[n, :, y, x].double()
            total += float(torch.logsumexp(row, 0) - row[label[n, y, x]])
    return total / count if count else 0.0


@each("thresh", [0.0, 0.4, 0.95, 1.0])
def test_equals_the_loop(thresh):
    logits, label, confidence, valid = batch()
    expected = reference(logits, label, confidence, thresh, valid)
    loss = fixmatch_loss(logits, label, confidence, thresh, valid)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_without_padding_every_pixel_is_in_the_denominator():
    logits, label, confidence, _ = batch()
    everywhere = torch.ones_like(label, dtype=torch.bool)
    expected = reference(logits, label, confidence, 0.6, everywhere)
    loss = fixmatch_loss(logits, label, confidence, 0.6)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_threshold_is_reached_from_it_on():
    logits, label, _, _ = batch()
    at = torch.full(label.shape, 0.5)
    torch.testing.assert_close(
        fixmatch_loss(logits, label, at, 0.5), fixmatch_loss(logits, label, at, 0.0)
    )


def test_pixels_without_a_label_are_not_valid():
    logits, label, confidence, _ = batch()
    ignored = label.clone()
    ignored[:, :2] = 255
    loss = fixmatch_loss(logits, ignored, confidence, 0.3)
    expected = fixmatch_loss(logits[:, :, 2:], label[:, 2:], confidence[:, 2:], 0.3)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("case", ["nothing confident", "all padding"])
def test_nothing_left_gives_zero_and_no_nan(case):
    logits, label, confidence, valid = batch()
    logits.requires_grad_()
    thresh = 1.5 if case == "nothing confident" else 0.0
    valid = valid if case == "nothing confident" else torch.zeros_like(valid)
    loss = fixmatch_loss(logits, label, confidence, thresh, valid)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_half_precision_is_summed_in_float32():
    logits, label, confidence, valid = batch()
    loss = fixmatch_loss(logits.bfloat16(), label, confidence.bfloat16(), 0.2, valid)
    assert loss.dtype == torch.float32


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    probs = torch.randn(2, 3, 4, 5, generator=generator).softmax(1)
    return logits, probs, torch.rand(2, 4, 5, generator=generator) < 0.7


@each("thresh", [0.0, 0.6, 1.0])
def test_soft_labels_is_the_sum_over_confident_pixels_over_all_valid_ones(inputs, thresh):
    logits, probs, valid = inputs
    total = 0.0
    for n in range(2):
        for y in range(4):
            for x in range(5):
                z, q = logits[n, :, y, x].tolist(), probs[n, :, y, x].tolist()
                if valid[n, y, x] and max(q) >= thresh:
                    log_sum = math.log(sum(map(math.exp, z)))
                    total -= sum(qc * (zc - log_sum) for qc, zc in zip(q, z, strict=True))
    expected = torch.tensor(total / int(valid.sum()))
    torch.testing.assert_close(soft_label_loss(logits, probs, thresh, valid), expected)


def test_soft_labels_one_hot_labels_give_the_hard_loss(inputs):
    logits, probs, valid = inputs
    label = probs.argmax(1)
    one_hot = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    hard = fixmatch_loss(logits, label, torch.ones(2, 4, 5), 0.5, valid)
    torch.testing.assert_close(soft_label_loss(logits, one_hot, 0.5, valid), hard)


def test_soft_labels_no_valid_pixel_gives_zero_and_a_finite_gradient(inputs):
    logits, probs, valid = inputs
    logits.requires_grad_()
    loss = soft_label_loss(logits, probs, 0.0, torch.zeros_like(valid))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_soft_labels_float32_and_no_gradient_through_the_labels(inputs):
    logits, probs, valid = inputs
    probs = probs.requires_grad_()
    logits = logits.bfloat16().requires_grad_()
    loss = soft_label_loss(logits, probs, 0.0, valid)
    loss.backward()
    assert loss.dtype == torch.float32
    assert probs.grad is None


def two_logits():
    torch.manual_seed(0)
    return (2 * torch.randn(2, 2, 4, 5, 6)).requires_grad_()


def test_cps_each_learns_the_others_arg_max():
    first, second = two_logits()
    expected = F.cross_entropy(first, second.argmax(1)) + F.cross_entropy(second, first.argmax(1))
    torch.testing.assert_close(cps_loss(first, second), expected)


def test_cps_given_labels_teach_the_other_network():
    first, second = two_logits()
    labels1, labels2 = torch.randint(0, 4, (2, 2, 5, 6))
    expected = F.cross_entropy(first, labels2) + F.cross_entropy(second, labels1)
    torch.testing.assert_close(cps_loss(first, second, labels1, labels2), expected)
    half = F.cross_entropy(first, second.argmax(1)) + F.cross_entropy(second, labels1)
    torch.testing.assert_close(cps_loss(first, second, labels1), half)


def test_cps_is_symmetric():
    first, second = two_logits()
    torch.testing.assert_close(cps_loss(first, second), cps_loss(second, first))


def test_cps_255_and_what_is_not_valid_do_not_count():
    first, second = two_logits()
    valid = torch.ones(2, 5, 6, dtype=torch.bool)
    valid[:, 3:] = False
    expected = cps_loss(first[:, :, :3], second[:, :, :3])
    torch.testing.assert_close(cps_loss(first, second, valid=valid), expected)
    labels = [logits.argmax(1).masked_fill(~valid, 255) for logits in (first, second)]
    torch.testing.assert_close(cps_loss(first, second, *labels), expected)


def test_cps_nothing_left_gives_zero():
    first, second = two_logits()
    loss = cps_loss(first, second, valid=torch.zeros(2, 5, 6, dtype=torch.bool))
    loss.backward()
    assert loss == 0


def test_cps_same_networks_would_get_the_same_gradient():
    """Why the two must start differently."""
    first = torch.randn(1, 3, 4, 4, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    cps_loss(first, second).backward()
    assert torch.equal(first.grad, second.grad)
