"""SimFormer's losses of pairs of pixels, each of an image and its reference.

Both take N images, then their references: ``labels`` are the base classes, 255 elsewhere,
(2 N, h, w) int64. ``is_base`` says whether a class has masks, (K,) bool. ``points`` are drawn from
each image, fewer where there are fewer pixels.

Chen et al. (SimFormer), NeurIPS 2022, as in the authors' code.
"""

from typing import Literal

import torch
from torch import Tensor

from wsss_zoo.functional import (
    DistillationKind,
    base_pixels,
    gather_points,
    pair_balance,
    pair_counts,
    pair_similarity_loss,
    pair_targets,
    sample_points,
    score_similarity,
    shared_class_regions,
    similarity_distillation_loss,
)
from wsss_zoo.methods.ranks import mean_over_ranks, number_of_ranks, share_of_global_mean
from wsss_zoo.modules import Proposals, SimNet

Pairing = Literal["cross_image", "code"]


def partners(maps: Tensor) -> Tensor:
    """Swap the halves of (2 N, ...): N images and their N references."""
    return maps.roll(len(maps) // 2, 0)


def sim_net_loss(
    sim_net: SimNet,
    embeddings: Tensor,
    labels: Tensor,
    valid: Tensor,
    is_base: Tensor,
    queue: Tensor,
    points: int,
) -> tuple[Tensor, Tensor]:
    """Teach the similarity network on pairs of pixels, at least one of which is of a base class.

    Four fifths of an image's points show a class that its partner has too. The others show anything
    else but padding.

    Args:
        sim_net: The similarity network; the caller's mode counts for its BatchNorm.
        embeddings: Of the pixels, (2 N, E, h, w), detached: only the similarity network learns.
        labels: Base classes.
        valid: False on padding, (2 N, h, w) bool.
        is_base: The classes with masks.
        queue: Numbers of pairs of the last calls in all processes, (calls, 2).
        points: Points of an image.

    Returns:
        The loss, and the queue with this call's numbers in place of the oldest.
    """
    points = min(points, labels[0].numel())
    images, references = labels.chunk(2)
    regions = torch.cat(shared_class_regions(images, references, is_base))
    inside = sample_points(regions, max(1, points * 4 // 5))
    chosen = inside
    if points > 1:
        outside = sample_points(valid & ~regions, points - inside.shape[1])
        chosen = torch.cat([inside, outside], 1)
    features = gather_points(embeddings, chosen)
    classes = labels.flatten(1).gather(1, chosen)
    same, known = pair_targets(classes, partners(classes), is_base)
    counts = mean_over_ranks(pair_counts(same)) * number_of_ranks()
    queue = torch.cat([queue[1:], counts[None]])
    similarity = sim_net.all_pairs(features, partners(features))
    loss = pair_similarity_loss(similarity, same, known, *pair_balance(queue))
    return share_of_global_mean(loss, known.sum()), queue


def distillation_loss(
    sim_net: SimNet,
    proposals: Proposals,
    labels: Tensor,
    tags: Tensor,
    is_base: Tensor,
    points: int,
    kind: DistillationKind,
    pairing: Pairing,
) -> Tensor:
    """Teach the novel classes' scores how similar pixels without base class are.

    Mean over the pairs of images, 0 for those that have no novel class in common.

    Args:
        sim_net: The teacher; its BatchNorm is in the caller's mode, which in training updates the
            running statistics, as in the authors' code.
        proposals: Of N images, then of their references.
        labels: Base classes.
        tags: Presence of the novel classes, zeros for base ones, (2 N, foreground classes).
        is_base: The classes with masks.
        points: Points of an image.
        kind: See `similarity_distillation_loss`.
        pairing: "cross_image": points of the image and of its partner; "code": the student's are
            both of the image, the teacher's of two.
    """
    points = min(points, labels[0].numel())
    chosen = sample_points(~base_pixels(labels, is_base), points)
    with torch.no_grad():
        features = gather_points(proposals.pixel_embeddings.detach(), chosen)
        teacher = sim_net.all_pairs(features, partners(features))
    masks = gather_points(proposals.mask_logits[:, -1], chosen).float().sigmoid()
    probs = proposals.class_logits[:, -1].float().softmax(-1)[..., :-1]
    with torch.autocast(masks.device.type, enabled=False):
        scores = masks @ probs
    # A product, not a choice of columns: how many are novel would have to come from the device.
    scores = scores * ~is_base
    student = score_similarity(scores, partners(scores) if pairing == "cross_image" else scores)
    shared = (tags * partners(tags)).amax(1)[: len(tags) // 2]
    losses = [
        similarity_distillation_loss(student[rows], teacher[rows], kind)
        for rows in torch.arange(len(tags), device=tags.device).view(2, -1).T
    ]
    return (torch.stack(losses) * shared).mean()
