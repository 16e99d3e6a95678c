"""Cross pseudo supervision of two networks."""

from torch import Tensor

from wsss_zoo.functional.cross_entropy import masked_cross_entropy


def cps_loss(
    logits1: Tensor,
    logits2: Tensor,
    labels1: Tensor | None = None,
    labels2: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each network against the other's hard labels, the two means added.

    Args:
        logits1: Scores of the first network, (N, C, H, W).
        logits2: Scores of the second.
        labels1: Labels that the *first* network gives, (N, H, W) int64, 255 ignored; None for the
            arg-max of `logits1`. With CutMix they come from the unmixed images.
        labels2: Labels that the second gives.
        valid: Pixels that count, (N, H, W) bool; None for all.

    Returns:
        A float32 scalar (float64 for float64 logits), not weighted; a term in which no pixel counts
        is 0. No gradient goes through the labels.

    Chen et al., "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", CVPR 2021,
    Eq. 2. In the released code (charlesCXK/TorchSemiSeg @ 5e0c29c) padding counts, that is `valid`
    is None.

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
