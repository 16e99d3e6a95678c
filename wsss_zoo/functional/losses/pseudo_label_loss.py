"""Losses against pseudo-labels: hard, soft, and those of another network."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.losses.cross_entropy import masked_cross_entropy
from wsss_zoo.functional.tensors import at_least_float32


def fixmatch_loss(
    strong_logits: Tensor,
    pseudo_label: Tensor,
    confidence: Tensor,
    conf_thresh: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Sum the cross-entropy over the confident pixels and divide by the number of valid ones.

    The share of confident pixels thus weights the loss, unlike a mean over the confident pixels.

    Args:
        strong_logits: Scores of the strong view, (N, C, H, W).
        pseudo_label: Class index per pixel, (N, H, W) int64; 255 is not valid.
        confidence: Probability of that class, (N, H, W) in [0, 1].
        conf_thresh: Least confidence of a pixel that counts; 0 keeps every valid pixel.
        valid: False on padding, (N, H, W) bool; None for no padding.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 if no pixel is valid or confident.

    Sohn et al., "FixMatch", NeurIPS 2020, in the segmentation form of Yang et al., "Revisiting
    Weak-to-Strong Consistency", CVPR 2023. In the authors' code (LiheYoung/UniMatch @ 0324f3d) a
    crop of padding alone gives 0 / 0.

    >>> label, confidence = torch.zeros(1, 1, 2, dtype=torch.int64), torch.tensor([[[0.9, 0.5]]])
    >>> fixmatch_loss(torch.zeros(1, 2, 1, 2), label, confidence, 0.8)
    tensor(0.3466)
    """
    counted = pseudo_label != 255
    if valid is not None:
        counted = counted & valid
    logits = at_least_float32(strong_logits)
    kept = counted & (confidence >= conf_thresh)
    target = pseudo_label.masked_fill(~kept, 255)
    total = F.cross_entropy(logits, target, ignore_index=255, reduction="sum")
    return total / counted.sum().clamp_min(1)


def soft_label_loss(
    strong_logits: Tensor, probs: Tensor, conf_thresh: float, valid: Tensor
) -> Tensor:
    """Sum the cross-entropy with confident soft labels and divide by the number of valid pixels.

    The counterpart of `fixmatch_loss` for soft labels.

    Args:
        strong_logits: Scores of the strong view, (N, C, H, W).
        probs: Probability of each class, (N, C, H, W), detached.
        conf_thresh: Least top probability of a pixel that counts; 0 keeps every valid pixel.
        valid: False on padding and CutOut, (N, H, W) bool.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 if no pixel is valid or confident.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021, with the
    denominator of the authors' code (googleinterns/wss @ b01acaf).

    >>> probs = torch.tensor([[0.9, 0.5], [0.1, 0.5]]).view(1, 2, 1, 2)
    >>> soft_label_loss(torch.zeros(1, 2, 1, 2), probs, 0.8, torch.ones(1, 1, 2).bool())
    tensor(0.3466)
    """
    probs = probs.detach()
    loss = -(probs * at_least_float32(strong_logits).log_softmax(1)).sum(1)
    kept = valid & (probs.amax(1) >= conf_thresh)
    return torch.where(kept, loss, torch.zeros_like(loss)).sum() / valid.sum().clamp_min(1)


def cps_loss(
    logits1: Tensor,
    logits2: Tensor,
    labels1: Tensor | None = None,
    labels2: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Add the cross-entropies of each network against the other's hard labels.

    Args:
        logits1: Scores of the first network, (N, C, H, W).
        logits2: Scores of the second network.
        labels1: Labels given by the *first* network, (N, H, W) int64, 255 ignored; None for the
            argmax of `logits1`. With CutMix they come from the unmixed images.
        labels2: Labels given by the second network.
        valid: Pixels that count, (N, H, W) bool; None for all.

    Returns:
        An unweighted float32 scalar (float64 for float64 logits). A term without counting pixels is
        0. The labels get no gradient.

    Chen et al., "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", CVPR 2021,
    Eq. 2. In the authors' code (charlesCXK/TorchSemiSeg @ 5e0c29c) padding counts: `valid` is None.

    >>> import torch
    >>> sure = torch.tensor([99.0, 0.0]).reshape(1, 2, 1, 1)
    >>> cps_loss(sure, torch.zeros(1, 2, 1, 1))
    tensor(0.6931)
    """
    targets = []
    for logits, labels in ((logits1, labels1), (logits2, labels2)):
        target = logits.detach().argmax(1) if labels is None else labels
        targets.append(target if valid is None else target.masked_fill(~valid, 255))
    return masked_cross_entropy(logits1, targets[1]) + masked_cross_entropy(logits2, targets[0])
