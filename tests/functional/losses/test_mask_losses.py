"""Focal, dice and complementary losses against loops over pixels."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    complementary_loss,
    dice_mask_loss,
    focal_mask_loss,
    summed_complementary_loss,
)

LOSSES = [focal_mask_loss, dice_mask_loss]


def case(T=3, dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(T, 5, 6, generator=rng, dtype=dtype)
    return logits, torch.rand(T, 5, 6, generator=rng) > 0.6


def naive_focal(logits, masks, num_masks):
    total = 0.0
    for row, mask in zip(logits.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True):
        for score, inside in zip(row, mask, strict=True):
            m = 1 / (1 + math.exp(-score))
            p, alpha = (m, 0.25) if inside else (1 - m, 0.75)
            total -= alpha * (1 - p) ** 2 * math.log(p) / len(row)
    return total / num_masks


def naive_dice(logits, masks, num_masks):
    total = 0.0
    for row, mask in zip(logits.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True):
        m = [1 / (1 + math.exp(-score)) for score in row]
        overlap = sum(value for value, inside in zip(m, mask, strict=True) if inside)
        total += 1 - (2 * overlap + 1) / (sum(m) + sum(mask) + 1)
    return total / num_masks


NAIVE = [(focal_mask_loss, naive_focal), (dice_mask_loss, naive_dice)]


@pytest.mark.parametrize(("loss", "naive"), NAIVE)
@each("num_masks", [1, 2.5, 7])
def test_equals_a_pixel_at_a_time(loss, naive, num_masks):
    logits, masks = case()
    expected = naive(logits, masks, num_masks)
    assert loss(logits, masks, num_masks).item() == pytest.approx(expected, rel=1e-5)
    given = loss(logits, masks.float(), torch.tensor(float(num_masks)))
    assert given.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("block", [7, 2**18])
def test_gradient_is_that_of_differences(loss, block, monkeypatch):
    monkeypatch.setattr("wsss_zoo.functional.losses.mask_losses.CPU_BLOCK", block)
    logits, masks = case(dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda scores: loss(scores, masks, 2), logits.requires_grad_(), check_undefined_grad=False
    )


def test_focal_gradient_is_that_of_automatic_differentiation():
    logits, masks = case()
    grads = []
    for function in (lambda x: focal_mask_loss(x, masks, 2), lambda x: plain_focal(x, masks) / 2):
        leaf = logits.clone().requires_grad_()
        (3 * function(leaf)).backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-7)


def plain_focal(logits, masks):
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, masks.float(), reduction="none"
    )
    alpha = torch.where(masks, 0.25, 0.75)
    return (alpha * (1 - (-entropy).exp()) ** 2 * entropy).mean((1, 2)).sum()


def test_a_mask_sends_its_gradient_to_its_own_logits_alone():
    logits, masks = case()
    for loss in LOSSES:
        leaf = logits.clone().requires_grad_()
        loss(leaf[:1], masks[:1], 1).backward()
        assert leaf.grad[0].abs().min() > 0
        assert leaf.grad[1:].abs().max() == 0


@each("sign", [1, -1])
def test_saturated_logits_give_the_limit(sign):
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :1] = True
    logits = torch.full((1, 4, 4), sign * 1e4, requires_grad=True)
    focal, dice = (loss(logits, masks, 1) for loss in LOSSES)
    # A quarter of the pixels is inside.
    assert focal.item() == pytest.approx(1e4 * 0.75 * 0.75 if sign > 0 else 1e4 * 0.25 * 0.25)
    assert dice.item() == pytest.approx(1 - (9 / 21 if sign > 0 else 1 / 5))
    (focal + dice).backward()
    wrong = ~masks if sign > 0 else masks
    slope = sign * torch.where(masks, 0.25, 0.75) * wrong / 16
    torch.testing.assert_close(logits.grad, slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_right_and_sure_is_0(loss):
    masks = torch.eye(4).bool()[None]
    assert loss(torch.where(masks, 1e4, -1e4), masks, 1).item() == pytest.approx(0, abs=1e-7)
    empty = torch.zeros(1, 4, 4)
    assert loss(empty - 1e4, empty, 1).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_target_is_0_with_a_gradient(loss):
    logits = torch.zeros(0, 4, 5, requires_grad=True)
    value = loss(logits, torch.zeros(0, 4, 5), 1)
    value.backward()
    assert value.item() == 0
    assert logits.grad.shape == (0, 4, 5)


@pytest.mark.parametrize("loss", LOSSES)
@each("autocast", [False, True])
def test_half_precision_gives_float32_losses(loss, autocast):
    logits, masks = case()
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(half, masks, 2)
    value.backward()
    assert value.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    assert value.item() == pytest.approx(loss(half.detach().float(), masks, 2).item(), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_order_of_targets_does_not_matter(loss):
    logits, masks = case()
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(loss(logits, masks, 1), loss(logits[order], masks[order], 1))


@pytest.mark.parametrize("loss", LOSSES)
def test_what_does_not_fit_is_refused(loss):
    logits, masks = case()
    with pytest.raises(ValueError, match="resized to the masks"):
        loss(logits, masks[:, :2], 1)
    with pytest.raises(ValueError, match=r"give \(T, H, W\) and \(T, H, W\)"):
        loss(logits[0], masks[0], 1)
    with pytest.raises(ValueError, match="num_masks is 0"):
        loss(logits, masks, 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_never_reads_the_device(loss):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        logits = torch.zeros(2, 5, 6, device="cuda")
        assert loss(logits, logits > 0, 2).device.type == "cuda"


TAU = -2.9444
H, W = 4, 5


def novel_case(T=3, B=2):
    rng = torch.Generator().manual_seed(0)
    valid = torch.ones(H, W, dtype=torch.bool)
    valid[:, -1] = False
    logits = 4 * torch.randn(T, H, W, generator=rng) - 2
    return logits, torch.rand(B, H, W, generator=rng) > 0.7, valid


def naive_complementary(logits, base_masks, valid, tau):
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


@each("tau", [TAU, -1e4, 1.0])
@each(("T", "B"), [(3, 2), (1, 0), (2, 1)])
def test_complementary_equals_a_pixel_at_a_time(T, B, tau):
    logits, base_masks, valid = novel_case(T, B)
    expected = naive_complementary(logits, base_masks, valid, tau)
    ours = complementary_loss(logits, base_masks, valid, tau)
    assert ours.item() == pytest.approx(expected, rel=1e-5)
    assert complementary_loss(logits, base_masks.float(), valid, tau) == ours


def test_complementary_the_floor_is_a_probability_of_a_twentieth():
    logits, base_masks, valid = novel_case()
    assert complementary_loss(logits, base_masks, valid) == complementary_loss(
        logits, base_masks, valid, TAU
    )
    assert 1 / (1 + math.exp(-TAU)) == pytest.approx(0.05, abs=1e-5)


def test_complementary_the_floor_off_is_the_highest_alone():
    logits, base_masks, valid = novel_case()
    union, target = logits.max(0).values[None], (valid & ~base_masks.any(0))[None]
    expected = 20 * focal_mask_loss(union, target, 1) + dice_mask_loss(union, target, 1)
    torch.testing.assert_close(complementary_loss(logits, base_masks, valid, -1e4), expected)


def test_complementary_the_gradient_reaches_the_highest_proposal_above_the_floor_alone():
    logits, base_masks, valid = novel_case()
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


def test_complementary_of_equal_proposals_one_has_the_gradient():
    logits = torch.zeros(2, H, W, requires_grad=True)
    complementary_loss(logits, torch.zeros(0, H, W), torch.ones(H, W).bool()).backward()
    assert ((logits.grad != 0).sum(0) == 1).all()


def test_complementary_without_base_masks_all_that_is_not_padding_is_the_target():
    _, _, valid = novel_case()
    logits = torch.where(valid, 1e4, -1e4)[None]
    right = complementary_loss(logits, torch.zeros(0, H, W), valid, tau=-1e4)
    assert right.item() == pytest.approx(0, abs=1e-6)
    assert complementary_loss(-logits, torch.zeros(0, H, W), valid, tau=-1e4) > 1e4


def test_complementary_no_novel_target_is_0_with_a_gradient():
    logits = torch.zeros(0, H, W, requires_grad=True)
    loss = complementary_loss(logits, *novel_case()[1:])
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


@each("value", [1e4, -1e4])
@each("tau", [TAU, -1e4])
def test_complementary_saturated_logits_stay_finite(value, tau):
    logits = torch.full((2, H, W), value, requires_grad=True)
    loss = complementary_loss(logits, *novel_case()[1:], tau)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_complementary_half_precision_gives_a_float32_loss():
    logits, base_masks, valid = novel_case()
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = complementary_loss(half, base_masks, valid)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, complementary_loss(half.float(), base_masks, valid))


def test_complementary_several_images_at_once_are_their_sum():
    logits, base_masks, valid = novel_case(6, 3)
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


def test_complementary_order_of_proposals_and_masks_does_not_matter():
    logits, base_masks, valid = novel_case()
    moved = complementary_loss(logits.flip(0), base_masks.flip(0), valid)
    torch.testing.assert_close(moved, complementary_loss(logits, base_masks, valid))


def test_complementary_what_does_not_fit_is_refused():
    logits, base_masks, valid = novel_case()
    for parts in (
        (logits[0], base_masks, valid),
        (logits, base_masks[:, :2], valid),
        (logits, base_masks, valid[0]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            complementary_loss(*parts)


def test_complementary_never_reads_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        logits = torch.zeros(2, H, W, device="cuda")
        assert complementary_loss(logits, logits > 0, logits[0] > 0).device.type == "cuda"
