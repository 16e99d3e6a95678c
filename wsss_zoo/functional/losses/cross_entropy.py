"""Pixel-wise cross-entropies: over all labelled pixels, per image, and over the hardest ones."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes


def masked_cross_entropy(logits: Tensor, mask: Tensor, ignore_index: int = 255) -> Tensor:
    """Average the cross-entropy over the pixels that are not ignored.

    Args:
        logits: Scores, (N, C, H, W).
        mask: Class index per pixel, (N, H, W) int64.
        ignore_index: Mask value of the pixels that do not count.

    Returns:
        A float32 scalar (float64 for float64 logits). If every pixel is ignored, 0 with a zero
        gradient, where torch's own mean is NaN.

    >>> logits = torch.zeros(1, 2, 1, 3)
    >>> masked_cross_entropy(logits, torch.tensor([[[0, 1, 255]]]))
    tensor(0.6931)
    >>> masked_cross_entropy(logits, torch.full((1, 1, 3), 255))
    tensor(0.)
    """
    logits = at_least_float32(logits)
    total = F.cross_entropy(logits, mask, ignore_index=ignore_index, reduction="sum")
    return total / (mask != ignore_index).sum().clamp_min(1)


def partial_cross_entropy(
    logits: Tensor, mask: Tensor, reduction: Literal["image", "pixel"] = "image"
) -> Tensor:
    """Average the cross-entropy over the labelled pixels of each image, then over the images.

    A mean over all labelled pixels lets one full mask outweigh dozens of scribbled images. The two
    reductions are equal where all images have as many labelled pixels.

    Args:
        logits: Scores, (N, C, H, W).
        mask: Class index per pixel, (N, H, W) int64; 255 for an unlabelled pixel.
        reduction: "image" counts every image with a labelled pixel once. "pixel" counts every
            labelled pixel once, as in `masked_cross_entropy`.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 with a zero gradient if nothing is
        labelled.

    >>> mask = torch.tensor([[[0, 0, 1]], [[1, 255, 255]]])
    >>> logits = torch.tensor([[9.0, 9, 9], [0, 0, 0]]).repeat(2, 1, 1).view(2, 2, 1, 3)
    >>> partial_cross_entropy(logits, mask)
    tensor(6.0001)
    >>> partial_cross_entropy(logits, mask, "pixel")
    tensor(4.5001)
    """
    check_shapes("(N, C, H, W) and (N, H, W)", logits=logits, mask=mask)
    if reduction == "pixel":
        return masked_cross_entropy(logits, mask)
    if reduction != "image":
        raise ValueError(f"reduction is {reduction!r}; give 'image' or 'pixel'")
    nll = F.cross_entropy(at_least_float32(logits), mask, ignore_index=255, reduction="none")
    count = (mask != 255).sum((1, 2))
    means = nll.sum((1, 2)) / count.clamp_min(1)
    return means.sum() / (count > 0).sum().clamp_min(1)


def ohem_cross_entropy(
    logits: Tensor, target: Tensor, thresh: float, min_kept: int, ignore_index: int = 255
) -> Tensor:
    """Average the cross-entropy over the hardest pixels, whose true class is improbable.

    With at least `min_kept` valid pixels, those whose probability of the true class is at most a
    threshold count. The threshold is `thresh` or the `min_kept`-th smallest probability, whichever
    is larger. With fewer valid pixels, all of them count.

    Args:
        logits: Scores, (N, C, H, W).
        target: Class index per pixel, (N, H, W) int64.
        thresh: Probability of the true class in [0, 1] up to which a pixel always counts.
        min_kept: Least number of pixels to keep in the batch, >= 0; 0 applies `thresh` alone.
        ignore_index: Target value that never counts.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 with a zero gradient if no pixel is kept.
        Under DDP each rank keeps its own pixels.

    Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining",
    CVPR 2016, in the pixel form of charlesCXK/TorchSemiSeg and LiheYoung/UniMatch. The authors'
    code branches on the host; this implementation covers both branches with one threshold on the
    device, without synchronisation.

    >>> logits = torch.tensor([[4.0, 0.0], [0.0, 0.0]]).T.reshape(1, 2, 1, 2)
    >>> target = torch.zeros(1, 1, 2, dtype=torch.int64)
    >>> ohem_cross_entropy(logits, target, thresh=0.7, min_kept=1)
    tensor(0.6931)
    """
    check_shapes("(N, C, H, W) and (N, H, W)", logits=logits, target=target)
    if not 0 <= thresh <= 1:
        raise ValueError(f"thresh is {thresh}; give a probability in [0, 1]")
    if min_kept < 0:
        raise ValueError(f"min_kept is {min_kept}; give a number of pixels >= 0")
    valid = target != ignore_index
    logits = at_least_float32(logits)
    index = target.masked_fill(~valid, 0)[:, None]
    nll = -logits.log_softmax(1).gather(1, index)[:, 0]
    prob = torch.where(valid, (-nll.detach()).exp(), torch.ones_like(nll))
    # "not above" keeps NaN, so that broken logits show in the loss.
    keep = valid & ~(prob > _threshold(prob, thresh, min_kept))
    total = torch.where(keep, nll, torch.zeros_like(nll)).sum()
    return total / keep.sum().clamp_min(1)


def _threshold(prob: Tensor, thresh: float, min_kept: int) -> Tensor:
    """Compute the highest probability of a hard pixel, a scalar; ignored pixels have 1."""
    if min_kept == 0:
        return prob.new_full((), thresh)
    # With fewer valid pixels than min_kept the ignored ones come next: the threshold is then 1,
    # which keeps every valid pixel without counting them on the host.
    if min_kept > prob.numel():
        return prob.new_ones(())
    return prob.flatten().kthvalue(min_kept).values.clamp_min(thresh)
