"""Tags from masks."""

import torch
from torch import Tensor

_VALUES = 256


def mask_to_image_labels(mask: Tensor, num_classes: int) -> Tensor:
    """Which foreground classes a mask shows.

    Args:
        mask: Class index per pixel, (N, H, W) int64 in 0..255, 0 the background; values from
            `num_classes` on, such as 255, are no class.
        num_classes: Number of classes C, background included.

    Returns:
        Presence of each foreground class, 0 or 1, (N, C - 1) float32.

    >>> mask_to_image_labels(torch.tensor([[[0, 2, 255]]]), 4)
    tensor([[0., 1., 0.]])
    """
    present = torch.zeros(len(mask), _VALUES, device=mask.device)
    return present.scatter_(1, mask.flatten(1), 1.0)[:, 1:num_classes]
