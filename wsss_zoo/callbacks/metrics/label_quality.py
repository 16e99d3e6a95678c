"""How good a folder of pseudo-labels is, measured from its files against masks.

The masks serve to measure only; no label depends on them. A background threshold chosen by the best
of the sweep is tuned on masks, so a result that uses it must say so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from torch import Tensor

from wsss_zoo.contract import DataModule
from wsss_zoo.drawing.class_table import print_class_table
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import read_cam, read_label
from wsss_zoo.functional import confusion_matrix, intersection_over_union, mean_iou

# The sweep of SEAM, 0.00, 0.01 .. 0.60.
THRESHOLDS = tuple(step / 100 for step in range(61))
# How many of the thresholds each stored value exceeds, in whole numbers: equal is background.
_EXCEEDED = np.searchsorted(255 * np.arange(len(THRESHOLDS)), 100 * np.arange(256))


@dataclass
class LabelCounts:
    """Counts over label maps and masks; those of parts of a set add up.

    Args:
        num_classes: C, with background.
        cams: Whether activation maps are counted for the sweep of thresholds too.
    """

    num_classes: int
    cams: bool = False
    confusion: Tensor = field(init=False)
    """Labelled pixels, row = truth, (C, C)."""
    sweep: NDArray[np.int64] = field(init=False)
    """Pixels by number of thresholds exceeded, truth and strongest class, (T + 1, C, C)."""
    images: int = 0
    pixels: int = 0
    """Pixels whose truth is known."""

    def __post_init__(self) -> None:
        C = self.num_classes
        self.confusion = torch.zeros(C, C, dtype=torch.int64)
        self.sweep = np.zeros((len(THRESHOLDS) + 1 if self.cams else 0, C, C), dtype=np.int64)

    def add(self, truth: UInt8Array, label: UInt8Array) -> None:
        """Count one image.

        Args:
            truth: Class index per pixel, 255 = unknown, (H, W).
            label: Pseudo-label, 255 = no label, (H, W).
        """
        self.images += 1
        self.pixels += int((truth != IGNORE_INDEX).sum())
        counted = np.where(label == IGNORE_INDEX, IGNORE_INDEX, truth)
        self.confusion += confusion_matrix(
            torch.from_numpy(label), torch.from_numpy(counted), self.num_classes
        )

    def add_cam(self, truth: UInt8Array, cam: UInt8Array, classes: NDArray[np.int64]) -> None:
        """Count one image's activation maps for all thresholds at once.

        Args:
            truth: Class index per pixel, 255 = unknown, (H, W).
            cam: 255 times the maps, (k, H, W).
            classes: Foreground index of each map, (k,).
        """
        known = truth != IGNORE_INDEX
        winner, exceeded = (
            np.zeros(int(known.sum()), np.int64),
            np.zeros(int(known.sum()), np.int64),
        )
        if len(classes):
            maps = cam[:, known]
            winner, exceeded = classes[maps.argmax(axis=0)] + 1, _EXCEEDED[maps.max(axis=0)]
        C = self.num_classes
        cell = (exceeded * C + truth[known]) * C + winner
        self.sweep += np.bincount(cell, minlength=self.sweep.size).reshape(self.sweep.shape)

    def reduced(self, reduce: Callable[[Tensor], Tensor]) -> "LabelCounts":
        """The counts after a sum over processes.

        Args:
            reduce: Takes and returns an int64 vector.
        """
        parts = [
            torch.tensor([self.images, self.pixels]),
            self.confusion.flatten(),
            torch.from_numpy(self.sweep).flatten(),
        ]
        total = reduce(torch.cat(parts)).cpu()
        numbers, confusion, sweep = torch.split(total, [len(part) for part in parts])
        merged = LabelCounts(self.num_classes, self.cams)
        merged.images, merged.pixels = int(numbers[0]), int(numbers[1])
        merged.confusion = confusion.view_as(self.confusion)
        merged.sweep = sweep.numpy().reshape(self.sweep.shape)
        return merged

    def sweep_confusion(self) -> Tensor:
        """Confusion matrix of the label maps at each threshold, (T, C, C)."""
        # A pixel is foreground at threshold t if it exceeds more than t thresholds.
        above = np.cumsum(self.sweep[::-1], axis=0)[::-1]
        confusion = above[1:].copy()
        confusion[:, :, 0] += above[0].sum(axis=1) - confusion.sum(axis=2)
        return torch.from_numpy(confusion)

    def report(self, class_names: list[str]) -> dict[str, Any]:
        """Measures, ready for JSON.

        Args:
            class_names: Names by class index.

        Returns:
            ``images``, ``confusion``, ``metrics``: ``pseudo/miou`` and ``pseudo/iou/<class>`` over
            the pixels that have a label and a truth; ``pseudo/coverage``, the share of pixels with
            a truth that have a label; with activation maps ``pseudo/best_miou`` and
            ``pseudo/best_threshold`` (the lowest of equals), and ``sweep`` with the mean IoU at
            all thresholds and the IoU per class at the best. Classes in neither truth nor labels
            are left out.
        """
        iou = intersection_over_union(self.confusion).tolist()
        metrics = {
            "pseudo/miou": mean_iou(self.confusion),
            "pseudo/coverage": int(self.confusion.sum()) / max(self.pixels, 1),
        }
        metrics |= {f"pseudo/iou/{name}": v for name, v in zip(class_names, iou, strict=True)}
        report: dict[str, Any] = {"images": self.images, "confusion": self.confusion.tolist()}
        if self.cams:
            confusion = self.sweep_confusion()
            values = [mean_iou(matrix) for matrix in confusion]
            best = int(np.argmax(values))
            metrics["pseudo/best_miou"] = values[best]
            metrics["pseudo/best_threshold"] = THRESHOLDS[best]
            best_iou = dict(
                zip(class_names, intersection_over_union(confusion[best]).tolist(), strict=True)
            )
            report["sweep"] = {
                "thresholds": list(THRESHOLDS),
                "miou": values,
                "best_iou": _finite(best_iou),
            }
        return report | {"metrics": _finite(metrics)}


def count_labels(
    directory: Path,
    image_ids: Iterable[str],
    read_mask: Callable[[str], UInt8Array | None],
    counts: LabelCounts,
) -> None:
    """Go over label maps on disk, one at a time; images without a mask do not count.

    Args:
        directory: Folder of pseudo-labels.
        image_ids: Images to count.
        read_mask: Gives the true mask of an image, or None.
        counts: Added to.

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
            counts.add_cam(truth, *read_cam(directory, image_id))


def measure_labels(
    trainer: Trainer, data: DataModule, directory: Path, *, cams: bool
) -> dict[str, Any] | None:
    """Measure a complete folder; each rank counts its share of the files, the sum is every rank's.

    Args:
        trainer: Gives ranks and their sum.
        data: Gives images, masks and class names.
        directory: Folder of pseudo-labels.
        cams: Whether activation maps are stored in it.

    Returns:
        `LabelCounts.report`, or None where no image has a mask.
    """
    counts = LabelCounts(len(data.class_names), cams)
    share = data.predict_ids()[trainer.global_rank :: trainer.world_size]
    count_labels(directory, share, data.read_mask, counts)

    def reduce(vector: Tensor) -> Tensor:
        total = trainer.strategy.reduce(vector.to(trainer.strategy.root_device), reduce_op="sum")
        return torch.as_tensor(total)

    counts = counts.reduced(reduce)
    return counts.report(data.class_names) if counts.pixels else None


def publish_quality(
    trainer: Trainer, directory: Path, report: dict[str, Any], class_names: list[str]
) -> None:
    """Send the measures of a report to the loggers and print them.

    Args:
        trainer: Has the loggers.
        directory: Folder of pseudo-labels, for the title.
        report: `LabelCounts.report`.
        class_names: Names by class index.
    """
    metrics = report["metrics"]
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
        logger.save()
    iou = {name: metrics.get(f"pseudo/iou/{name}", float("nan")) for name in class_names}
    totals = {name: value for name, value in metrics.items() if "/iou/" not in name}
    title = f"{directory}: measured against masks that no label depends on"
    print_class_table(title, {"iou": iou}, totals)


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if np.isfinite(value)}
