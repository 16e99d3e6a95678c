"""Energy of a prediction against itself, smoothed along trees of similar pixels."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_zoo.functional.tensors import at_least_float32, check_shapes


def tree_energy_loss(
    probs: Tensor,
    image: Tensor,
    features: Tensor | None,
    unlabeled: Tensor,
    sigma: float = 0.02,
) -> Tensor:
    """Sum |P - A| over classes and unlabelled cells, per unlabelled cell, for P smoothed to A.

    A is P after `tree_filter` by colours and, where there are features, after one by features with
    sigma 1. Gradients flow through P, through both filters and to the features.

    Args:
        probs: Probabilities P, (N, C, h, w).
        image: RGB in [0, 1] without colour jitter, (N, 3, H, W), resized bilinearly to h x w.
        features: An embedding of the pixels, (N, D, h, w); None for colours alone.
        unlabeled: Pixels that count, without padding, (N, H, W) bool; reduced to h x w by nearest
            neighbours. The trees span all cells.
        sigma: Width in squared colour; 0.02 for VOC and 0.002 for Cityscapes.

    Returns:
        A float32 scalar (float64 for float64 probabilities), without the factor 0.4 of the paper;
        0 with a zero gradient if no cell counts.

    Liang et al., "Tree Energy Loss: Towards Sparsely Annotated Semantic Segmentation", CVPR 2022,
    as in the authors' code (megvii-research/TreeEnergyLoss @ a4bf602).

    >>> image = torch.zeros(1, 3, 1, 2)
    >>> probs = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> tree_energy_loss(probs, image, None, torch.tensor([[[True, False]]]))
    tensor(1.)
    """
    check_shapes("(N, C, h, w) and (N, 3, H, W)", probs=probs, image=image)
    check_shapes("(N, 3, H, W) and (N, H, W)", image=image, unlabeled=unlabeled)
    probs = at_least_float32(probs)
    grid = probs.shape[2:]
    with torch.no_grad():
        colors = F.interpolate(image.to(probs.dtype), grid, mode="bilinear")
        counted = F.interpolate(unlabeled[:, None].to(probs.dtype), grid)
    smoothed = tree_filter(probs, colors, sigma)
    if features is not None:
        smoothed = tree_filter(smoothed, features)
    return ((probs - smoothed).abs() * counted).sum() / counted.sum().clamp_min(1)


def tree_filter(values: Tensor, embedding: Tensor, sigma: float = 1.0) -> Tensor:
    """Average values over an image with weights that fall along a minimum spanning tree.

    The tree spans the grid of 4 neighbours with costs |f_a - f_b|^2 + 1. The weight of a pixel j
    for a pixel i is the product of exp(-|f_a - f_b|^2 / sigma) along the path between them. The
    weights of a pixel are divided by their sum.

    The tree is made on the host, which waits for the device. Where costs are equal, other trees
    would do as well. The filter runs on the device, exactly and in about log2(depth of the tree)
    steps. There is no second derivative.

    Args:
        values: (N, C, h, w); gradients flow through them.
        embedding: Vectors f of the pixels, (N, D, h, w). Gradients flow through the weights, the
            tree is a constant.
        sigma: Width in squared distance, above 0.

    Returns:
        Filtered values, (N, C, h, w), float32 (float64 for float64 values).

    Song et al., "Learnable Tree Filter for Structure-preserving Feature Transform", NeurIPS 2019.
    The two passes, from the leaves to the root and back, are linear recurrences. This
    implementation solves them by doubling the length of the paths.

    >>> values = torch.tensor([[[[1.0, 0.0, 5.0]]]])
    >>> tree_filter(values, embedding=torch.tensor([[[[0.0, 0.0, 99.0]]]]))
    tensor([[[[0.5000, 0.5000, 5.0000]]]])
    """
    check_shapes("(N, C, h, w) and (N, D, h, w)", values=values, embedding=embedding)
    if sigma <= 0:
        raise ValueError(f"sigma is {sigma}; give a width above 0")
    values, embedding = at_least_float32(values), at_least_float32(embedding)
    N, C, h, w = values.shape
    ancestors: Tensor = tree_ancestors(embedding)
    vectors = _as_rows(embedding)
    parents = ancestors[0]
    # A root is its own parent: its edge has no weight.
    inner = parents != torch.arange(len(parents), device=parents.device)
    distance = (vectors - vectors[parents]).square().sum(1)
    weights = (torch.exp(-distance / sigma) * inner).to(values.dtype)
    rows = torch.cat([_as_rows(values), values.new_ones(N * h * w, 1)], 1)
    filtered: Tensor = _TreeSums.apply(rows, weights, ancestors)
    means = filtered[:, :C] / filtered[:, C:]
    return means.view(N, h, w, C).permute(0, 3, 1, 2)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch gives it no types
@torch.no_grad()
def tree_ancestors(embedding: Tensor) -> Tensor:
    """Build the minimum spanning tree of each image on the host, which waits for the device.

    Args:
        embedding: Vectors of the pixels, (N, D, h, w).

    Returns:
        Ancestors of each pixel, (K, N h w) int64: the parent, then that of 2, 4, 8, .. steps up,
        until all are roots. Pixels of all images are numbered through; a root is its own ancestor.
    """
    N, _, h, w = embedding.shape
    # Without the 1, scipy takes an edge between equal vectors for a missing one. Broken features
    # still have a tree: their weights show what they are.
    costs = [
        embedding.diff(dim=axis).double().square().sum(1).nan_to_num().flatten(1) + 1
        for axis in (3, 2)
    ]
    grid = np.arange(h * w, dtype=np.int32).reshape(h, w)
    starts = np.concatenate([grid[:, :-1].ravel(), grid[:-1].ravel()])
    ends = np.concatenate([grid[:, 1:].ravel(), grid[1:].ravel()])
    parents = np.empty((N, h * w), np.int64)
    for n, edges in enumerate(torch.cat(costs, 1).cpu().numpy()):
        graph = coo_array((edges, (starts, ends)), shape=(h * w, h * w)).tocsr()
        _, found = breadth_first_order(minimum_spanning_tree(graph), 0, directed=False)
        found[0] = 0
        parents[n] = found + n * h * w
    levels = [parents.ravel()]
    while (levels[-1] != (further := levels[-1][levels[-1]])).any():
        levels.append(further)
    return torch.from_numpy(np.stack(levels)).to(embedding.device, non_blocking=True)


class _TreeSums(torch.autograd.Function):
    """Sums of w_ij x_j over a tree, for rows x (M, C), edges to the parents (M,), ancestors (K, M).

    With W the matrix of the edges to the parents they are
    (I - W)^-1 (I - diag w^2) (I - W)^-T x, a symmetric matrix: the backward pass is the same
    filter.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, ancestors: Tensor) -> Tensor:
        gathered, sums = _passes(rows, weights, ancestors)
        ctx.save_for_backward(weights, ancestors, gathered, sums)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        weights, ancestors, gathered, sums = ctx.saved_tensors
        grad_gathered, grad_sums = _passes(grad, weights, ancestors)
        if not ctx.needs_input_grad[1]:
            return grad_sums, None, None
        parents, edge = ancestors[0], weights[:, None]
        to_edges = grad_gathered * (sums[parents] - edge * gathered)
        to_edges += gathered * (grad_sums[parents] - edge * grad_gathered)
        return grad_sums, to_edges.sum(1), None


def _passes(rows: Tensor, weights: Tensor, ancestors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum each pixel's subtree, then the whole tree around each pixel.

    (I - W)^-1 is the product of I + W^(2^k), and W^(2^k) leads to the ancestor of 2^k steps up.
    """
    powers = [weights[:, None]]
    for level in ancestors[:-1]:
        powers.append(powers[-1] * powers[-1][level])
    gathered = rows
    for power, level in zip(powers, ancestors, strict=True):
        gathered = gathered.index_add(0, level, power * gathered)
    sums = (1 - powers[0].square()) * gathered
    for power, level in zip(powers, ancestors, strict=True):
        sums = sums + power * sums[level]
    return gathered, sums


def _as_rows(maps: Tensor) -> Tensor:
    """Lay out maps (N, C, h, w) as one row per pixel, (N h w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
