"""Loss of the classes that have tags but no masks: they lie where no base class is."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_zoo.functional.mask_losses import dice_mask_loss, focal_mask_loss

FOCAL_WEIGHT = 20.0


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

    Raises:
        ValueError: If the shapes do not fit.

    Chen et al. (SimFormer), NeurIPS 2022, as in the authors' code: base predictions take no part in
    the union.

    >>> logits, base = torch.tensor([[[9.0, -9.0, -9.0]]]), torch.tensor([[[0, 1, 1]]])
    >>> free = complementary_loss(logits, base, torch.ones(1, 3).bool(), tau=-1e4)
    >>> floored = complementary_loss(logits, base, torch.ones(1, 3).bool())
    >>> bool(free < 1e-3), bool(floored > free)
    (True, True)
    """
    H, W = valid.shape if valid.ndim == 2 else (-1, -1)
    if novel_mask_logits.shape[1:] != (H, W) or base_masks.shape[1:] != (H, W):
        raise ValueError(
            f"novel_mask_logits {tuple(novel_mask_logits.shape)}, base_masks "
            f"{tuple(base_masks.shape)} and valid {tuple(valid.shape)} do not fit; give (T, H, W), "
            "(B, H, W) and (H, W)"
        )
    count = len(novel_mask_logits)
    target = valid & ~(base_masks != 0).any(0)
    targets = target[None].expand(min(1, count), H, W)
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
    precise = torch.promote_types(novel_mask_logits.dtype, torch.float32)
    logits = novel_mask_logits.to(precise)
    if len(targets) == 0:
        return logits.sum()
    unions = torch.stack([part.max(0).values for part in torch.split(logits, list(counts))])
    unions = torch.where(unions > tau, unions, tau)
    return FOCAL_WEIGHT * focal_mask_loss(unions, targets, 1) + dice_mask_loss(unions, targets, 1)
