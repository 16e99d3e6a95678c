"""The losses of a mask transformer's layers, shared by the methods that train one.

The functions take proposals of N images, L layers and Q queries, with masks (N, L, Q, h, w) of
``MaskTransformer.stride``. ``mask`` is the class index per pixel of the padded image, (N, H, W)
int64; pixels of 255 belong to no class. ``targets`` are its `class_targets`, ``matches`` those of
`match_layers`.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional import (
    ClassTargets,
    covered_pixels,
    dice_mask_loss,
    focal_mask_loss,
    proposal_costs,
    solve_assignment,
    summed_complementary_loss,
    target_masks,
)
from wsss_zoo.functional.tensors import resized_labels
from wsss_zoo.methods.ranks import mean_over_ranks
from wsss_zoo.modules import Proposals


class Matches(NamedTuple):
    """Which proposals stand for the targets of a batch, one column per match.

    The rows are image, layer, query, class and place of the target in its image, int64.
    """

    #: Matches with a target that has a mask, (5, M).
    masked: Tensor
    #: Matches with a target that has none, (5, M'), by image and layer.
    unmasked: Tensor
    #: Where ``unmasked`` has matches: image, and how many, for each layer of it.
    groups: list[tuple[int, int]]


def match_layers(proposals: Proposals, mask: Tensor, targets: ClassTargets) -> Matches:
    """Match the proposals of every layer with the targets of their image, all in one pass."""
    L = proposals.class_logits.shape[1]
    small = target_masks(targets, resized_labels(mask, proposals.mask_logits.shape[-2:]))
    costs = proposal_costs(
        proposals.class_logits.detach().flatten(0, 1),
        proposals.mask_logits.detach().flatten(0, 1),
        *(value.repeat_interleave(L, 0) for value in (targets.labels, small, targets.has_mask)),
    )
    counts = [count for count in targets.counts for _ in range(L)]
    masked, unmasked, groups = [], [], []
    for place, (queries, chosen) in enumerate(solve_assignment(costs, counts)):
        image, layer = divmod(place, L)
        place_of = (np.full_like(queries, image), np.full_like(queries, layer), queries)
        columns = np.stack([*place_of, targets.host_labels[image][chosen], chosen])
        has_mask = chosen < targets.mask_counts[image]
        masked.append(columns[:, has_mask])
        unmasked.append(columns[:, ~has_mask])
        if not has_mask.all():
            groups.append((image, int((~has_mask).sum())))
    first, second = (
        torch.from_numpy(np.concatenate(side, 1)).to(mask.device, non_blocking=True)
        for side in (masked, unmasked)
    )
    return Matches(first, second, groups)


def class_loss(class_logits: Tensor, matches: Matches, no_object_weight: float) -> Tensor:
    """Sum the cross-entropies of the layers; queries that are not matched are "no object".

    Each is a weighted mean over all queries.

    Args:
        class_logits: (N, L, Q, K + 1).
        matches: Of the same proposals.
        no_object_weight: Weight of "no object" against 1 of any class.
    """
    N, L, Q, classes = class_logits.shape
    target = torch.full((N, L, Q), classes - 1, device=class_logits.device)
    for image, layer, query, label, _ in (matches.masked, matches.unmasked):
        target[image, layer, query] = label
    precise = torch.promote_types(class_logits.dtype, torch.float32)
    weight = torch.ones(classes, dtype=precise, device=class_logits.device)
    # An assignment would copy the number to the device, and wait for it.
    weight[-1].fill_(no_object_weight)
    logits, target = class_logits.to(precise).flatten(0, 2), target.flatten()
    # Every layer has as many matches as the others, so they share a divisor.
    total = F.cross_entropy(logits, target, weight, reduction="sum")
    # With nothing to find and no weight on that, both are 0.
    return total * L / mean_over_ranks(weight[target].sum()).clamp_min(1e-5)


def mask_losses(
    mask_logits: Tensor, matches: Matches, mask: Tensor, targets: ClassTargets
) -> tuple[Tensor, Tensor]:
    """Sum the focal and the dice loss of the proposals matched with masks over the layers."""
    image, layer, query, _, place = matches.masked
    truth = target_masks(targets, mask)[image, place]
    logits = enlarged(mask_logits[image, layer, query], mask.shape[-2:])
    # Filled on the device: it would be waited for to copy the number there.
    own = torch.full((), float(sum(targets.mask_counts)), device=mask.device)
    number = mean_over_ranks(own).clamp_min(1)
    return focal_mask_loss(logits, truth, number), dice_mask_loss(logits, truth, number)


def complementary_losses(
    mask_logits: Tensor, matches: Matches, mask: Tensor, valid: Tensor, tau: float, classes: int
) -> Tensor:
    """Sum `complementary_loss` over the layers, each a mean over the images that have one.

    Args:
        mask_logits: (N, L, Q, h, w).
        matches: Of the same proposals.
        mask: Base classes.
        valid: False on padding, (N, H, W) bool.
        tau: Floor of the union of the novel proposals, a logit.
        classes: Number of classes K.
    """
    image, layer, query = matches.unmasked[:3]
    logits = enlarged(mask_logits[image, layer, query], mask.shape[-2:])
    places, counts = [place for place, _ in matches.groups], [count for _, count in matches.groups]
    free = valid & ~covered_pixels(mask, classes)
    targets = torch.stack([free[place] for place in places]) if places else free[:0]
    total = summed_complementary_loss(logits, counts, targets, tau)
    images = torch.full((), float(len(set(places))), device=mask.device)
    # Where no process has such an image the sum is 0, whatever it is divided by.
    return total / mean_over_ranks(images).clamp_min(1e-5)


def enlarged(mask_logits: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Enlarge mask logits (M, h, w) to the padded image's `size`, bilinear, in float32 at least."""
    logits = mask_logits[:, None].to(torch.promote_types(mask_logits.dtype, torch.float32))
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)[:, 0]


def padded(maps: Tensor, proposals: Proposals, value: int, stride: float = 4) -> Tensor:
    """Pad maps (N, H, W) at the right and bottom to the size of the enlarged proposals."""
    wanted = [round(stride * side) for side in proposals.mask_logits.shape[-2:]]
    below, right = (side - own for side, own in zip(wanted, maps.shape[-2:], strict=True))
    return F.pad(maps, (0, right, 0, below), value=value)
