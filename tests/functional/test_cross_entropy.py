"""Masked cross-entropy against torch's own, and where that one fails."""

import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.functional import masked_cross_entropy


@pytest.mark.parametrize("ignored", [0.0, 0.4])
def test_equals_torchs_mean_where_a_pixel_counts(ignored):
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    mask[torch.rand(mask.shape) < ignored] = 255
    expected = F.cross_entropy(logits, mask, ignore_index=255)
    torch.testing.assert_close(masked_cross_entropy(logits, mask), expected)


def test_no_pixel_gives_zero_and_a_zero_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_half_precision_is_summed_in_float32():
    logits = torch.randn(1, 3, 64, 64)
    mask = torch.randint(0, 3, (1, 64, 64))
    loss = masked_cross_entropy(logits.bfloat16(), mask)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, masked_cross_entropy(logits.bfloat16().float(), mask))
