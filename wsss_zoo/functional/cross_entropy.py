"""Cross-entropy that is safe where no pixel counts."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_cross_entropy(logits: Tensor, mask: Tensor, ignore_index: int = 255) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored.

    Args:
        logits: Scores, (N, C, H, W).
        mask: Class index per pixel, (N, H, W) int64.
        ignore_index: Mask value that does not count.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 with a zero gradient if every pixel is
        ignored, where torch's own mean is NaN.

    >>> logits = torch.zeros(1, 2, 1, 3)
    >>> masked_cross_entropy(logits, torch.tensor([[[0, 1, 255]]]))
    tensor(0.6931)
    >>> masked_cross_entropy(logits, torch.full((1, 1, 3), 255))
    tensor(0.)
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits, mask, ignore_index=ignore_index, reduction="sum")
    return total / (mask != ignore_index).sum().clamp_min(1)
