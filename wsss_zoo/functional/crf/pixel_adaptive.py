"""Refine maps along the edges of an image by its local affinities, without a CRF."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes

_EPS = 1e-8
# Of differences in units of their standard deviation.
_SHARPNESS = 0.3
_POSITION_WEIGHT = 0.01


def pixel_adaptive_refinement(
    image: Tensor,
    masks: Tensor,
    dilations: Sequence[int] = (1, 2, 4, 8, 12, 24),
    iterations: int = 10,
) -> Tensor:
    """Replace each value, several times, by a weighted mean over neighbours of similar colour.

    The neighbours of a pixel are the eight around it at each dilation d, without itself; the border
    is replicated. With k over these neighbours, their weights are

        softmax_k(-mean_c (|I_k - I| / (std_k I_k + 1e-8) / 0.3)^2)
        + 0.01 softmax_k(-(dist_k / (std_k dist_k + 1e-8) / 0.3)^2)

    with unbiased standard deviations and dist = d, on diagonals sqrt(2) d. They add up to 1.01, so
    values grow by 1.01 with each iteration. Before a threshold use `refine_scores`.

    Args:
        image: RGB image, (N, 3, H, W), of any range: a common factor changes nothing.
        masks: Maps to refine, (N, C, h, w). They are first resized to (H, W), bilinearly with
            ``align_corners=True``.
        dilations: Distances of the neighbours in pixels, at least 1.
        iterations: Number of means; 0 only resizes.

    Returns:
        (N, C, H, W), at least float32. Memory is that of about 60 maps (N, H, W) and three of the
        masks at full size.

    Ru et al., "Learning Affinity from Attention", CVPR 2022 (PAR). The authors' code holds 48
    copies of image and masks. This implementation adds shifted views, with the same result.

    >>> image = torch.zeros(1, 3, 1, 4)
    >>> image[..., 2:] = 1.0
    >>> masks = torch.tensor([[[[1.0, 0.6, 0.4, 0.0]]]])
    >>> (pixel_adaptive_refinement(image, masks, dilations=[1]) / 1.01**10).round().int().tolist()
    [[[[1, 1, 0, 0]]]]
    """
    _check(image, masks, dilations, iterations)
    dtype = torch.promote_types(torch.promote_types(image.dtype, masks.dtype), torch.float32)
    size = (image.shape[-2], image.shape[-1])
    masks = masks.to(dtype)
    if tuple(masks.shape[-2:]) != size:
        masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=True)
    if iterations == 0:
        return masks
    weights = _weights(image.to(dtype), dilations)
    for _ in range(iterations):
        refined = torch.zeros_like(masks)
        for k, neighbour in enumerate(_neighbours(masks, dilations)):
            refined = refined.addcmul_(neighbour, weights[:, k : k + 1])
        masks = refined
    return masks


def refine_scores(image: Tensor, scores: Tensor) -> Tensor:
    """Refine scores by `pixel_adaptive_refinement`, with weights that add up to 1.

    Scores keep their range, and probabilities that sum to 1 over C still do. Arguments and result
    are those of `pixel_adaptive_refinement`, with its default dilations and iterations.

    >>> half = torch.full((1, 2, 4, 5), 0.5)
    >>> torch.allclose(refine_scores(torch.rand(1, 3, 4, 5), half), half)
    True
    """
    ones = scores.new_ones(len(scores), 1, *scores.shape[-2:])
    refined = pixel_adaptive_refinement(image, torch.cat([scores, ones], 1))
    return refined[:, :-1] / refined[:, -1:]


def _check(image: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int) -> None:
    check_shapes("(N, 3, H, W) and (N, C, h, w)", image=image, masks=masks)
    if len(dilations) == 0 or min(dilations) < 1:
        raise ValueError(f"dilations are {list(dilations)}; give at least one, all >= 1 pixel")
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}; give a number >= 0")


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Yield maps (N, C, H, W) shifted to the eight neighbours at each dilation, as views."""
    height, width = maps.shape[-2:]
    border = max(dilations)
    padded = F.pad(maps, (border, border, border, border), mode="replicate")
    for dilation in dilations:
        for dy, dx in _DIRECTIONS:
            top, left = border + dy * dilation, border + dx * dilation
            yield padded[..., top : top + height, left : left + width]


_DIRECTIONS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def _weights(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """Compute the weight of each neighbour k of each pixel, (N, 8 D, H, W)."""
    count = len(_DIRECTIONS) * len(dilations)
    # In two passes: a difference of squares would lose the digits of small deviations.
    mean = torch.zeros_like(image)
    for neighbour in _neighbours(image, dilations):
        mean += neighbour / count
    squares = torch.zeros_like(image)
    for neighbour in _neighbours(image, dilations):
        squares += (neighbour - mean).square()
    scale = ((squares / (count - 1)).sqrt() + _EPS) * _SHARPNESS
    logits = image.new_empty(len(image), count, *image.shape[-2:])
    for k, neighbour in enumerate(_neighbours(image, dilations)):
        logits[:, k] = -((neighbour - image) / scale).square().mean(1)
    distances = [dilation * float(dy * dy + dx * dx) ** 0.5
                 for dilation in dilations for dy, dx in _DIRECTIONS]  # fmt: skip
    position = image.new_tensor(distances)
    position = -(position / (position.std() + _EPS) / _SHARPNESS).square()
    return logits.softmax(1) + _POSITION_WEIGHT * position.softmax(0).view(1, count, 1, 1)
