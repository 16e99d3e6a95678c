import math

import pytest
import torch

from wsss_zoo.functional import (
    complementary_loss,
    dice_mask_loss,
    focal_mask_loss,
    summed_complementary_loss,
)

TAU = -2.9444
H, W = 4, 5


def case(T=3, B=2):
    rng = torch.Generator().manual_seed(0)
    valid = torch.ones(H, W, dtype=torch.bool)
    valid[:, -1] = False
    logits = 4 * torch.randn(T, H, W, generator=rng) - 2
    return logits, torch.rand(B, H, W, generator=rng) > 0.7, valid


def naive(logits, base_masks, valid, tau):
    focal, overlap, size, known = 0.0, 0.0, 0.0, 0
    for y in range(H):
        for x in range(W):
            highest = max([*logits[:, y, x].tolist(), tau])
            target = bool(valid[y, x]) and not any(base_masks[:, y, x].tolist())
            m = 1 / (1 + math.exp(-highest)) if highest > -700 else 0.0
            p, alpha = (m, 0.25) if target else (1 - m, 0.75)
            focal -= alpha * (1 - p) ** 2 * math.log(p)
            overlap, size, known = overlap + m * target, size + m, known + target
    return 20 * focal / (H * W) + 1 - (2 * overlap + 1) / (size + known + 1)


@pytest.mark.parametrize("tau", [TAU, -1e4, 1.0])
@pytest.mark.parametrize(("T", "B"), [(3, 2), (1, 0), (2, 1)])
def test_equals_a_pixel_at_a_time(T, B, tau):
    logits, base_masks, valid = case(T, B)
    expected = naive(logits, base_masks, valid, tau)
    ours = complementary_loss(logits, base_masks, valid, tau)
    assert ours.item() == pytest.approx(expected, rel=1e-5)
    assert complementary_loss(logits, base_masks.float(), valid, tau) == ours


def test_the_floor_is_a_probability_of_a_twentieth():
    logits, base_masks, valid = case()
    assert complementary_loss(logits, base_masks, valid) == complementary_loss(
        logits, base_masks, valid, TAU
    )
    assert 1 / (1 + math.exp(-TAU)) == pytest.approx(0.05, abs=1e-5)


def test_the_floor_off_is_the_highest_alone():
    logits, base_masks, valid = case()
    union, target = logits.max(0).values[None], (valid & ~base_masks.any(0))[None]
    expected = 20 * focal_mask_loss(union, target, 1) + dice_mask_loss(union, target, 1)
    torch.testing.assert_close(complementary_loss(logits, base_masks, valid, -1e4), expected)


def test_the_gradient_reaches_the_highest_proposal_above_the_floor_alone():
    logits, base_masks, valid = case()
    logits[:, 0, 0] = TAU - 1
    logits[1, 0, 1], logits[2, 0, 1] = 2.0, 1.0
    logits.requires_grad_()
    complementary_loss(logits, base_masks, valid).backward()
    highest = logits.detach() == logits.detach().max(0).values
    reached = highest & (logits.detach() > TAU)
    assert torch.equal(logits.grad != 0, reached)
    assert not reached[:, 0, 0].any()
    assert reached[:, 0, 1].tolist() == [False, True, False]
    # Where the union belongs it pulls, elsewhere it pushes.
    target = valid & ~base_masks.any(0)
    assert (logits.grad[reached & target] < 0).all()
    assert (logits.grad[reached & ~target] > 0).all()


def test_of_equal_proposals_one_has_the_gradient():
    logits = torch.zeros(2, H, W, requires_grad=True)
    complementary_loss(logits, torch.zeros(0, H, W), torch.ones(H, W).bool()).backward()
    assert ((logits.grad != 0).sum(0) == 1).all()


def test_without_base_masks_all_that_is_not_padding_is_the_target():
    _, _, valid = case()
    logits = torch.where(valid, 1e4, -1e4)[None]
    right = complementary_loss(logits, torch.zeros(0, H, W), valid, tau=-1e4)
    assert right.item() == pytest.approx(0, abs=1e-6)
    assert complementary_loss(-logits, torch.zeros(0, H, W), valid, tau=-1e4) > 1e4


def test_no_novel_target_is_0_with_a_gradient():
    logits = torch.zeros(0, H, W, requires_grad=True)
    loss = complementary_loss(logits, *case()[1:])
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


@pytest.mark.parametrize("value", [1e4, -1e4])
@pytest.mark.parametrize("tau", [TAU, -1e4])
def test_saturated_logits_stay_finite(value, tau):
    logits = torch.full((2, H, W), value, requires_grad=True)
    loss = complementary_loss(logits, *case()[1:], tau)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_half_precision_gives_a_float32_loss():
    logits, base_masks, valid = case()
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = complementary_loss(half, base_masks, valid)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, complementary_loss(half.float(), base_masks, valid))


def test_several_images_at_once_are_their_sum():
    logits, base_masks, valid = case(6, 3)
    counts, logits = [1, 3, 2], logits.requires_grad_()
    targets = valid & ~base_masks
    total = summed_complementary_loss(logits, counts, targets)
    parts = zip(logits.split(counts), base_masks, strict=True)
    expected = sum(complementary_loss(part, base[None], valid) for part, base in parts)
    torch.testing.assert_close(total, expected)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (total, expected)]
    torch.testing.assert_close(*gradients)
    none = summed_complementary_loss(logits[:0], [], targets[:0])
    assert none.item() == 0
    none.backward()


def test_order_of_proposals_and_masks_does_not_matter():
    logits, base_masks, valid = case()
    moved = complementary_loss(logits.flip(0), base_masks.flip(0), valid)
    torch.testing.assert_close(moved, complementary_loss(logits, base_masks, valid))


def test_what_does_not_fit_is_refused():
    logits, base_masks, valid = case()
    for parts in (
        (logits[0], base_masks, valid),
        (logits, base_masks[:, :2], valid),
        (logits, base_masks, valid[0]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            complementary_loss(*parts)


def test_never_reads_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        logits = torch.zeros(2, H, W, device="cuda")
        assert complementary_loss(logits, logits > 0, logits[0] > 0).device.type == "cuda"
