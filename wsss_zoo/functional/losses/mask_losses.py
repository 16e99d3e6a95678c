"""Losses of proposed masks: against masks, and against the pixels that no mask covers."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

Count = int | float | Tensor

FOCAL_WEIGHT = 20.0
# Elements processed at a time: several times as many fit into a processor's cache or a GPU.
CPU_BLOCK, GPU_BLOCK = 2**18, 2**24


def focal_mask_loss(mask_logits: Tensor, masks: Tensor, num_masks: Count) -> Tensor:
    """Compute the focal loss: mean over pixels, sum over targets, divided by `num_masks`.

    With alpha 0.25, gamma 2 and a probability p of a pixel's truth, it is -0.25 (1 - p)^2 log p
    inside the mask and -0.75 (1 - p)^2 log p outside. The closed-form gradient stores only the two
    inputs; it has no second derivative.

    Args:
        mask_logits: (T, H, W); T may be 0, which gives 0.
        masks: 0 or 1 (or bool), (T, H, W).
        num_masks: Divisor, above 0: number of targets with a mask in the whole batch, at least 1.

    Returns:
        A float32 scalar (float64 for float64 logits), finite for saturated logits.

    Lin et al., "Focal Loss for Dense Object Detection", as MaskFormer uses it.

    >>> focal_mask_loss(torch.zeros(2, 3, 3), torch.eye(3).repeat(2, 1, 1), num_masks=2)
    tensor(0.1011)
    """
    logits = _checked(mask_logits, masks, num_masks)
    pixels = max(1, logits[:1].numel())
    total: Tensor = _FocalSum.apply(logits, masks.detach())
    return total / (pixels * num_masks)


def dice_mask_loss(mask_logits: Tensor, masks: Tensor, num_masks: Count) -> Tensor:
    """Compute the dice loss 1 - (2 sum(m g) + 1) / (sum(m) + sum(g) + 1), over `num_masks`.

    m is the sigmoid of the logits and g the mask; the sums are over the pixels of each target.

    Args:
        mask_logits: (T, H, W); T may be 0, which gives 0.
        masks: 0 or 1 (or bool), (T, H, W).
        num_masks: Divisor of the sum over the targets, above 0, as in `focal_mask_loss`.

    Returns:
        A float32 scalar (float64 for float64 logits).

    Milletari et al., "V-Net", as MaskFormer uses it.

    >>> dice_mask_loss(torch.full((1, 2, 2), 99.0), torch.ones(1, 2, 2), num_masks=1)
    tensor(0.)
    >>> dice_mask_loss(torch.full((1, 2, 2), 99.0), torch.zeros(1, 2, 2), num_masks=1)
    tensor(0.8000)
    """
    logits = _checked(mask_logits, masks, num_masks)
    m, g = logits.sigmoid().flatten(1), masks.to(logits.dtype).flatten(1)
    with torch.autocast(logits.device.type, enabled=False):
        # A product of vectors does not store m g.
        overlap = torch.bmm(m[:, None], g[:, :, None])[:, 0, 0]
    dice = 1 - (2 * overlap + 1) / (m.sum(1) + g.sum(1) + 1)
    return dice.sum() / num_masks


def complementary_loss(
    novel_mask_logits: Tensor, base_masks: Tensor, valid: Tensor, tau: float = -2.9444
) -> Tensor:
    """Compute 20 focal + dice of the union of the novel proposals against the uncovered pixels.

    The union is the highest logit of the proposals, floored at tau. The floor acts as a proposal
    for "ignored": unlabelled pixels need no novel class. In each pixel the gradient reaches only
    the highest proposal, and only where it is above tau.

    Args:
        novel_mask_logits: Logits of the proposals matched to a target without mask, (T, H, W); 0 if
            there is none (T = 0).
        base_masks: Masks of the base classes, 0 or 1, (B, H, W). With B = 0 all valid pixels are
            the target.
        valid: False on padding, which counts as not novel, (H, W) bool.
        tau: Floor of the union, a logit; -2.9444 is the probability 0.05, -1e4 disables it.

    Returns:
        A float32 scalar (float64 for float64 logits) for one image. A batch's loss is the mean over
        its images with such a target. The authors' code divides by their number + 1e-5.

    Chen et al. (SimFormer), NeurIPS 2022, as in the authors' code: base predictions take no part in
    the union.

    >>> logits, base = torch.tensor([[[9.0, -9.0, -9.0]]]), torch.tensor([[[0, 1, 1]]])
    >>> free = complementary_loss(logits, base, torch.ones(1, 3).bool(), tau=-1e4)
    >>> floored = complementary_loss(logits, base, torch.ones(1, 3).bool())
    >>> bool(free < 1e-3), bool(floored > free)
    (True, True)
    """
    wanted = "(T, H, W), (B, H, W) and (H, W)"
    check_shapes(wanted, novel_mask_logits=novel_mask_logits, base_masks=base_masks, valid=valid)
    count = len(novel_mask_logits)
    target = valid & ~(base_masks != 0).any(0)
    targets = target[None].expand(min(1, count), -1, -1)
    return summed_complementary_loss(novel_mask_logits, [count] * len(targets), targets, tau)


def summed_complementary_loss(
    novel_mask_logits: Tensor, counts: Sequence[int], targets: Tensor, tau: float = -2.9444
) -> Tensor:
    """Sum `complementary_loss` over images with at least one such target, in one pass.

    Args:
        novel_mask_logits: Logits of all images' proposals, concatenated, (sum of counts, H, W).
        counts: Proposals of each image, at least 1.
        targets: Pixels that are valid and not covered by a base mask, (images, H, W) bool. No image
            gives 0.
        tau: See `complementary_loss`.

    >>> logits = torch.tensor([[[9.0]], [[-9.0]], [[9.0]]])
    >>> summed_complementary_loss(logits, [2, 1], torch.ones(2, 1, 1)).round()
    tensor(0.)
    """
    logits = at_least_float32(novel_mask_logits)
    if len(targets) == 0:
        return logits.sum()
    unions = torch.stack([part.max(0).values for part in torch.split(logits, list(counts))])
    unions = torch.where(unions > tau, unions, tau)
    return FOCAL_WEIGHT * focal_mask_loss(unions, targets, 1) + dice_mask_loss(unions, targets, 1)


def _checked(mask_logits: Tensor, masks: Tensor, num_masks: Count) -> Tensor:
    wanted = "(T, H, W) and (T, H, W), the logits resized to the masks"
    check_shapes(wanted, mask_logits=mask_logits, masks=masks)
    if not isinstance(num_masks, Tensor) and num_masks <= 0:
        raise ValueError(f"num_masks is {num_masks}; give at least 1, also without masks")
    return at_least_float32(mask_logits)


class _FocalSum(torch.autograd.Function):
    """Sum of the focal loss over all elements, computed in blocks."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, masks: Tensor) -> Tensor:
        ctx.save_for_backward(logits, masks)
        total = logits.new_zeros(())
        for x, g in _blocks(logits, masks):
            p, log_p, alpha, _ = _terms(x, g)
            total -= (1 - p).square_().mul_(log_p).mul_(alpha).sum()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, masks = ctx.saved_tensors
        parts = []
        for x, g in _blocks(logits, masks):
            p, log_p, alpha, sign = _terms(x, g)
            wrong = 1 - p
            slope = log_p.mul_(p).mul_(2).sub_(wrong).mul_(wrong).mul_(wrong)
            parts.append(slope.mul_(alpha).mul_(sign).mul_(grad))
        return (torch.cat(parts) if parts else logits.new_zeros(0)).view(logits.shape), None


def _blocks(logits: Tensor, masks: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = CPU_BLOCK if logits.device.type == "cpu" else GPU_BLOCK
    flat_logits, flat_masks = logits.flatten(), masks.flatten()
    for start in range(0, len(flat_logits), size):
        yield flat_logits[start : start + size], flat_masks[start : start + size]


def _terms(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute probability of the truth, its log, alpha, and the sign (1 inside, -1 outside)."""
    sign = masks.to(logits.dtype).mul(2).sub_(1)
    x = logits * sign
    p = x.sigmoid()
    # log is several times as fast as log1p. The minimum is exact where the sigmoid underflows.
    log_p = torch.minimum(p.clamp_min(torch.finfo(p.dtype).tiny).log_(), x)
    return p, log_p, 0.5 - 0.25 * sign, sign
