"""Sampling of an image's points for the losses of pairs of pixels."""

import torch
from torch import Tensor

from wsss_zoo.functional.losses.pair_similarity import base_pixels
from wsss_zoo.functional.tensors import check_shapes


def sample_points(region: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Sample distinct pixels of a region; if it has too few, all of them and random others.

    Takes the highest `count` values of region + 0.1 U[0, 1). No shape depends on the size of the
    region, so nothing synchronises with the device.

    Args:
        region: (..., H, W) bool.
        count: Points per map, from 1 to H W.
        generator: On the device of the region; None for torch's own.

    Returns:
        Positions y W + x, (..., count) int64, those of the region first, in random order.

    Chen et al. (SimFormer), NeurIPS 2022, as in the authors' code, whose bilinear sampling at these
    points is a gather (`gather_points`).

    >>> points = sample_points(torch.tensor([[0, 1, 0], [0, 0, 1]]).bool(), 3)
    >>> sorted(points[:2].tolist()), len(set(points.tolist()))
    ([1, 5], 3)
    """
    pixels = region.shape[-2:].numel()
    if not 1 <= count <= pixels:
        raise ValueError(
            f"count is {count} of {pixels} pixels (region {tuple(region.shape)}); "
            "ask for at least 1, and for no more points than pixels"
        )
    noise = torch.rand(region.shape, generator=generator, device=region.device)
    # Noise below 1: points of the region always rank before the others.
    return (region + 0.1 * noise).flatten(-2).topk(count).indices


def gather_points(maps: Tensor, points: Tensor) -> Tensor:
    """Gather vectors (N, P, D) of maps (N, D, H, W) at positions y W + x, (N, P) int64.

    >>> gather_points(torch.arange(8).view(1, 2, 2, 2), torch.tensor([[3, 0]])).tolist()
    [[[3, 7], [0, 4]]]
    """
    flat = maps.flatten(2)
    index = points[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2)


def shared_class_regions(
    labels: Tensor, partner: Tensor, is_base: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Find where two images show the same base class, drawn uniformly per pair.

    Args:
        labels: Classes of one image of each pair, (N, H, W) int64; 255 where unknown.
        partner: Classes of the other image, (N, H, W) int64.
        is_base: Whether a class has masks, (K,) bool.
        generator: On the device of the labels; None for torch's own.

    Returns:
        Region of each image, (N, H, W) bool: its pixels of the class, or all its base pixels if the
        two have no base class in common.

    Chen et al. (SimFormer), NeurIPS 2022, as in the authors' code.

    >>> labels, partner = torch.tensor([[[0, 1, 255]]]), torch.tensor([[[1, 1, 2]]])
    >>> [side.tolist() for side in shared_class_regions(labels, partner, torch.ones(3).bool())]
    [[[[False, True, False]]], [[[True, True, False]]]]
    """
    check_shapes("(N, H, W) and (N, h, w)", labels=labels, partner=partner)
    both = _presence(labels, is_base) & _presence(partner, is_base)
    lots = torch.rand(both.shape, generator=generator, device=both.device)
    chosen = torch.where(both, lots, -1.0).argmax(1)[:, None, None]
    common = both.any(1)[:, None, None]
    first = torch.where(common, labels == chosen, base_pixels(labels, is_base))
    return first, torch.where(common, partner == chosen, base_pixels(partner, is_base))


def _presence(labels: Tensor, is_base: Tensor) -> Tensor:
    """Find the base classes that occur in each image, (N, K) bool."""
    K = len(is_base)
    # The extra column collects the pixels of no base class.
    column = torch.where(base_pixels(labels, is_base), labels, K).flatten(1)
    seen = torch.zeros(len(labels), K + 1, dtype=torch.bool, device=labels.device)
    return seen.scatter_(1, column, True)[:, :K]
