"""Detection of noisy pixel labels by the loss of a network trained on true masks."""

from typing import TypedDict

import torch
from torch import Tensor

from wsss_zoo.functional.regions.pooling import class_indices
from wsss_zoo.functional.tensors import check_equal_shapes, check_shapes

_ONE_EACH = "give one of each for every pixel"


class DetectionReport(TypedDict):
    """Shares in [0, 1] measured by `detection_report`; None where nothing was counted."""

    precision: float | None
    coverage: float | None
    recall: float | None
    class_precision: list[float | None]
    class_coverage: list[float | None]
    class_recall: list[float | None]
    class_pixels: list[int]


def label_loss(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
    """Compute the cross-entropy of each pixel between a prediction and a given label.

    Args:
        logits: Scores of C classes, (N, C, H, W), any float type; -inf excludes a class (see
            `gate_by_tags`).
        labels: Label of each pixel, (N, H, W), any integer type.
        ignore_index: Value of pixels without a label.

    Returns:
        (N, H, W) float32, >= 0; 0 without a label, +inf for an excluded label. Never NaN for logits
        without NaN and +inf.

    Raises:
        ValueError: On the CPU, if a label is neither in [0, C) nor `ignore_index`.

    >>> logits = torch.tensor([0.0, 0.0, -torch.inf]).view(1, 3, 1, 1).expand(1, 3, 1, 3)
    >>> label_loss(logits, torch.tensor([[[1, 2, 255]]]))
    tensor([[[0.6931,    inf, 0.0000]]])
    """
    check_shapes("(N, C, H, W) and (N, H, W)", logits=logits, labels=labels)
    labels = class_indices(labels)
    num_classes = logits.shape[1]
    given = labels != ignore_index
    outside = given & ((labels < 0) | (labels >= num_classes))
    if labels.device.type == "cpu" and outside.any():
        raise ValueError(
            f"labels hold {int(labels[outside][0])}, but there are logits of {num_classes} "
            f"classes; mark pixels without a label with {ignore_index}"
        )
    logits = logits.float()
    own = logits.gather(1, labels.clamp(0, num_classes - 1)[:, None])[:, 0]
    # With every class excluded the difference is -inf - -inf.
    losses = (logits.logsumexp(1) - own).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return torch.where(given, losses, 0)


def clean_pixels(
    losses: Tensor, labels: Tensor, threshold: float | Tensor, ignore_index: int = 255
) -> Tensor:
    """Select the labels whose loss does not exceed a threshold, bool of the same shape.

    Args:
        losses: Loss of each label, any shape (see `label_loss`).
        labels: Labels of the same shape, any integer type.
        threshold: Highest loss of a clean label: one number, or one for each class, (C,).
        ignore_index: Value of pixels without a label; they are never clean.

    >>> losses, labels = torch.tensor([0.1, 0.5, 0.5, 0.0]), torch.tensor([0, 0, 1, 255])
    >>> clean_pixels(losses, labels, torch.tensor([0.2, 0.6])).tolist()
    [True, False, True, False]
    """
    check_equal_shapes(_ONE_EACH, losses=losses, labels=labels)
    labels = class_indices(labels)
    given = labels != ignore_index
    if isinstance(threshold, Tensor):
        if threshold.ndim > 1:
            raise ValueError(f"threshold has shape {tuple(threshold.shape)}; give a number or (C,)")
        if threshold.ndim == 1:
            threshold = threshold.to(losses.device)[torch.where(given, labels, 0)]
    return given & (losses <= threshold)


def noise_threshold(losses: Tensor, is_correct: Tensor, precision: float) -> float:
    """Find the highest threshold at which clean labels reach a given precision.

    Args:
        losses: Loss of each label of pixels whose true class is known, (P,), not NaN.
        is_correct: Whether the label is the true class, (P,) bool.
        precision: Least share in [0, 1] of correct labels among those with at most that loss.

    Returns:
        The highest loss with that share; -inf if none has it, so that nothing is clean.

    Yi et al., "Learning from Pixel-Level Label Noise", TIP 2021, choose the threshold by the losses
    of the images with masks. The rule is this implementation's own.

    >>> losses = torch.tensor([0.1, 0.2, 0.3, 0.4])
    >>> round(noise_threshold(losses, torch.tensor([True, True, False, True]), 0.7), 3)
    0.4
    """
    if not 0 <= precision <= 1:
        raise ValueError(f"precision is {precision}; give a share in [0, 1]")
    levels, correct, count = _cumulated(losses, is_correct)
    reached = (correct / count.double() >= precision).nonzero()
    return float(levels[reached[-1]]) if len(reached) else -torch.inf


def youden_threshold(losses: Tensor, is_correct: Tensor) -> float:
    """Find the threshold that best separates correct from wrong labels, whatever their shares.

    Takes the losses and labels of `noise_threshold`.

    Returns:
        The lowest loss with the highest Youden's J: the share of correct labels with at most that
        loss, minus the same share of wrong labels. An empty share counts 0. -inf if J is nowhere
        above 0.

    Youden, "Index for Rating Diagnostic Tests", Cancer 1950.

    >>> losses = torch.tensor([0.25, 0.5, 0.75, 1.0])
    >>> youden_threshold(losses, torch.tensor([True, True, False, True]))
    0.5
    """
    levels, correct, count = _cumulated(losses, is_correct)
    if not len(levels):
        return -torch.inf
    wrong = count - correct
    # J times both totals is an integer, so equal values compare equal.
    index = correct * wrong[-1].clamp_min(1) - wrong * correct[-1].clamp_min(1)
    # argmax of torch may return any of several maxima.
    best = (index == index.max()).nonzero()[0]
    return float(levels[best]) if index[best] > 0 else -torch.inf


def detection_report(
    losses: Tensor,
    labels: Tensor,
    is_correct: Tensor,
    threshold: float | Tensor,
    num_classes: int,
) -> DetectionReport:
    """Measure how well a threshold separates correct from wrong labels.

    Args:
        losses: Loss of each label of pixels whose true class is known, (P,), not NaN.
        labels: The labels, (P,), in [0, C); leave out pixels without a label.
        is_correct: Whether the label is the true class, (P,) bool.
        threshold: Highest loss of a clean label: one number, or one for each class, (C,).
        num_classes: C, with background.

    Returns:
        JSON-serialisable shares; None where nothing was counted. `precision`: correct share of the
        clean labels. `coverage`: clean share of all. `recall`: clean share of the correct ones. The
        lists `class_precision`, ... are the same by class of the label; `class_pixels` is the
        number of labels of each class.

    >>> report = detection_report(
    ...     torch.tensor([0.1, 0.1, 0.9, 0.9]),
    ...     torch.tensor([0, 1, 0, 0]),
    ...     torch.tensor([True, False, True, False]),
    ...     threshold=0.5,
    ...     num_classes=3,
    ... )
    >>> report["precision"], report["coverage"], report["recall"]
    (0.5, 0.5, 0.5)
    >>> report["class_precision"]
    [1.0, 0.0, None]
    """
    _check_losses(losses, is_correct)
    check_equal_shapes(_ONE_EACH, losses=losses, labels=labels)
    labels = class_indices(labels)
    if ((labels < 0) | (labels >= num_classes)).any():
        raise ValueError(
            f"labels hold {int(labels.min())} to {int(labels.max())}, outside [0, {num_classes}); "
            "leave out the pixels without a label"
        )
    if isinstance(threshold, Tensor) and threshold.ndim and threshold.shape != (num_classes,):
        raise ValueError(
            f"threshold has shape {tuple(threshold.shape)}; give a number or ({num_classes},)"
        )
    clean = clean_pixels(losses, labels, threshold, ignore_index=-1)
    pixels, cleans, rights, hits = (
        torch.bincount(labels[chosen], minlength=num_classes).tolist()
        for chosen in (torch.ones_like(clean), clean, is_correct, clean & is_correct)
    )
    return {
        "precision": _share(sum(hits), sum(cleans)),
        "coverage": _share(sum(cleans), sum(pixels)),
        "recall": _share(sum(hits), sum(rights)),
        "class_precision": list(map(_share, hits, cleans)),
        "class_coverage": list(map(_share, cleans, pixels)),
        "class_recall": list(map(_share, hits, rights)),
        "class_pixels": pixels,
    }


def _cumulated(losses: Tensor, is_correct: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """List the distinct losses, ascending, with the counts of correct and all labels up to each."""
    _check_losses(losses, is_correct)
    ascending, order = losses.sort()
    correct = is_correct[order].cumsum(0)
    # Equal losses are clean together, so only the last of them counts.
    last = torch.ones_like(is_correct)
    last[:-1] = ascending[1:] != ascending[:-1]
    where = last.nonzero().flatten()
    return ascending[where], correct[where], where + 1


def _check_losses(losses: Tensor, is_correct: Tensor) -> None:
    """Raise a ValueError unless each pixel has one loss, not NaN, and one bool."""
    check_shapes("(P,) and (P,)", losses=losses, is_correct=is_correct)
    if is_correct.dtype != torch.bool:
        raise ValueError(f"is_correct is {is_correct.dtype}; give bool, labels == mask")
    if losses.isnan().any():
        raise ValueError(
            f"{int(losses.isnan().sum())} of {len(losses)} losses are NaN; check the network"
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
