"""Calibrated fusion against loops over pixels, its limits and its errors."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import calibrated_fusion


def naive(decoder, sgc, temperature):
    values = [*decoder.flatten().tolist(), *sgc.flatten().tolist()]
    rms = math.sqrt(sum(value * value for value in values) / len(values) + 1e-8)
    result = torch.zeros(decoder.shape, dtype=torch.float64)
    N, C, H, W = decoder.shape
    for n in range(N):
        for y in range(H):
            for x in range(W):
                sources = []
                for logits in (decoder, sgc):
                    powers = [math.exp(logits[n, c, y, x].item() / rms) for c in range(C)]
                    sources.append([power / sum(powers) for power in powers])
                mean = [(a + b) / 2 for a, b in zip(*sources, strict=True)]
                sharp = [p ** (1 / temperature) for p in mean]
                for c in range(C):
                    result[n, c, y, x] = sharp[c] / sum(sharp)
    return result


def logits(*, scale=1.0, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, 4, 3, 5, generator=generator).to(dtype)


@each("temperature", [0.5, 1.0, 2.0])
@each("scale", [0.01, 1.0, 40.0])
def test_is_the_average_of_two_softmaxes_on_one_scale_sharpened(scale, temperature):
    a, b = logits(scale=scale), logits(scale=3 * scale, seed=1)
    result = calibrated_fusion(a, b, temperature)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), naive(a, b, temperature), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.sum(1), torch.ones(2, 3, 5))


def test_default_temperature_is_a_half():
    a, b = logits(), logits(seed=1)
    assert torch.equal(calibrated_fusion(a, b), calibrated_fusion(a, b, 0.5))


def test_one_factor_for_both_changes_nothing_and_order_does_not_matter():
    a, b = logits(), logits(seed=1)
    torch.testing.assert_close(calibrated_fusion(9 * a, 9 * b), calibrated_fusion(a, b))
    torch.testing.assert_close(calibrated_fusion(b, a), calibrated_fusion(a, b))


def test_the_scale_is_that_of_the_whole_batch():
    a, b = logits(), logits(seed=1)
    alone = calibrated_fusion(a[:1], b[:1])
    loud = torch.cat([a[:1], 100 * a[1:]])
    assert (calibrated_fusion(loud, b)[:1] - alone).abs().max() > 0.1


def test_no_gradient_flows():
    a = logits().requires_grad_()
    assert not calibrated_fusion(a, logits(seed=1)).requires_grad


def test_zero_logits_and_low_temperatures_are_finite():
    zeros = torch.zeros(1, 21, 2, 2)
    torch.testing.assert_close(calibrated_fusion(zeros, zeros), torch.full((1, 21, 2, 2), 1 / 21))
    sharp = calibrated_fusion(logits(), logits(seed=1), 1e-3)
    torch.testing.assert_close(sharp.sum(1), torch.ones(2, 3, 5))


def test_half_precision_gives_float32_and_double_stays():
    a, b = logits(dtype=torch.bfloat16), logits(seed=1, dtype=torch.bfloat16)
    result = calibrated_fusion(a, b)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, calibrated_fusion(a.float(), b.float()))
    assert calibrated_fusion(a.double(), b.double()).dtype == torch.float64


@each(
    ("shapes", "temperature", "message"),
    [
        (((1, 2, 3, 3), (1, 2, 3, 4)), 0.5, "do not fit; give"),
        (((2, 3, 3), (2, 3, 3)), 0.5, "do not fit; give"),
        (((1, 2, 3, 3), (1, 2, 3, 3)), 0.0, "temperature is 0.0; give a positive number"),
    ],
)
def test_errors(shapes, temperature, message):
    with pytest.raises(ValueError, match=message):
        calibrated_fusion(*(torch.zeros(shape) for shape in shapes), temperature)


def test_the_scale_may_come_from_elsewhere():
    """Four times the mean square is twice R, as if both had been divided by 2 besides."""
    decoder, sgc = (
        torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(n)) for n in (0, 1)
    )
    given = []

    def reduce(square):
        given.append(square)
        return 4 * square

    fused = calibrated_fusion(decoder, sgc, 0.5, reduce)
    torch.testing.assert_close(given[0], torch.stack([decoder, sgc]).square().mean())
    rms = 2 * given[0].sqrt()
    expected = ((decoder / rms).softmax(1) + (sgc / rms).softmax(1)).square()
    torch.testing.assert_close(fused, expected / expected.sum(1, keepdim=True))
