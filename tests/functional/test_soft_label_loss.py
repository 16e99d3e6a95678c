"""Soft labels against a loop over pixels, and against hard ones."""

import math

import pytest
import torch

from wsss_zoo.functional import fixmatch_loss, soft_label_loss


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    probs = torch.randn(2, 3, 4, 5, generator=generator).softmax(1)
    return logits, probs, torch.rand(2, 4, 5, generator=generator) < 0.7


@pytest.mark.parametrize("thresh", [0.0, 0.6, 1.0])
def test_is_the_sum_over_confident_pixels_over_all_valid_ones(inputs, thresh):
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


def test_one_hot_labels_give_the_hard_loss(inputs):
    logits, probs, valid = inputs
    label = probs.argmax(1)
    one_hot = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    hard = fixmatch_loss(logits, label, torch.ones(2, 4, 5), 0.5, valid)
    torch.testing.assert_close(soft_label_loss(logits, one_hot, 0.5, valid), hard)


def test_no_valid_pixel_gives_zero_and_a_finite_gradient(inputs):
    logits, probs, valid = inputs
    logits.requires_grad_()
    loss = soft_label_loss(logits, probs, 0.0, torch.zeros_like(valid))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_float32_and_no_gradient_through_the_labels(inputs):
    logits, probs, valid = inputs
    probs = probs.requires_grad_()
    logits = logits.bfloat16().requires_grad_()
    loss = soft_label_loss(logits, probs, 0.0, valid)
    loss.backward()
    assert loss.dtype == torch.float32
    assert probs.grad is None
