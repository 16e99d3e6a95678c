"""Matching of a mask transformer's proposals with targets."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wsss_zoo.functional.losses.mask_losses import CPU_BLOCK, FOCAL_WEIGHT, GPU_BLOCK
from wsss_zoo.functional.tensors import at_least_float32, check_shapes

Match = tuple[Tensor, Tensor]
HostMatch = tuple[NDArray[np.int64], NDArray[np.int64]]

# Cost of a proposal with overflowed scores: taken only when no other is left.
UNUSABLE = 1e9


@torch.no_grad()
def proposal_costs(
    class_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor
) -> Tensor:
    """Compute the cost of each proposal for each target, for many images at once.

    The cost is minus the probability of the target's class. A target with a non-empty mask adds 20
    times the focal and once the dice loss of the proposal against it. The computation runs over
    blocks of pixels in float32 (float64 for float64 logits). It neither copies the mask logits nor
    synchronises with the device.

    Args:
        class_logits: (N, Q, K + 1), the last for "no object".
        mask_logits: (N, Q, h, w).
        labels: Class in [0, K) of each target, (N, T) int64; padded with any class in images with
            fewer than T targets.
        masks: 0 or 1, at the resolution of the logits, (N, T, h, w).
        has_mask: Whether a target's mask is known, (N, T) bool.

    Returns:
        (N, Q, T), finite: a proposal with logits that are not finite costs 1e9.

    Chen et al. (SimFormer), NeurIPS 2022; the cost of MaskFormer, Cheng et al., NeurIPS 2021. The
    authors' code multiplies the mask cost of a target without mask by 0, which turns saturated
    logits into NaN. This implementation leaves it out.

    >>> costs = proposal_costs(
    ...     torch.zeros(1, 2, 3), 50 * torch.tensor([[[[1.0, -1]], [[-1.0, 1]]]]),
    ...     torch.tensor([[0, 1]]), torch.tensor([[[[1, 0]], [[0, 0]]]]), torch.ones(1, 2).bool())
    >>> (3 * costs[0, 0]).round()
    tensor([-1., -1.])
    >>> bool(costs[0, 1, 0] > costs[0, 0, 0])
    True
    """
    check_shapes(
        "(N, Q, K + 1), (N, Q, h, w), (N, T), (N, T, h, w) and (N, T), the masks resized (nearest) "
        "to the mask logits",
        class_logits=class_logits,
        mask_logits=mask_logits,
        labels=labels,
        masks=masks,
        has_mask=has_mask,
    )
    probs = at_least_float32(class_logits).softmax(2)
    costs = -probs.gather(2, labels[:, None].expand(-1, probs.shape[1], -1))
    flat_masks = masks.flatten(2)
    with torch.autocast(mask_logits.device.type, enabled=False):
        mask_costs = _mask_costs(mask_logits.flatten(2), flat_masks)
    seen = has_mask & (flat_masks != 0).any(2)
    costs = costs + torch.where(seen[:, None], mask_costs, 0.0)
    return costs.nan_to_num(UNUSABLE, UNUSABLE, UNUSABLE)


def _mask_costs(logits: Tensor, masks: Tensor) -> Tensor:
    """Compute 20 focal + dice of proposals (N, Q, P) against targets (N, T, P): (N, Q, T)."""
    N, Q, P = logits.shape
    step = _block_size(N * Q, logits.device)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    # Per proposal: the difference of the focal loss inside and outside a target, and the sigmoids.
    # One product with the targets serves both.
    rows = torch.empty(N, 2 * Q, min(step, P), dtype=dtype, device=logits.device)
    space = rows.new_empty(N, Q, min(step, P))
    products = rows.new_zeros(N, masks.shape[1], 2 * Q)
    outside, size = rows.new_zeros(N, 1, Q), rows.new_zeros(N, 1, Q)
    for start in range(0, P, step):
        x = logits[:, :, start : start + step].to(dtype)
        target = masks[:, :, start : start + step].to(dtype)
        both, log_m = rows[..., : x.shape[2]], space[..., : x.shape[2]]
        difference, m = both[:, :Q], both[:, Q:]
        torch.sigmoid(x, out=m)
        # log sigmoid(x): log is several times as fast as log1p. The minimum is exact where the
        # sigmoid underflows.
        torch.clamp_min(m, torch.finfo(dtype).tiny, out=log_m).log_()
        torch.minimum(log_m, x, out=log_m)
        # The focal loss is -0.25 (1 - m)^2 log m inside and 0.75 m^2 (x - log m) outside.
        torch.sub(1, m, out=difference).square_().mul_(log_m)
        loss = torch.sub(x, log_m, out=log_m).mul_(m).mul_(m)
        outside += loss.sum(2)[:, None]
        size += m.sum(2)[:, None]
        difference.add_(loss, alpha=3)
        products.baddbmm_(target, both.transpose(1, 2))
    focal = (0.75 * outside - 0.25 * products[..., :Q]) / max(1, P)
    known = masks.sum(2, dtype=dtype)[..., None]
    dice = 1 - (2 * products[..., Q:] + 1) / (size + known + 1)
    return (FOCAL_WEIGHT * focal + dice).transpose(1, 2)


def _block_size(rows: int, device: torch.device) -> int:
    """Choose the number of pixels in a block, a power of two."""
    elements = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    return 1 << (max(1, elements // max(1, rows)).bit_length() - 1)


def solve_assignment(costs: Tensor, counts: Sequence[int]) -> list[HostMatch]:
    """Assign one proposal per target and image at the least total cost, on the host.

    The only synchronisation of the matching: one copy of all costs to the host.

    Args:
        costs: Finite, (N, Q, T).
        counts: Number of targets of each image, 0 to T; the rest of `costs` is padding.

    Returns:
        Per image the proposals, ascending, and the target of each, both int64 arrays of length
        min(Q, count). With more targets than proposals the most costly ones stay unassigned.
    """
    N, _, T = costs.shape
    if len(counts) != N or not all(0 <= count <= T for count in counts):
        raise ValueError(
            f"counts {list(counts)} do not fit costs {tuple(costs.shape)}; "
            f"give {N} numbers of targets from 0 to {T}"
        )
    host = costs.detach().cpu().double().numpy()
    return [linear_sum_assignment(host[n, :, :count]) for n, count in enumerate(counts)]


def assign_proposals(costs: Tensor, counts: Sequence[int]) -> list[Match]:
    """Run `solve_assignment` and copy its result to the device of the costs, as int64 tensors.

    >>> assign_proposals(torch.tensor([[[1.0, 0.0], [0.0, 5.0], [9.0, 9.0]]]), [2])
    [(tensor([0, 1]), tensor([1, 0]))]
    """
    pairs = solve_assignment(costs, counts)
    lengths = [len(queries) for queries, _ in pairs]
    # One copy back for all images.
    both = np.concatenate([np.zeros((2, 0), np.int64), *map(np.stack, pairs)], axis=1)
    queries, targets = torch.from_numpy(both).to(costs.device)
    return list(zip(queries.split(lengths), targets.split(lengths), strict=True))


def match_proposal_batch(
    class_logits: Tensor,
    mask_logits: Tensor,
    labels: Sequence[Tensor],
    masks: Sequence[Tensor],
    has_mask: Sequence[Tensor],
) -> list[Match]:
    """Run `match_proposals` on each image of a batch, in one pass over all of them.

    Args:
        class_logits: (N, Q, K + 1).
        mask_logits: (N, Q, h, w).
        labels: For each image (T,) int64; T may differ and may be 0.
        masks: For each image (T, h, w), 0 or 1.
        has_mask: For each image (T,) bool.

    >>> labels, masks = [torch.tensor([1]), torch.tensor([]).long()], [torch.ones(1, 2, 2)] * 2
    >>> logits = torch.tensor([[0.0, 0.0, 9.0], [0.0, 9.0, 0.0]]).repeat(2, 1, 1)
    >>> match_proposal_batch(logits, torch.zeros(2, 2, 2, 2), labels, [masks[0], masks[1][:0]],
    ...                      [torch.ones(1).bool(), torch.ones(0).bool()])[0]
    (tensor([1]), tensor([0]))
    """
    N, counts = len(class_logits), [len(row) for row in labels]
    sizes = {tuple(map(len, rows)) for rows in (labels, masks, has_mask)}
    if sizes != {tuple(counts)} or len(counts) != N:
        raise ValueError(
            f"{N} images have {counts} labels, {[len(row) for row in masks]} masks and "
            f"{[len(row) for row in has_mask]} has_mask; give one of each per target"
        )
    if N == 0:
        return []
    targets = (pad_sequence(list(rows), batch_first=True) for rows in (labels, masks, has_mask))
    return assign_proposals(proposal_costs(class_logits, mask_logits, *targets), counts)


def match_proposals(
    class_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor
) -> Match:
    """Match one image's proposals with its targets by the Hungarian algorithm.

    The cost is that of `proposal_costs`. No gradient; synchronises with the device.

    Args:
        class_logits: (Q, K + 1), the last for "no object".
        mask_logits: (Q, h, w).
        labels: Class in [0, K) of each target, (T,) int64; T may be 0.
        masks: 0 or 1, at the resolution of the logits, (T, h, w); arbitrary without `has_mask`.
        has_mask: Whether a target's mask is known, (T,) bool.

    Returns:
        Matched queries, ascending, and the index of each one's target in the order given, both
        int64 of length min(Q, T).

    Chen et al. (SimFormer), NeurIPS 2022. The authors' code numbers targets whose mask vanishes at
    this resolution in another order than their labels. This implementation uses the order of the
    input.

    >>> match_proposals(torch.tensor([[0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]), torch.zeros(2, 4, 4),
    ...                 torch.tensor([0, 1]), torch.zeros(2, 4, 4), torch.zeros(2).bool())
    (tensor([0, 1]), tensor([1, 0]))
    """
    K = class_logits.shape[-1] - 1
    if ((labels < 0) | (labels >= K)).any():
        raise ValueError(f"labels are {labels.tolist()}; each must be one of the {K} classes")
    costs = proposal_costs(
        class_logits[None], mask_logits[None], labels[None], masks[None], has_mask[None]
    )
    return assign_proposals(costs, [len(labels)])[0]
