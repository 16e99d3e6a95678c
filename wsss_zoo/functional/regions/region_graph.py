"""Graph of neighbouring regions and the pruning of its edges."""

import torch
from torch import Tensor

from wsss_zoo.functional.regions.pooling import num_regions


def region_adjacency(segments: Tensor) -> Tensor:
    """List the pairs of regions that share a border.

    Args:
        segments: Region of each pixel, (H, W), any integer type.

    Returns:
        edge_index (2, E) int64, every pair in both directions, without self loops or duplicates,
        sorted by the first end, then the second. Regions share a border if two of their pixels
        share a side (4-connectivity).

    >>> region_adjacency(torch.tensor([[0, 0, 1], [0, 2, 1]]))
    tensor([[0, 0, 1, 1, 2, 2],
            [1, 2, 0, 2, 0, 1]])
    """
    count = num_regions(segments)
    segments = segments.long()
    sides = ((segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:]))
    # Only the pixels at borders are sorted.
    borders = [(first[first != second], second[first != second]) for first, second in sides]
    ends = torch.cat([torch.stack(pair) for pair in borders], dim=1)
    pairs = torch.unique(ends.amin(0) * count + ends.amax(0))
    low, high = pairs // count, pairs % count
    both = torch.cat([pairs, high * count + low]).sort().values
    return torch.stack([both // count, both % count])


def edge_similarity(x: Tensor, edge_index: Tensor) -> Tensor:
    """Compute the similarity of each edge's ends, w = exp(-||xi - xj|| / (2 D)), (E,) float32.

    The norm is not squared, and D is the number of features, not a bandwidth. Values lie close
    below 1, too close for half precision.

    Args:
        x: Finite features of the nodes, (V, D), any float type.
        edge_index: Edges, (2, E) int64.

    Pu et al., "GraphNet: Learning Image Pseudo Annotations for Weakly-Supervised Semantic
    Segmentation", ACM MM 2018, section 3.1.

    >>> edge_similarity(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0], [1]]))
    tensor([0.2865])
    """
    return _similarity(x, edge_index).float()


def kept_edges(x: Tensor, edge_index: Tensor) -> Tensor:
    """Mark the edges that `prune_edges` keeps, (E,) bool; arguments as in `edge_similarity`.

    >>> x = torch.tensor([[0.0], [0.1], [9.0], [9.1], [0.2]])
    >>> kept_edges(x, torch.tensor([[0, 1, 2, 0, 1], [1, 2, 3, 4, 4]])).tolist()
    [True, False, True, True, True]
    """
    similarity = _similarity(x, edge_index)
    mean = similarity.mean()
    # torch's std would warn without edges.
    deviation = (similarity - mean).square().mean().sqrt()
    most = similarity.new_full((len(x),), -torch.inf)
    for ends in edge_index:
        most.scatter_reduce_(0, ends, similarity, "amax")
    best = (similarity == most[edge_index]).any(0)
    return (similarity >= mean - deviation) | best


def prune_edges(x: Tensor, edge_index: Tensor) -> Tensor:
    """Remove the edges between dissimilar regions; the others, (2, E'), keep their order.

    An edge is removed if its similarity w (see `edge_similarity`) is below mu - sigma and is the
    highest at neither end. mu is the mean, sigma the standard deviation (of the population) over
    the edges. Every node keeps its best edge, and both directions of an edge stay or go. The
    arguments are those of `edge_similarity`.

    GraphNet (Pu et al., ACM MM 2018), section 3.1. The paper's rule looks at one end only, which
    would keep some edges in one direction.

    >>> x = torch.tensor([[0.0], [0.1], [9.0], [9.1], [0.2]])
    >>> prune_edges(x, torch.tensor([[0, 1, 2, 0, 1], [1, 2, 3, 4, 4]]))
    tensor([[0, 2, 0, 1],
            [1, 3, 4, 4]])
    """
    return edge_index[:, kept_edges(x, edge_index)]


def _similarity(x: Tensor, edge_index: Tensor) -> Tensor:
    """Compute `edge_similarity` in float64, for the mean and deviation of nearly equal numbers."""
    if x.ndim != 2 or x.shape[1] == 0 or not x.is_floating_point():
        raise ValueError(f"x has shape {tuple(x.shape)} and type {x.dtype}; give floats (V, D)")
    if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.dtype != torch.int64:
        raise ValueError(
            f"edge_index has shape {tuple(edge_index.shape)} and type {edge_index.dtype}; give "
            "(2, E) int64, as from region_adjacency"
        )
    if not x.isfinite().all():
        raise ValueError(
            f"x holds {int((~x.isfinite()).sum())} NaN or infinite values; pool float32 features"
        )
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    start, end = edge_index
    distance = torch.linalg.vector_norm(x[start] - x[end], dim=1, dtype=torch.float64)
    return torch.exp(-distance / (2 * x.shape[1]))
