"""Squared difference of two class distributions per pixel."""

import torch
from torch import Tensor


def masked_squared_error(probs: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference over the pixels that count and all classes.

    Args:
        probs: Probabilities, (N, C, H, W).
        target: Others of the same shape; gradients go through both.
        valid: Pixels that count, (N, H, W) bool.

    Returns:
        A float32 scalar (float64 for float64 input); 0 if no pixel counts.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, eq. of algorithms 1
    and 2; the mean over classes makes a weight of 100 one of 100 / C per pixel.

    >>> probs, valid = torch.zeros(1, 2, 1, 2), torch.tensor([[[True, False]]])
    >>> masked_squared_error(probs, torch.full_like(probs, 0.5), valid)
    tensor(0.2500)
    """
    dtype = torch.promote_types(probs.dtype, torch.float32)
    square = (probs.to(dtype) - target.to(dtype)).square()
    total = (square * valid[:, None]).sum()
    return total / (valid.sum() * square.shape[1]).clamp_min(1)
