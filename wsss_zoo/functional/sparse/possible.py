"""What predictions become where labels, boxes or tags rule classes out."""

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes


def gate_by_possible(probs: Tensor, possible: Tensor, background: bool = True) -> Tensor:
    """Give each pixel's probability of impossible foreground classes to the possible ones.

    The possible foreground classes share it in proportion, and the background keeps its own, as in
    `reassign_by_tags`. Where the background is impossible, the foreground takes all, and where
    no foreground is possible, the background.

    Args:
        probs: Probability of the background (index 0) and K classes, (N, K + 1, H, W) in [0, 1].
        possible: Whether a pixel may be of a class, (N, K + 1, H, W) or (N, K + 1, 1, 1) bool; at
            least one class everywhere.
        background: Whether class 0 is the background; else all classes are foreground.

    Returns:
        (N, K + 1, H, W); the classes of a pixel sum to 1. Where all possible classes had
        probability 0, they share 1 equally.

    >>> probs = torch.tensor([0.4, 0.5, 0.1]).view(1, 3, 1, 1)
    >>> gate_by_possible(probs, torch.tensor([True, False, True]).view(1, 3, 1, 1)).flatten()
    tensor([0.4000, 0.0000, 0.6000])
    """
    if possible.shape[2:] == (1, 1):
        possible = possible.expand(-1, -1, *probs.shape[2:])
    check_shapes("(N, C, H, W) and (N, C, H, W)", probs=probs, possible=possible)
    kept = probs.masked_fill(~possible, 0)
    own = int(background)
    foreground, left = probs[:, own:].sum(1, keepdim=True), kept[:, own:].sum(1, keepdim=True)
    gain = torch.where(left > 0, foreground / left.clamp(min=torch.finfo(left.dtype).tiny), 1)
    shared = torch.cat([kept[:, :own], kept[:, own:] * gain], 1)
    total = shared.sum(1, keepdim=True)
    equal = possible.to(probs.dtype) / possible.sum(1, keepdim=True)
    return torch.where(total > 0, shared / torch.where(total > 0, total, 1), equal)
