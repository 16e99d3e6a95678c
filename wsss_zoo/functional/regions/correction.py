"""Labels for all regions from the trusted ones, and back to the pixels."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.losses.cross_entropy import masked_cross_entropy

WriteBack = Literal["all", "keep_nodes", "keep_pixels"]


def region_loss(
    logits: Tensor, node_labels: Tensor, balance: bool = False, ignore_index: int = 255
) -> Tensor:
    """Average the cross-entropy over the labelled regions.

    Args:
        logits: Scores, (V, C); -inf excludes a class, which must not be a region's label.
        node_labels: Class of each region, (V,) int64.
        balance: Weight all classes that occur equally, however few regions they have.
        ignore_index: Label of the regions that do not count.

    Returns:
        A float32 scalar; 0 with a zero gradient if no region has a label.

    Yi et al., arXiv:2103.14242. The paper sums over the clean nodes; this implementation averages.

    >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, -9.0]])
    >>> region_loss(logits, torch.tensor([0, 1, 255]))
    tensor(0.6931)
    >>> region_loss(logits, torch.full((3,), 255))
    tensor(0.)
    """
    if not balance:
        return masked_cross_entropy(logits, node_labels, ignore_index)
    known = node_labels != ignore_index
    index = torch.where(known, node_labels, 0)
    zeros = torch.zeros(logits.shape[1], dtype=torch.float32, device=logits.device)
    counts = zeros.index_add(0, index, known.float())
    weight = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)
    total = F.cross_entropy(
        logits.float(), node_labels, weight, ignore_index=ignore_index, reduction="sum"
    )
    return total / (counts > 0).sum().clamp_min(1)


def seed_missing_classes(
    node_labels: Tensor, counts: Tensor, loss: Tensor, tags: Tensor, ignore_index: int = 255
) -> Tensor:
    """Label one region for each tagged class that no labelled region has, (V,) int64.

    The seed is an unlabelled region whose most frequent class is the missing one; among several,
    the region with the lowest loss. Without seeds, a network trained on this image alone could not
    learn the class. A class without such a region gets no seed.

    Args:
        node_labels: Class of each region, (V,) int64.
        counts: Pixels of each region by their noisy label, (V, C).
        loss: Mean loss of a region's labelled pixels, (V,); inf without any.
        tags: Presence of the foreground classes, (K,) with K = C - 1.
        ignore_index: Label of the regions without one.

    >>> labels, counts = torch.tensor([0, 255, 255]), torch.tensor([[9, 0], [1, 8], [0, 9]])
    >>> seed_missing_classes(labels, counts, torch.tensor([0.1, 2.0, 1.0]), torch.ones(1)).tolist()
    [0, 255, 1]
    """
    result = node_labels.clone()
    most, major = counts.max(1)
    for label in (tags.nonzero().flatten() + 1).tolist():
        if (node_labels == label).any():
            continue
        candidates = (node_labels == ignore_index) & (major == label) & (most > 0)
        if candidates.any():
            # A loss of inf would tie with the regions that are no candidates.
            ranked = torch.where(candidates, loss.nan_to_num(posinf=1e30), torch.inf)
            result[ranked.argmin()] = label
    return result


def nearest_clean(
    node_labels: Tensor, x: Tensor, edge_index: Tensor, ignore_index: int = 255
) -> Tensor:
    """Label each region like the nearest labelled region in the graph, without learning.

    Nearest means the fewest edges away, then the most similar features. A region without a path to
    a labelled one takes the most similar of all.

    Args:
        node_labels: Class of each region, (V,) int64.
        x: Features, (V, D).
        edge_index: Neighbours, both directions, (2, E).
        ignore_index: Label of the regions without one.

    Returns:
        Labels (V,) int64; `ignore_index` everywhere if no region has one.

    >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    >>> nearest_clean(torch.tensor([4, 255, 255, 7]), torch.zeros(4, 1), path).tolist()
    [4, 4, 7, 7]
    """
    sources = (node_labels != ignore_index).nonzero().flatten()
    if len(sources) == 0:
        return node_labels.clone()
    x = x.float()
    distance = torch.cdist(x, x[sources], compute_mode="donot_use_mm_for_euclid_dist")
    # (V, P): the sources within a growing number of steps of each region, starting with 0.
    reached = torch.zeros_like(distance)
    reached[sources, torch.arange(len(sources), device=x.device)] = 1
    settled = node_labels != ignore_index
    nearest = torch.where(reached > 0, distance, torch.inf).argmin(1)
    while not settled.all():
        reached = reached.index_add(0, edge_index[1], reached[edge_index[0]]).clamp_max(1)
        arrived = reached.any(1) & ~settled
        if not arrived.any():
            break
        choice = torch.where(reached > 0, distance, torch.inf).argmin(1)
        nearest = torch.where(arrived, choice, nearest)
        settled |= arrived
    nearest = torch.where(settled, nearest, distance.argmin(1))
    return node_labels[sources][nearest]


def write_back(
    node_labels: Tensor,
    node_votes: Tensor,
    segments: Tensor,
    label: Tensor,
    clean: Tensor,
    rule: WriteBack,
    ignore_index: int = 255,
) -> Tensor:
    """Assign labels to the pixels from their regions, (H, W) int64.

    Args:
        node_labels: Corrected class of each region, (V,) int64.
        node_votes: Class agreed on by the clean pixels of a region, else `ignore_index`, (V,)
            int64.
        segments: Region of each pixel, (H, W) int64.
        label: Noisy label of each pixel, (H, W) int64.
        clean: Pixels whose label is trusted, (H, W) bool. Ignored pixels are never clean.
        rule: "all": every pixel takes its region's corrected class. "keep_nodes": the vote of a
            region takes precedence. "keep_pixels": in addition, clean pixels keep their label.
        ignore_index: Value of missing labels.

    arXiv:2103.14242 leaves the rule open; "all" is the most literal reading.

    >>> segments, label = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[1, 2, 2, 1]])
    >>> clean, votes = torch.tensor([[True, False, False, True]]), torch.tensor([1, 255])
    >>> for rule in ("all", "keep_nodes", "keep_pixels"):
    ...     write_back(torch.tensor([0, 0]), votes, segments, label, clean, rule).tolist()
    [[0, 0, 0, 0]]
    [[1, 1, 0, 0]]
    [[1, 1, 0, 1]]
    """
    if rule not in get_args(WriteBack):
        raise ValueError(f"write_back is {rule!r}; give 'all', 'keep_nodes' or 'keep_pixels'")
    if rule == "all":
        return node_labels[segments]
    painted = torch.where(node_votes != ignore_index, node_votes, node_labels)[segments]
    if rule == "keep_nodes":
        return painted
    return torch.where(clean & (label != ignore_index), label, painted)


def temper(probs: Tensor, cap: float) -> Tensor:
    """Mix distributions with the uniform one until no probability exceeds `cap`.

    A CRF cannot change a certain label. Order and sum stay, and distributions below the cap do not
    change.

    Args:
        probs: Probabilities along dimension 0, (C, ...).
        cap: Largest probability, in (1 / C, 1].

    >>> temper(torch.tensor([1.0, 0.0]), 0.9)
    tensor([0.9000, 0.1000])
    """
    uniform = 1 / len(probs)
    if not (uniform < cap <= 1 or len(probs) == 1):
        raise ValueError(
            f"cap is {cap} for {len(probs)} classes; give a probability in ({uniform:.3g}, 1]"
        )
    largest = probs.amax(0, keepdim=True)
    share = (cap - uniform) / (largest - uniform).clamp_min(1e-6)
    return uniform + share.clamp_max(1) * (probs - uniform)
