"""Losses of what is known to be possible or absent, where the class itself is unknown."""

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes


def candidate_cross_entropy(
    logits: Tensor, possible: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Average -log of the probability that one of a pixel's possible classes has.

    A set of one class gives the cross-entropy. A set of all classes gives 0 and does not count. A
    set without the classes of an absent tag gives -log(1 - P) of that class.

    Args:
        logits: Scores, (N, C, H, W).
        possible: Classes that a pixel may have, (N, C, H, W) bool, or (N, C, 1, 1) for all pixels
            of an image. An empty set is a contradiction: its loss is infinite.
        valid: False on padding, (N, H, W) bool; None for no padding.

    Returns:
        A float32 scalar (float64 for float64 logits): the mean over the valid pixels whose set is
        not full; 0 with a zero gradient if there are none.

    Jin & Ghahramani, "Learning with Multiple Labels", NIPS 2002, with uniform candidates; one
    excluded class is the term of Wu et al. (AGMM), CVPR 2023, without its 1e-6.

    >>> possible = torch.tensor([[True, True], [True, False], [True, False]]).view(1, 3, 1, 2)
    >>> candidate_cross_entropy(torch.zeros(1, 3, 1, 2), possible)
    tensor(1.0986)
    """
    shapes = "(N, C, 1, 1)" if possible.shape[2:] == (1, 1) else "(N, C, H, W) or (N, C, 1, 1)"
    check_shapes(f"(N, C, H, W) and {shapes}", logits=logits, possible=possible)
    logits, possible = at_least_float32(logits), possible.bool()
    counted = ~possible.all(1)
    if valid is not None:
        check_shapes("(N, C, H, W) and (N, H, W)", logits=logits, valid=valid)
        counted = counted & valid.bool()
    counted = counted.expand_as(logits[:, 0])
    inside = logits.log_softmax(1).masked_fill(~possible, -torch.inf).logsumexp(1)
    # Rounding may make a probability near 1 larger than 1.
    loss = torch.where(counted, -inside.clamp_max(0), 0)
    return loss.sum() / counted.sum().clamp_min(1)


def absent_class_loss(logits: Tensor, image_classes: Tensor, valid: Tensor | None = None) -> Tensor:
    """Average the sum of -log(1 - P_k + 1e-6) over the classes k that an image does not show.

    Args:
        logits: Scores, (N, C, H, W).
        image_classes: Classes of the whole image, the background included, (N, C), 0 or 1. They
            come from all its labels, not from those in a crop.
        valid: False on padding, (N, H, W) bool; None for no padding.

    Returns:
        A float32 scalar (float64 for float64 logits): the mean over the valid pixels; 0 with a zero
        gradient if there are none.

    Wu et al., "Sparsely Annotated Semantic Segmentation with Adaptive Gaussian Mixtures", CVPR
    2023, as in the authors' code (Luffy03/AGMM-SASS @ 6a60ea0).

    >>> absent_class_loss(torch.zeros(1, 2, 3, 3), torch.tensor([[1, 0]]))
    tensor(0.6931)
    """
    check_shapes("(N, C, H, W) and (N, C)", logits=logits, image_classes=image_classes)
    logits = at_least_float32(logits)
    absent = 1 - image_classes.to(logits.dtype)[..., None, None]
    loss = -(absent * (1 - logits.softmax(1) + 1e-6).log()).sum(1)
    if valid is None:
        return loss.mean()
    check_shapes("(N, C, H, W) and (N, H, W)", logits=logits, valid=valid)
    valid = valid.bool()
    return torch.where(valid, loss, 0).sum() / valid.sum().clamp_min(1)
