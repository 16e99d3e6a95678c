import pytest
import torch

from wsss_zoo.functional import masked_squared_error


def distributions(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64).softmax(1).to(dtype)


def test_is_the_mean_over_the_pixels_that_count_and_the_classes():
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


def test_gradients_flow_through_both_and_mirror_each_other():
    probs, target = (distributions(seed, torch.float64).requires_grad_() for seed in (0, 1))
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda a, b: masked_squared_error(a, b, valid), (probs, target))
    masked_squared_error(probs, target, valid).backward()
    torch.testing.assert_close(probs.grad, 2 * (probs - target).detach() / probs.numel())
    assert torch.equal(probs.grad, -target.grad)


def test_no_pixel_that_counts_gives_zero_and_no_nan():
    probs = distributions(0).requires_grad_()
    loss = masked_squared_error(probs, distributions(1), torch.zeros(2, 4, 5, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert (probs.grad == 0).all()


def test_half_precision_gives_float32():
    probs, valid = distributions(0, torch.bfloat16), torch.ones(2, 4, 5, dtype=torch.bool)
    assert masked_squared_error(probs, probs, valid).dtype == torch.float32
    probs = distributions(0, torch.float64)
    assert masked_squared_error(probs, probs, valid).dtype == torch.float64
