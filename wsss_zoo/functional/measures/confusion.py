"""Confusion matrix, the overlap measures that come from it, and their harmonic mean."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import check_equal_shapes

MeanRule = Literal["nan-mean", "present", "all"]


def confusion_matrix(
    preds: Tensor, target: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count how often each true class was predicted as each class.

    Args:
        preds: Predicted class index per pixel, any shape, any integer type.
        target: True class index per pixel, same shape.
        num_classes: C, with background.
        ignore_index: Target value of the pixels that are not counted, whatever the prediction.

    Returns:
        Counts, (C, C) int64 on the device of the input; row = truth, column = prediction. The
        matrices of several images can be added.

    Raises:
        ValueError: On the CPU, if a counted pixel has an index outside [0, C). Other devices leave
            such pixels out, because the check would synchronise.

    >>> confusion_matrix(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 255]), num_classes=2)
    tensor([[1, 1],
            [0, 1]])
    """
    remedy = "resize the logits to the mask before the argmax"
    check_equal_shapes(remedy, preds=preds, target=target)
    for name, tensor in (("preds", preds), ("target", target)):
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(f"{name} is {tensor.dtype}; give class indices, logits.argmax(1)")
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; count the background too")
    # int64 before any arithmetic: 20 * 21 + 20 does not fit the uint8 of a mask.
    preds, target = preds.flatten().long(), target.flatten().long()
    ignored = target == ignore_index
    inside = (preds >= 0) & (preds < num_classes) & (target >= 0) & (target < num_classes)
    size = num_classes * num_classes
    # Two extra bins collect the pixels that do not count, so no pixel has to be selected.
    cell = torch.where(inside, target * num_classes + preds, size)
    cell = torch.where(ignored, size + 1, cell)
    counts = torch.zeros(size + 2, dtype=torch.int64, device=cell.device)
    # Not bincount: on CUDA it reads the maximum back to the host.
    counts.scatter_add_(0, cell, torch.ones_like(cell))
    if counts.device.type == "cpu" and counts[size] > 0:
        pred, truth = (int(side[~(inside | ignored)][0]) for side in (preds, target))
        raise ValueError(
            f"{int(counts[size])} of {cell.numel()} pixels have a class index outside "
            f"[0, {num_classes}): first preds {pred} where target is {truth}; "
            f"give the right num_classes, or mark pixels to ignore with {ignore_index}"
        )
    return counts[:size].view(num_classes, num_classes)


def intersection_over_union(confusion: Tensor) -> Tensor:
    """Compute the intersection over union of each class from a confusion matrix (C, C).

    Returns:
        (C,) float64 in [0, 1]; nan for a class that occurs in neither truth nor prediction, 0 for a
        class that occurs in only one of them.

    >>> intersection_over_union(torch.tensor([[2, 1, 0], [1, 4, 0], [0, 0, 0]]))
    tensor([0.5000, 0.6667,    nan], dtype=torch.float64)
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion is {tuple(confusion.shape)}; give a square matrix (C, C)")
    confusion = confusion.double()
    hits = confusion.diagonal()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)


def mean_iou(
    confusion: Tensor, rule: MeanRule = "nan-mean", classes: Sequence[int] | None = None
) -> float:
    """Average the intersection over union over the classes that occur in truth or prediction.

    Args:
        confusion: Counts, row = truth, (C, C).
        rule: Classes in the mean. "nan-mean" (jiwoon-ahn/irn): those in truth or prediction.
            "present" (ToCo): those in the truth. "all" (SEAM, UniMatch): all C, a class that occurs
            nowhere counts 0. On full VOC all three agree, on small sets they do not.
        classes: Indices of the classes to consider; the rule applies to them. None for all C.

    Returns:
        Mean in [0, 1]; nan if nothing was counted. Synchronises with the device: call it once per
        epoch, not per step.

    >>> confusion = torch.tensor([[2, 1, 0], [1, 4, 0], [0, 0, 0]])
    >>> [round(mean_iou(confusion, rule), 4) for rule in ("nan-mean", "present", "all")]
    [0.5833, 0.5833, 0.3889]
    """
    iou = intersection_over_union(confusion)
    if rule == "present":
        iou = torch.where(confusion.sum(1) > 0, iou, torch.nan)
    elif rule == "all":
        iou = iou.nan_to_num(0.0) if confusion.any() else iou
    elif rule != "nan-mean":
        raise ValueError(f"rule is {rule!r}; give 'nan-mean', 'present' or 'all'")
    return float((iou if classes is None else iou[list(classes)]).nanmean())


def harmonic_mean(first: float, second: float) -> float:
    """Compute 2 a b / (a + b) of two mean IoUs, not negative; 0 if both are 0, nan if one is.

    >>> harmonic_mean(0.6, 0.2), harmonic_mean(0.0, 0.0)
    (0.3, 0.0)
    """
    total = first + second
    return 2 * first * second / total if total != 0 else 0.0
