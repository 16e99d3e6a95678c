"""Cross-entropy against confident pseudo-labels."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fixmatch_loss(
    strong_logits: Tensor,
    pseudo_label: Tensor,
    confidence: Tensor,
    conf_thresh: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the confident pixels, divided by the number of all valid ones.

    The share of confident pixels so weighs the loss; dividing by the confident pixels alone would
    take that away.

    Args:
        strong_logits: Scores of the strong view, (N, C, H, W).
        pseudo_label: Class index per pixel, (N, H, W) int64; pixels of 255 are not valid.
        confidence: Probability of that class, (N, H, W) in [0, 1].
        conf_thresh: Confidence from which a pixel counts; 0 keeps every valid pixel.
        valid: False on padding, (N, H, W) bool; None for no padding.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 if no pixel is valid or confident.

    Sohn et al., "FixMatch", NeurIPS 2020, in the segmentation form of Yang et al., "Revisiting
    Weak-to-Strong Consistency", CVPR 2023 (LiheYoung/UniMatch @ 0324f3d), where a crop of padding
    alone gives 0 / 0.

    >>> label, confidence = torch.zeros(1, 1, 2, dtype=torch.int64), torch.tensor([[[0.9, 0.5]]])
    >>> fixmatch_loss(torch.zeros(1, 2, 1, 2), label, confidence, 0.8)
    tensor(0.3466)
    """
    counted = pseudo_label != 255
    if valid is not None:
        counted = counted & valid
    logits = strong_logits.to(torch.promote_types(strong_logits.dtype, torch.float32))
    kept = counted & (confidence >= conf_thresh)
    target = pseudo_label.masked_fill(~kept, 255)
    total = F.cross_entropy(logits, target, ignore_index=255, reduction="sum")
    return total / counted.sum().clamp_min(1)
