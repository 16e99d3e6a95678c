"""Agreement of the outlines in a prediction with the true outlines."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes


def boundary_counts(
    preds: Tensor, target: Tensor, num_classes: int, tolerance: float, ignore_index: int = 255
) -> Tensor:
    """Count the boundary pixels of one image that have a counterpart within a distance.

    A boundary pixel of class c has class c and a 4-neighbour of another class. In the target,
    ignored pixels count as neighbours of another class. The ring of 255 around VOC's objects
    therefore does not hide their outlines. A predicted boundary pixel on an ignored pixel counts
    only if it is matched.

    Args:
        preds: Predicted class index per pixel, (H, W).
        target: True class index per pixel, (H, W).
        num_classes: C, with background.
        tolerance: Largest Euclidean distance of a match, pixels, >= 0.
        ignore_index: Target value without a truth.

    Returns:
        (C, 4) int64 on the device of the input: matched predicted, all predicted, matched true and
        all true boundary pixels. The counts of several images can be added.

    >>> target = torch.tensor([[0, 0, 1, 1]])
    >>> boundary_counts(torch.tensor([[0, 1, 1, 1]]), target, num_classes=2, tolerance=1.0)
    tensor([[1, 1, 1, 1],
            [1, 1, 1, 1]])
    """
    check_shapes("(H, W) and (H, W)", preds=preds, target=target)
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}; give a distance in pixels >= 0")
    predicted, true = (_boundaries(labels, num_classes) for labels in (preds, target))
    matched_preds = predicted & _near(true, tolerance)
    matched_true = true & _near(predicted, tolerance)
    counted_preds = predicted & ((target != ignore_index) | matched_preds)
    counts = [matched_preds, counted_preds, matched_true, true]
    return torch.stack([pixels.sum((1, 2)) for pixels in counts], dim=1)


def boundary_f_score(counts: Tensor) -> Tensor:
    """Compute the F-score of each class's outlines from summed `boundary_counts`, (C, 4).

    Returns:
        2 P R / (P + R) in [0, 1], (C,) float64, with precision P and recall R over all counted
        boundary pixels. nan for a class without boundary pixels, 0 if only one side has some.

    Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013. The
    paper averages over images; this implementation pools all pixels, as the mIoU does.

    >>> boundary_f_score(torch.tensor([[1, 2, 1, 1], [0, 0, 0, 0]]))
    tensor([0.6667,    nan], dtype=torch.float64)
    """
    matched_preds, all_preds, matched_true, all_true = counts.double().unbind(1)
    precision = matched_preds / all_preds.clamp_min(1)
    recall = matched_true / all_true.clamp_min(1)
    score = 2 * precision * recall / (precision + recall).clamp_min(torch.finfo(torch.double).tiny)
    return torch.where((all_preds + all_true) > 0, score, torch.nan)


def _boundaries(labels: Tensor, num_classes: int) -> Tensor:
    """Find the boundary pixels of each class, (C, H, W) bool."""
    differs = torch.zeros_like(labels, dtype=torch.bool)
    below, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    differs[1:] |= below
    differs[:-1] |= below
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    classes = torch.arange(num_classes, device=labels.device)[:, None, None]
    return (labels == classes) & differs


def _near(pixels: Tensor, distance: float) -> Tensor:
    """Find the pixels within a Euclidean distance of a set pixel, (C, H, W) bool."""
    radius = math.floor(distance)
    offset = torch.arange(-radius, radius + 1, device=pixels.device)
    disk = (offset[:, None] ** 2 + offset**2 <= distance**2).float()[None, None]
    return F.conv2d(pixels.float()[:, None], disk, padding=radius)[:, 0] > 0.5
