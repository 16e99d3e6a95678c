"""Masked cross-entropy against torch's own, OHEM against a loop over pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import masked_cross_entropy, ohem_cross_entropy, partial_cross_entropy


@each("ignored", [0.0, 0.4])
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


def partly_labelled():
    """Four images with 6, 1, 0 and 3 labelled pixels."""
    torch.manual_seed(0)
    logits, mask = torch.randn(4, 3, 2, 3, dtype=torch.float64), torch.randint(3, (4, 2, 3))
    mask.flatten(1)[1, 1:] = mask[2] = mask[3, 0] = 255
    return logits, mask


def test_every_image_counts_once():
    logits, mask = partly_labelled()
    logits.requires_grad_()
    parts = [
        F.cross_entropy(logits[n : n + 1], mask[n : n + 1], ignore_index=255) for n in (0, 1, 3)
    ]
    loss = partial_cross_entropy(logits, mask)
    torch.testing.assert_close(loss, sum(parts) / 3)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[2] == 0).all()
    assert torch.autograd.gradcheck(lambda x: partial_cross_entropy(x, mask), logits)


def test_every_pixel_counts_once():
    logits, mask = partly_labelled()
    loss = partial_cross_entropy(logits, mask, "pixel")
    torch.testing.assert_close(loss, masked_cross_entropy(logits, mask))
    assert not torch.isclose(loss, partial_cross_entropy(logits, mask))


def test_reductions_are_equal_for_equal_counts():
    logits, mask = partly_labelled()
    mask[:] = mask[0]
    mask[:, 1, 1] = 255
    torch.testing.assert_close(
        partial_cross_entropy(logits, mask), partial_cross_entropy(logits, mask, "pixel")
    )


def test_nothing_labelled_gives_zero_and_a_zero_gradient():
    logits = partly_labelled()[0].bfloat16().requires_grad_()
    loss = partial_cross_entropy(logits, torch.full((4, 2, 3), 255))
    loss.backward()
    assert loss == 0
    assert loss.dtype == torch.float32
    assert (logits.grad == 0).all()


def test_partial_cross_entropy_refuses():
    logits, mask = partly_labelled()
    with pytest.raises(ValueError, match="give 'image' or 'pixel'"):
        partial_cross_entropy(logits, mask, "mean")
    with pytest.raises(ValueError, match="do not fit"):
        partial_cross_entropy(logits, mask[:2])


def reference(logits, target, thresh, min_kept):
    """Every valid pixel's (probability, cross-entropy), then the rule by hand."""
    pixels = []
    for n, y, x in np.ndindex(*target.shape):
        if target[n, y, x] == 255:
            continue
        row = logits[n, :, y, x].astype(np.float64)
        prob = np.exp(row[target[n, y, x]]) / np.exp(row).sum()
        pixels.append((prob, -np.log(prob)))
    pixels.sort()
    if min_kept <= len(pixels):
        threshold = max(thresh, pixels[min_kept - 1][0]) if min_kept else thresh
        pixels = [pixel for pixel in pixels if pixel[0] <= threshold]
    return float(np.mean([ce for _, ce in pixels])) if pixels else 0.0


def batch(ignored=0.3, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, 4, 5, 6, generator=generator)
    target = torch.randint(0, 4, (2, 5, 6), generator=generator)
    target[torch.rand(2, 5, 6, generator=generator) < ignored] = 255
    return logits, target


@each("thresh", [0.0, 0.05, 0.3, 0.7, 1.0])
@each("min_kept", [0, 1, 10, 30, 46, 60, 61, 10_000])
@each("ignored", [0.0, 0.3, 0.97])
def test_ohem_equals_the_loop(thresh, min_kept, ignored):
    logits, target = batch(ignored)
    expected = reference(logits.numpy(), target.numpy(), thresh, min_kept)
    assert ohem_cross_entropy(logits, target, thresh, min_kept).item() == pytest.approx(
        expected, abs=1e-5
    )


@each("offset", [0, 1])
def test_ohem_switches_to_plain_cross_entropy_above_the_number_of_valid_pixels(offset):
    logits, target = batch()
    valid = int((target != 255).sum())
    loss = ohem_cross_entropy(logits, target, 0.0, valid + offset)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, ignore_index=255))


def test_ohem_keeps_all_pixels_that_tie_with_the_threshold():
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0, 0, 3] = 5.0
    target = torch.zeros(1, 1, 4, dtype=torch.int64)
    loss = ohem_cross_entropy(logits, target, 0.0, 1)
    assert loss.item() == pytest.approx(np.log(2), abs=1e-6)


def test_ohem_ignored_pixels_stay_out_even_at_threshold_one():
    logits, target = batch()
    loss = ohem_cross_entropy(logits, target, 1.0, 0)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, ignore_index=255))


@each("min_kept", [0, 5, 1000])
def test_ohem_nothing_valid_gives_zero_with_a_zero_gradient(min_kept):
    logits = batch()[0].requires_grad_()
    target = torch.full((2, 5, 6), 255)
    loss = ohem_cross_entropy(logits, target, 0.7, min_kept)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_ohem_gradient_flows_through_kept_pixels_only():
    logits, target = batch()
    logits.requires_grad_()
    ohem_cross_entropy(logits, target, 0.1, 5).backward()
    with torch.no_grad():
        prob = logits.softmax(1).gather(1, target.clamp_max(3)[:, None])[:, 0]
    valid = target != 255
    threshold = max(0.1, prob[valid].sort().values[4].item())
    expected = valid & (prob <= threshold)
    assert torch.equal(logits.grad.abs().sum(1) > 0, expected)


def test_ohem_gradient_is_that_of_the_mean_over_the_kept_pixels():
    logits, target = (tensor[:, ..., :2, :3] for tensor in batch(scale=1.0))
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ohem_cross_entropy(x, target, 0.4, 3), logits)


def test_ohem_another_ignore_index():
    logits, target = batch()
    shifted = torch.where(target == 255, -1, target)
    torch.testing.assert_close(
        ohem_cross_entropy(logits, shifted, 0.3, 5, ignore_index=-1),
        ohem_cross_entropy(logits, target, 0.3, 5),
    )


def test_ohem_is_float32_under_autocast():
    logits, target = batch()
    logits = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ohem_cross_entropy(logits, target, 0.3, 5)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ohem_cross_entropy(logits.float(), target, 0.3, 5))


def test_ohem_never_reads_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        logits = torch.zeros(2, 4, 5, 6, device="cuda")
        target = torch.zeros(2, 5, 6, dtype=torch.int64, device="cuda")
        assert ohem_cross_entropy(logits, target, 0.7, 10).device.type == "cuda"


@each(
    ("target_shape", "thresh", "min_kept", "message"),
    [
        ((2, 5, 5), 0.7, 1, "do not fit"),
        ((2, 1, 5, 6), 0.7, 1, "do not fit"),
        ((2, 5, 6), 1.5, 1, "thresh is 1.5"),
        ((2, 5, 6), -0.1, 1, "thresh is -0.1"),
        ((2, 5, 6), 0.7, -1, "min_kept is -1"),
    ],
)
def test_ohem_rejects(target_shape, thresh, min_kept, message):
    with pytest.raises(ValueError, match=message):
        ohem_cross_entropy(
            torch.zeros(2, 4, 5, 6), torch.zeros(target_shape).long(), thresh, min_kept
        )


@each("min_kept", [0, 5, 1000])
def test_ohem_broken_logits_give_a_broken_loss(min_kept):
    logits, target = batch()
    logits[target[:, None].expand_as(logits) != 255] = float("nan")
    assert ohem_cross_entropy(logits, target, 0.7, min_kept).isnan()
