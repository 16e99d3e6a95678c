"""Quality of a folder of pseudo-labels, measured from its files against masks.

No label depends on the masks that it is measured against. A background threshold chosen as the best
of the sweep is tuned on masks, so a result that uses it must say so.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from torch import Tensor

from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.contract import DataModule
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import read_cam, read_label
from wsss_zoo.functional import confusion_matrix, intersection_over_union, mean_iou

# The sweep of SEAM, 0.00, 0.01 .. 0.60.
THRESHOLDS = tuple(step / 100 for step in range(61))
# How many of the thresholds each stored value exceeds, in whole numbers: equal is background.
_EXCEEDED = np.searchsorted(255 * np.arange(len(THRESHOLDS)), 100 * np.arange(256))


class LabelCounts:
    """Counts over label maps and masks.

    Args:
        num_classes: C, with background.
        cams: Whether activation maps are counted for the sweep of thresholds too.
    """

    def __init__(self, num_classes: int, cams: bool = False) -> None:
        C = self.num_classes = num_classes
        self.cams = cams
        levels = len(THRESHOLDS) + 1 if cams else 0
        #: All counts, one after another; those of parts of a set add up.
        self.total = torch.zeros(2 + (1 + levels) * C * C, dtype=torch.int64)
        parts = torch.split(self.total, [2, C * C, levels * C * C])
        #: Number of images, and of pixels whose truth is known, (2,).
        self.sizes = parts[0]
        #: Labelled pixels, row = truth, (C, C).
        self.confusion = parts[1].view(C, C)
        #: Pixels by number of thresholds exceeded, truth and strongest class, (T + 1, C, C).
        self.sweep = parts[2].view(levels, C, C)

    def add(self, truth: UInt8Array, label: UInt8Array) -> None:
        """Count one image: its truth and its pseudo-label, 255 = unknown, (H, W) each."""
        self.sizes += torch.tensor([1, int((truth != IGNORE_INDEX).sum())])
        counted = np.where(label == IGNORE_INDEX, IGNORE_INDEX, truth)
        self.confusion += confusion_matrix(
            torch.from_numpy(label), torch.from_numpy(counted), self.num_classes
        )

    def add_cam(self, truth: UInt8Array, cam: UInt8Array, classes: NDArray[np.int64]) -> None:
        """Count one image's activation maps for all thresholds at once.

        The truth has 255 = unknown, (H, W). The maps, times 255, are those of k foreground classes,
        (k, H, W).
        """
        known = truth != IGNORE_INDEX
        winner = exceeded = np.zeros(int(known.sum()), np.int64)
        if len(classes):
            maps = cam[:, known]
            winner, exceeded = classes[maps.argmax(axis=0)] + 1, _EXCEEDED[maps.max(axis=0)]
        C = self.num_classes
        cell = torch.from_numpy((exceeded * C + truth[known]) * C + winner)
        self.sweep += torch.bincount(cell, minlength=self.sweep.numel()).view_as(self.sweep)

    def sweep_confusion(self) -> Tensor:
        """Return the confusion matrix of the label maps at each threshold, (T, C, C)."""
        # A pixel is foreground at threshold t if it exceeds more than t thresholds.
        above = self.sweep.flip(0).cumsum(0).flip(0)
        confusion = above[1:].clone()
        confusion[:, :, 0] += above[0].sum(dim=1) - confusion.sum(dim=2)
        return confusion

    def report(self, class_names: list[str]) -> dict[str, Any]:
        """Compute the measures, ready for JSON.

        Returns:
            ``images``, ``confusion``, ``metrics``: ``pseudo/miou`` and ``pseudo/iou/<class>`` over
            the pixels that have a label and a truth; ``pseudo/coverage``, the share of pixels with
            a truth that have a label. With activation maps also ``pseudo/best_miou`` and
            ``pseudo/best_threshold`` (the lowest of equals), and ``sweep`` with the mean IoU at
            all thresholds and the IoU per class at the best. Classes in neither truth nor labels
            are left out.
        """
        images, pixels = self.sizes.tolist()
        metrics = {
            "pseudo/miou": mean_iou(self.confusion),
            "pseudo/coverage": int(self.confusion.sum()) / max(pixels, 1),
        }
        iou = _iou_by_class(self.confusion, class_names)
        metrics |= {f"pseudo/iou/{name}": value for name, value in iou.items()}
        report: dict[str, Any] = {"images": images, "confusion": self.confusion.tolist()}
        if self.cams:
            confusion = self.sweep_confusion()
            values = [mean_iou(matrix) for matrix in confusion]
            best = int(np.argmax(values))
            metrics["pseudo/best_miou"] = values[best]
            metrics["pseudo/best_threshold"] = THRESHOLDS[best]
            report["sweep"] = {
                "thresholds": list(THRESHOLDS),
                "miou": values,
                "best_iou": _iou_by_class(confusion[best], class_names),
            }
        finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
        return report | {"metrics": finite}


def count_labels(
    directory: Path,
    image_ids: Iterable[str],
    read_mask: Callable[[str], UInt8Array | None],
    counts: LabelCounts,
    dropped: Sequence[int] = (),
) -> None:
    """Add label maps on disk to counts, one at a time; images without a mask are left out.

    Activation maps of ``dropped`` foreground classes do not count.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a mask has another size than its label map.
    """
    for image_id in image_ids:
        truth = read_mask(image_id)
        if truth is None:
            continue
        label = read_label(directory, image_id)
        if truth.shape != label.shape:
            raise ValueError(
                f"the mask of {image_id} is {truth.shape}, its pseudo-label {label.shape} (height, "
                "width); the mask must have its image's size"
            )
        counts.add(truth, label)
        if counts.cams:
            cam, classes = read_cam(directory, image_id)
            kept = ~np.isin(classes, dropped)
            if kept.any() or not len(classes):
                counts.add_cam(truth, cam[kept], classes[kept])


def measure_labels(
    trainer: Trainer,
    data: DataModule,
    directory: Path,
    *,
    cams: bool,
    dropped: Sequence[int] = (),
    known: Collection[str] = (),
) -> dict[str, Any] | None:
    """Measure a complete folder: `LabelCounts.report`, or None where no image has a mask.

    Images ``known``, whose masks the labels are made from, do not count.
    Each rank counts a share of the files; all get the same result.
    """
    counts = LabelCounts(len(data.class_names), cams)
    ids = [image_id for image_id in data.predict_ids() if image_id not in known]
    share = ids[trainer.global_rank :: trainer.world_size]
    count_labels(directory, share, data.read_mask, counts, dropped)
    counts.total.copy_(sum_over_ranks(trainer, counts.total))
    return counts.report(data.class_names) if counts.sizes[1] else None


def _iou_by_class(confusion: Tensor, class_names: list[str]) -> dict[str, float]:
    """IoU of the classes that occur, by name."""
    iou = intersection_over_union(confusion).tolist()
    return {name: value for name, value in zip(class_names, iou, strict=True) if value == value}
