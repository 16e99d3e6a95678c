"""Localisation maps of one image, merged over several co-attended views."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_EPS = 1e-8


def merge_co_attention_views(
    views: Sequence[Tensor], size: tuple[int, int], min_score: float = 0.1
) -> Tensor:
    """Average an image's raw maps over views, leaving out views that deny the class.

    The first view always counts. Another view counts for a class only if the sigmoid of its mean
    score exceeds ``min_score``. Each counted map is rectified and divided by (its maximum + 1e-8).
    The sum is divided by the number of *all* views, so a class that most views deny stays weak.

    Args:
        views: Raw class scores by position, each (K, h, w), mirrored views mirrored back. Views of
            other sizes are resized to the size of the first one (bicubic).
        size: Height and width of the image, pixels.
        min_score: Least probability of the class in a view.

    Returns:
        Maps in [0, 1], (K, H, W), float32 (float64 for float64 views).

    Raises:
        ValueError: If there is no view.

    GuoleiSun/MCIS_wsss @ 1fc8f75, ``test.py``: five views, in the order [image beside its mirror;
    that mirror; image at 0.75; at 2; mean over the references]. Difference: the maps are not
    truncated to 8 bits before the bicubic resize to the image size; its overshoot is clamped.

    >>> deny = torch.full((1, 1, 2), -9.0)
    >>> merge_co_attention_views([torch.tensor([[[1.0, 2.0]]]), deny], (1, 2))
    tensor([[[0.2500, 0.5000]]])
    """
    if not views:
        raise ValueError("views is empty; give at least the map of the image itself")
    grid = views[0].shape[-2:]
    total = torch.zeros((), device=views[0].device)
    for place, view in enumerate(views):
        raw = _resized(view.to(torch.promote_types(view.dtype, torch.float32)), grid)
        counts = raw.mean((1, 2), keepdim=True).sigmoid() > min_score
        rectified = raw.relu()
        rectified = rectified / (rectified.amax((1, 2), keepdim=True) + _EPS)
        total = total + (rectified if place == 0 else rectified * counts)
    return _resized(total / len(views), size).clamp(0, 1)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    if maps.shape[-2:] == tuple(size):
        return maps
    return F.interpolate(maps[None], size=tuple(size), mode="bicubic", align_corners=False)[0]
