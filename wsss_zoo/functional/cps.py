"""Loss of cross pseudo supervision (CPS) between two networks."""

from torch import Tensor

from wsss_zoo.functional.cross_entropy import masked_cross_entropy


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
