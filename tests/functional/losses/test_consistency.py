"""Consistency losses against numpy, ramp against its closed form."""

import math

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import masked_squared_error, sigmoid_rampup, softmax_mse_loss


def softmax(logits):
    exps = np.exp(logits - logits.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def test_mean_over_every_element():
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 2, 4, 3, 5)
    expected = np.mean((softmax(student.numpy()) - softmax(teacher.numpy())) ** 2)
    assert softmax_mse_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_pixels_that_are_not_valid_do_not_count():
    student, teacher = torch.randn(2, 1, 4, 3, 6)
    valid = torch.ones(1, 3, 6, dtype=torch.bool)
    valid[..., 4:] = False
    expected = softmax_mse_loss(student[..., :4], teacher[..., :4])
    torch.testing.assert_close(softmax_mse_loss(student, teacher, valid), expected)
    assert softmax_mse_loss(student, teacher, torch.zeros_like(valid)) == 0


def test_gradient_goes_to_the_student_alone():
    student, teacher = (torch.randn(1, 3, 2, 2, requires_grad=True) for _ in range(2))
    softmax_mse_loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_half_precision_is_compared_in_float32():
    student, teacher = torch.randn(2, 1, 3, 8, 8).bfloat16()
    loss = softmax_mse_loss(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, softmax_mse_loss(student.float(), teacher.float()))


@each("step", [0, 1, 3.5, 9, 10, 11, 500])
def test_rampup(step):
    expected = math.exp(-5 * (1 - step / 10) ** 2) if step < 10 else 1.0
    assert sigmoid_rampup(step, 10) == pytest.approx(expected)


def test_rampup_of_no_length_is_over_and_never_falls():
    assert sigmoid_rampup(0, 0) == 1.0
    values = [sigmoid_rampup(step, 50) for step in range(60)]
    assert values == sorted(values)
    with pytest.raises(ValueError, match="length is -1"):
        sigmoid_rampup(0, -1)


def distributions(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64).softmax(1).to(dtype)


def test_squared_error_is_the_mean_over_the_pixels_that_count_and_the_classes():
    probs, target = distributions(0), distributions(1)
    valid = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(2)) > 0.4
    total, count = 0.0, 0
    for n in range(2):
        for y in range(4):
            for x in range(5):
                if valid[n, y, x]:
                    count += 3
                    total += sum(
                        float(probs[n, c, y, x] - target[n, c, y, x]) ** 2 for c in (0, 1, 2)
                    )
    assert float(masked_squared_error(probs, target, valid)) == pytest.approx(total / count)


def test_squared_error_gradients_flow_through_both_and_mirror_each_other():
    probs, target = (distributions(seed, torch.float64).requires_grad_() for seed in (0, 1))
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda a, b: masked_squared_error(a, b, valid), (probs, target))
    masked_squared_error(probs, target, valid).backward()
    torch.testing.assert_close(probs.grad, 2 * (probs - target).detach() / probs.numel())
    assert torch.equal(probs.grad, -target.grad)


def test_squared_error_no_pixel_that_counts_gives_zero_and_no_nan():
    probs = distributions(0).requires_grad_()
    loss = masked_squared_error(probs, distributions(1), torch.zeros(2, 4, 5, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert (probs.grad == 0).all()


def test_squared_error_half_precision_gives_float32():
    probs, valid = distributions(0, torch.bfloat16), torch.ones(2, 4, 5, dtype=torch.bool)
    assert masked_squared_error(probs, probs, valid).dtype == torch.float32
    probs = distributions(0, torch.float64)
    assert masked_squared_error(probs, probs, valid).dtype == torch.float64
