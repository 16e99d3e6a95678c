"""Cross-entropy against probabilities."""

import torch
from torch import Tensor


def soft_label_loss(
    strong_logits: Tensor, probs: Tensor, conf_thresh: float, valid: Tensor
) -> Tensor:
    """Cross-entropy of a strong view with soft labels, divided by the number of valid pixels.

    The counterpart of `fixmatch_loss` for labels that are not one class.

    Args:
        strong_logits: Scores of the strong view, (N, C, H, W).
        probs: Probability of each class, (N, C, H, W); no gradient flows to them.
        conf_thresh: Highest probability of a pixel from which it counts; 0 keeps every valid pixel.
        valid: False on padding and CutOut, (N, H, W) bool.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 if no pixel is valid or confident.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021, with the
    denominator of the released code (googleinterns/wss @ b01acaf).

    >>> probs = torch.tensor([[0.9, 0.5], [0.1, 0.5]]).view(1, 2, 1, 2)
    >>> soft_label_loss(torch.zeros(1, 2, 1, 2), probs, 0.8, torch.ones(1, 1, 2).bool())
    tensor(0.3466)
    """
    logits = strong_logits.to(torch.promote_types(strong_logits.dtype, torch.float32))
    probs = probs.detach()
    loss = -(probs * logits.log_softmax(1)).sum(1)
    kept = valid & (probs.amax(1) >= conf_thresh)
    return torch.where(kept, loss, torch.zeros_like(loss)).sum() / valid.sum().clamp_min(1)
