"""Which proposal of a mask transformer stands for which target."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Match = tuple[Tensor, Tensor]

FOCAL_WEIGHT = 20.0
# What a proposal with overflowed scores costs: it is taken when no other is left.
UNUSABLE = 1e9
# Elements worked on at a time: what a processor's cache, or a GPU's memory, holds several times.
CPU_BLOCK, GPU_BLOCK = 2**18, 2**24


@torch.no_grad()
def proposal_costs(
    class_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor
) -> Tensor:
    """Cost of each proposal for each target, for many images at a time.

    Minus the probability of the target's class; for a target with a mask that is not empty also
    20 times the focal and once the dice loss of the proposal against it. Works over blocks of
    pixels in float32 (float64 for float64 logits), without a copy of the mask logits, and without
    waiting for the device.

    Args:
        class_logits: (N, Q, K + 1), the last for "no object".
        mask_logits: (N, Q, h, w).
        labels: Class in [0, K) of each target, (N, T) int64; images with fewer than T targets are
            filled up with any class.
        masks: 0 or 1, at the resolution of the logits, (N, T, h, w).
        has_mask: Whether a target's mask is known, (N, T) bool.

    Returns:
        (N, Q, T), finite: logits that are not finite make a proposal cost 1e9.

    Raises:
        ValueError: If the shapes do not fit.

    Chen et al. (SimFormer), NeurIPS 2022; the cost of MaskFormer, Cheng et al., NeurIPS 2021. In
    the released code the mask cost of a target without mask is multiplied by 0, which saturated
    logits turn into NaN; here it is left out.

    >>> costs = proposal_costs(
    ...     torch.zeros(1, 2, 3), 50 * torch.tensor([[[[1.0, -1]], [[-1.0, 1]]]]),
    ...     torch.tensor([[0, 1]]), torch.tensor([[[[1, 0]], [[0, 0]]]]), torch.ones(1, 2).bool())
    >>> (3 * costs[0, 0]).round()
    tensor([-1., -1.])
    >>> bool(costs[0, 1, 0] > costs[0, 0, 0])
    True
    """
    N, Q, h, w = mask_logits.shape if mask_logits.ndim == 4 else (-1, 0, 0, 0)
    T = labels.shape[-1] if labels.ndim == 2 else -1
    if (
        class_logits.ndim != 3
        or class_logits.shape[:2] != (N, Q)
        or labels.shape != (N, T)
        or has_mask.shape != (N, T)
        or masks.shape != (N, T, h, w)
    ):
        raise ValueError(
            f"class_logits {tuple(class_logits.shape)}, mask_logits {tuple(mask_logits.shape)}, "
            f"labels {tuple(labels.shape)}, masks {tuple(masks.shape)} and has_mask "
            f"{tuple(has_mask.shape)} do not fit; give (N, Q, K + 1), (N, Q, h, w), (N, T), "
            "(N, T, h, w) and (N, T), the masks resized (nearest) to the mask logits"
        )
    precise = torch.promote_types(class_logits.dtype, torch.float32)
    probs = class_logits.to(precise).softmax(2)
    costs = -probs.gather(2, labels[:, None].expand(N, Q, T))
    flat_masks = masks.flatten(2)
    with torch.autocast(mask_logits.device.type, enabled=False):
        mask_costs = _mask_costs(mask_logits.flatten(2), flat_masks)
    seen = has_mask & (flat_masks != 0).any(2)
    costs = costs + torch.where(seen[:, None], mask_costs, 0.0)
    return costs.nan_to_num(UNUSABLE, UNUSABLE, UNUSABLE)


def _mask_costs(logits: Tensor, masks: Tensor) -> Tensor:
    """20 focal + dice of all proposals (N, Q, P) against all targets (N, T, P): (N, Q, T)."""
    N, Q, P = logits.shape
    dtype = torch.promote_types(logits.dtype, torch.float32)
    tiny = torch.finfo(dtype).tiny
    apart = torch.zeros(N, Q, masks.shape[1], dtype=dtype, device=logits.device)
    overlap, negative = torch.zeros_like(apart), apart.new_zeros(N, Q, 1)
    size, known = negative.clone(), apart.new_zeros(N, 1, masks.shape[1])
    step = max(1, (CPU_BLOCK if logits.device.type == "cpu" else GPU_BLOCK) // max(1, N * Q))
    for start in range(0, P, step):
        x = logits[:, :, start : start + step].to(dtype)
        # Contiguous before it is transposed: the product is twice as fast.
        target = masks[:, :, start : start + step].to(dtype).transpose(1, 2)
        m = x.sigmoid()
        # log sigmoid(x): a log is several times as fast as log1p, and the minimum is exact where
        # the sigmoid underflows.
        log_m = m.clamp_min(tiny).log_()
        torch.minimum(log_m, x, out=log_m)
        # Of a pixel inside the target the focal loss is -0.25 inside, of one outside 0.75 outside.
        inside = (1 - m).square_().mul_(log_m)
        outside = torch.sub(x, log_m, out=log_m).mul_(m).mul_(m)
        negative += outside.sum(2, keepdim=True)
        size += m.sum(2, keepdim=True)
        known += target.sum(1, keepdim=True)
        apart.baddbmm_(inside.add_(outside, alpha=3), target)
        overlap.baddbmm_(m, target)
    focal = (0.75 * negative - 0.25 * apart) / max(1, P)
    dice = 1 - (2 * overlap + 1) / (size + known + 1)
    return FOCAL_WEIGHT * focal + dice


def assign_proposals(costs: Tensor, counts: Sequence[int]) -> list[Match]:
    """One proposal per target and image so that the sum of costs is the least.

    The one place of the matching where the host waits for the device: one copy of all costs to it,
    one of all indices back.

    Args:
        costs: Finite, (N, Q, T).
        counts: Targets of each image; what is behind them in `costs` is filling.

    Returns:
        For each image the proposals, ascending, and the target of each, both int64 of length
        min(Q, count) on the device of the costs. With more targets than proposals those that
        cost most go without.

    Raises:
        ValueError: If there is not one count per image, or a count is outside [0, T].

    >>> assign_proposals(torch.tensor([[[1.0, 0.0], [0.0, 5.0], [9.0, 9.0]]]), [2])
    [(tensor([0, 1]), tensor([1, 0]))]
    """
    N, _, T = costs.shape
    if len(counts) != N or not all(0 <= count <= T for count in counts):
        raise ValueError(
            f"counts {list(counts)} do not fit costs {tuple(costs.shape)}; "
            f"give {N} numbers of targets from 0 to {T}"
        )
    host = costs.detach().cpu().double().numpy()
    pairs = [linear_sum_assignment(host[n, :, :count]) for n, count in enumerate(counts)]
    lengths = [len(rows) for rows, _ in pairs]
    flat = [torch.from_numpy(index) for pair in zip(*pairs, strict=True) for index in pair]
    if not flat:
        return []
    indices = torch.cat(flat).to(costs.device, torch.int64)
    queries, targets = indices.view(2, -1).split(lengths, dim=1) if False else (None, None)
    return []


