"""Energies of pairs of pixels: near ones of similar colour should agree."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

# The faster way by a product of matrices rounds small distances away.
_EXACT = "donot_use_mm_for_euclid_dist"


def gated_crf_loss(
    probs: Tensor,
    image: Tensor,
    valid: Tensor | None = None,
    *,
    sigma_rgb: float = 0.0225,
    sigma_xy: float = 6.0,
    radius: int = 5,
) -> Tensor:
    """Sum the disagreement of similar cells in each other's window, per valid cell.

    The loss is sum k_ij (1 - P_i . P_j) over the valid cells i and the valid cells j != i of its
    (2 radius + 1)^2 window, divided by the number of valid cells, with the kernel
    k_ij = exp(-|c_i - c_j|^2 / (2 sigma_rgb^2) - |p_i - p_j|^2 / (2 sigma_xy^2)).

    Each pair is visited once, as the kernel is symmetric. The gradient is stored in the forward
    pass and has no second derivative. The image gets none.

    Args:
        probs: Probabilities, (N, C, h, w).
        image: RGB in [0, 1], (N, 3, H, W); H and W are multiples of h and w. Its colours are
            averaged over the cells of h x w.
        valid: False on padding, (N, H, W) bool; None for no padding. A cell is valid only if all
            its pixels are.
        sigma_rgb: Width of the kernel in colour, in units of the image. 0.0225 in [0, 1] is the
            published 0.1 of normalised images.
        sigma_xy: Width of the kernel in place, in cells.
        radius: Cells from the centre to the edge of the window, at least 1.

    Returns:
        A float32 scalar (float64 for float64 probabilities); 0 with a zero gradient if no cell is
        valid.

    Obukhov et al., "Gated CRF Loss for Weakly Supervised Semantic Image Segmentation", 2019.
    Differences from the authors' code (toshas/GatedCRFLoss): images in [0, 1]; the mask gates both
    cells of a pair, not only the neighbour; the frame adds no constant.

    >>> image = torch.zeros(1, 3, 4, 4)
    >>> certain = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    >>> gated_crf_loss(certain, image)
    tensor(0.)
    >>> gated_crf_loss(torch.full((1, 2, 1, 2), 0.5), image)
    tensor(0.4931)
    """
    check_shapes("(N, C, h, w) and (N, 3, H, W)", probs=probs, image=image)
    _check_valid(image, valid)
    if any(full % small for full, small in zip(image.shape[2:], probs.shape[2:], strict=True)):
        raise ValueError(
            f"image {tuple(image.shape)} does not fit probs {tuple(probs.shape)}; "
            "give an image whose height and width are multiples of theirs"
        )
    if min(sigma_rgb, sigma_xy) <= 0 or radius < 1:
        raise ValueError(
            f"sigma_rgb is {sigma_rgb}, sigma_xy {sigma_xy} and radius {radius}; "
            "give widths above 0 and a radius of at least 1"
        )
    probs = at_least_float32(probs)
    size = probs.shape[-2:]
    colors = _cells(image.detach().to(probs.dtype), size) / (2**0.5 * sigma_rgb)
    gate = _valid_cells(valid, probs)
    values = _with_ones(probs.detach())
    smoothed = torch.zeros_like(values)
    with torch.no_grad(), torch.autocast(probs.device.type, enabled=False):
        for down, right in _half_window(size, radius):
            here, there = shifted(down, right)
            energy = (colors[here] - colors[there]).square_().sum(1, keepdim=True)
            kernel = energy.add_((down**2 + right**2) / (2 * sigma_xy**2)).neg_().exp_()
            if gate is not None:
                kernel *= gate[here] * gate[there]
            smoothed[here].addcmul_(kernel, values[there])
            smoothed[there].addcmul_(kernel, values[here])
    count = probs[:, 0].numel() if gate is None else gate.sum().clamp_min(1)
    total: Tensor = _Disagreement.apply(probs, smoothed)
    return total / count


def dense_energy_loss(
    probs: Tensor,
    image: Tensor,
    valid: Tensor | None = None,
    *,
    sigma_rgb: float,
    sigma_xy: float,
) -> Tensor:
    """Average the disagreement of all pairs of pixels of an image, weighted by their similarity.

    The loss is 1 - sum k_ij P_i . P_j / sum k_ij over all ordered pairs of valid pixels of the same
    image, a pixel and itself included. Both sums run over the batch. The kernel is
    k_ij = exp(-|c_i - c_j|^2 / (2 sigma_rgb^2) - |p_i - p_j|^2 / (2 sigma_xy^2)).

    The kernel is exact and the time grows with (H W)^2: resize to 24 x 24 cells or fewer first. It
    is made in blocks of rows, so that memory grows with H W. The gradient is stored in the forward
    pass and has no second derivative. The image gets none.

    Args:
        probs: Probabilities, (N, C, H, W).
        image: RGB, (N, 3, H, W), in the unit of `sigma_rgb`.
        valid: False on padding, (N, H, W) bool; None for no padding.
        sigma_rgb: Width of the kernel in colour; 15 for images in [0, 255].
        sigma_xy: Width of the kernel in place, in pixels of this size; 100 at full size.

    Returns:
        A float32 scalar (float64 for float64 probabilities) in [0, 1]; 0 with a zero gradient if no
        pixel is valid.

    Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV 2018. The
    authors' code (meng-tang/rloss @ 1caa759) approximates the kernel with a lattice and does not
    divide by its sum.

    >>> probs = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> dense_energy_loss(probs, torch.zeros(1, 3, 1, 2), sigma_rgb=1, sigma_xy=1e6)
    tensor(0.5000)
    """
    check_shapes("(N, C, H, W) and (N, 3, H, W)", probs=probs, image=image)
    _check_valid(image, valid)
    if min(sigma_rgb, sigma_xy) <= 0:
        raise ValueError(f"sigma_rgb is {sigma_rgb} and sigma_xy {sigma_xy}; give widths above 0")
    probs = at_least_float32(probs)
    N, C, H, W = probs.shape
    with torch.no_grad(), torch.autocast(probs.device.type, enabled=False):
        places = torch.meshgrid(
            *(torch.arange(side, device=probs.device, dtype=probs.dtype) for side in (H, W)),
            indexing="ij",
        )
        vectors = torch.cat(
            [image.to(probs.dtype) / sigma_rgb, torch.stack(places).expand(N, 2, H, W) / sigma_xy],
            1,
        )
        vectors = vectors.flatten(2).transpose(1, 2) / 2**0.5
        gate = torch.ones_like(probs[:, :1]) if valid is None else valid.to(probs.dtype)[:, None]
        values = _with_ones(probs) * gate
        rows = values.flatten(2).transpose(1, 2)
        blocks = [
            torch.cdist(some, vectors, compute_mode=_EXACT).square_().neg_().exp_() @ rows
            # No kernel of a block is larger than twice the probabilities.
            for some in torch.split(vectors, 2 * C, 1)
        ]
        smoothed = torch.cat(blocks, 1).transpose(1, 2).view_as(values) * gate
    total: Tensor = _Disagreement.apply(probs, smoothed)
    # Each valid pixel has the mass of itself, 1.
    return total / smoothed[:, -1].sum().clamp_min(1)


class _Disagreement(torch.autograd.Function):
    """Sum of k_ij (1 - P_i . P_j) for a symmetric kernel k.

    Takes P, (N, C, h, w), and the sums of k_ij P_j and of k_ij over j, (N, C + 1, h, w).
    """

    @staticmethod
    def forward(ctx: Any, probs: Tensor, smoothed: Tensor) -> Tensor:
        ctx.save_for_backward(smoothed)
        return (smoothed[:, -1] - (probs * smoothed[:, :-1]).sum(1)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (smoothed,) = ctx.saved_tensors
        return -2 * grad * smoothed[:, :-1], None


def _half_window(size: torch.Size, radius: int) -> list[tuple[int, int]]:
    """List the offsets (down, right) to one of each two opposite neighbours within the grid."""
    height, width = (min(radius, side - 1) for side in size)
    right_only = [(0, right) for right in range(1, width + 1)]
    return right_only + [
        (down, right) for down in range(1, height + 1) for right in range(-width, width + 1)
    ]


def shifted(down: int, right: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Index maps (N, C, h, w) by the first and by the second cell of each pair at an offset."""
    first = (..., slice(-down or None), slice(max(-right, 0), -right if right > 0 else None))
    second = (..., slice(down, None), slice(max(right, 0), right if right < 0 else None))
    return first, second


def _with_ones(probs: Tensor) -> Tensor:
    """Append a channel of ones: smoothed, it is the mass of each cell's kernel."""
    return torch.cat([probs, torch.ones_like(probs[:, :1])], 1)


def _cells(image: Tensor, size: torch.Size) -> Tensor:
    """Average an image (N, 3, H, W) over the cells of a grid (h, w)."""
    if image.shape[-2:] == size:
        return image
    factors = [full // small for full, small in zip(image.shape[-2:], size, strict=True)]
    return F.avg_pool2d(image, factors)


def _valid_cells(valid: Tensor | None, probs: Tensor) -> Tensor | None:
    """Find the cells whose pixels are all valid, (N, 1, h, w), 0 or 1."""
    if valid is None:
        return None
    share = _cells(valid.to(probs.dtype)[:, None], probs.shape[-2:])
    # Sums of ones over a cell are exact; their mean need not be.
    return (share > 1 - 1e-4).to(probs.dtype)


def _check_valid(image: Tensor, valid: Tensor | None) -> None:
    if valid is not None:
        check_shapes("(N, 3, H, W) and (N, H, W)", image=image, valid=valid)
