"""Complementary dropout: what one view of an image loses, the other one keeps."""

import torch
from torch import Tensor


def complementary_factors(drawn: Tensor, intact: Tensor) -> Tensor:
    """Make the channels' factors of two views from what was drawn.

    Args:
        drawn: Whether the first view keeps a channel, (M, D), bool or 0 and 1. The second view
            keeps the others.
        intact: Pairs of views that keep all channels, (M,), bool or 0 and 1.

    Returns:
        Factors (2M, D), float32: those of all first views, then those of all second ones. 2 for a
        channel that is kept, 0 for one that is dropped, 1 in intact pairs.

    Yang, Zhao, Zhao, "UniMatch V2", arXiv 2410.10777; LiheYoung/UniMatch-V2 @ f6afb4d.

    >>> complementary_factors(torch.tensor([[1, 0], [1, 1]]), torch.tensor([0, 1]))
    tensor([[2., 0.],
            [1., 1.],
            [0., 2.],
            [1., 1.]])
    """
    if drawn.ndim != 2 or intact.shape != drawn.shape[:1]:
        raise ValueError(
            f"drawn {tuple(drawn.shape)} and intact {tuple(intact.shape)} do not fit; give (M, D) "
            "and (M,)"
        )
    first = 2.0 * (drawn != 0)
    both = torch.stack([first, 2.0 - first])
    return torch.where((intact != 0)[:, None], torch.ones_like(both), both).flatten(0, 1)


def draw_complementary_factors(
    count: int, channels: int, intact_share: float = 0.5, device: torch.device | None = None
) -> Tensor:
    """Draw `complementary_factors` of M pairs of views: each channel goes to either view.

    Args:
        count: Number of pairs M.
        channels: Number of channels D.
        intact_share: Share of the pairs that stay intact, in [0, 1]: the whole part of
            ``count * intact_share``. Of a single pair none does.
        device: Where to draw; None for torch's default.

    Returns:
        Factors (2M, D), float32: those of all first views, then those of all second ones.
    """
    if count < 0 or channels < 0 or not 0 <= intact_share <= 1:
        raise ValueError(
            f"count {count}, channels {channels}, intact_share {intact_share}: give numbers >= 0, "
            "and a share in [0, 1]"
        )
    drawn = torch.rand(count, channels, device=device) < 0.5
    intact = torch.rand(count, device=device).argsort() < int(count * intact_share)
    return complementary_factors(drawn, intact)


def complementary_dropout(feature: Tensor, factors: Tensor) -> Tensor:
    """Multiply each channel of a feature map by its factor.

    Args:
        feature: Feature map of all first views, then of all second ones, (2M, D, h, w).
        factors: `complementary_factors`, (2M, D).

    Returns:
        A map like ``feature``, in its type.

    >>> factors = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> complementary_dropout(torch.ones(2, 2, 1, 1), factors).flatten(1)
    tensor([[2., 0.],
            [0., 2.]])
    """
    if feature.ndim != 4 or factors.shape != feature.shape[:2]:
        raise ValueError(
            f"feature {tuple(feature.shape)} and factors {tuple(factors.shape)} do not fit; give "
            "(2M, D, h, w) and (2M, D)"
        )
    # 0, 1 and 2 are exact in every type.
    return feature * factors.to(feature.dtype)[:, :, None, None]
