"""Quality of a folder of pseudo-labels, estimated from its files, images and tags: no mask."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer

from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.contract import DataModule
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import read_confidence, read_label
from wsss_zoo.functional import color_separation, tag_violations

# Images whose colours are read: more change the mean by less than a thousandth.
_MOST_IMAGES = 500
# Shares are added in whole billionths, so that ranks and resumes give the same sums.
_UNIT = 10**9


class EstimateCounts:
    """Counts over label maps, images and tags.

    Args:
        num_classes: C, with background.
        first_fg: Index of the first foreground class, 0 or 1.
    """

    def __init__(self, num_classes: int, first_fg: int) -> None:
        C, K = num_classes, num_classes - first_fg
        self.first_fg = first_fg
        #: All counts, one after another; those of parts of a set add up.
        self.total = torch.zeros(2 + 2 + 2 + 5 + C + 2 * K, dtype=torch.int64)
        parts = torch.split(self.total, [2, 2, 2, 5, C, K, K])
        #: Pixels, and those with a label, (2,).
        self.pixels = parts[0]
        #: Sum of `color_separation`, and number of images, (2,).
        self.separation = parts[1]
        #: Sum of the confidence of label maps that tell it, and their number, (2,).
        self.confidence = parts[2]
        #: Of images with tags: their number, those with untagged classes, those without a tagged
        #: one; labelled pixels of all, and pixels of untagged classes, (5,).
        self.tagged = parts[3]
        #: Pixels by class, (C,).
        self.by_class = parts[4]
        #: Images tagged with each class, and those of them without a pixel of it, (K,).
        self.tags, self.missing = parts[5:]

    def add(
        self, label: UInt8Array, tags: NDArray[np.uint8] | None, confidence: float | None
    ) -> None:
        """Count a label map, 255 = unknown, (H, W), with its image's tags (K,), if known."""
        labelled = int((label != IGNORE_INDEX).sum())
        self.pixels += torch.tensor([label.size, labelled])
        known = torch.from_numpy(label[label != IGNORE_INDEX]).long()
        self.by_class += torch.bincount(known, minlength=len(self.by_class))
        if confidence is not None:
            self.confidence += torch.tensor([round(confidence * _UNIT), 1])
        if tags is None:
            return
        present = torch.from_numpy(tags)
        untagged, missing = tag_violations(torch.from_numpy(label), present, self.first_fg)
        violations = [int(untagged.any()), int(missing.any()), labelled, int(untagged.sum())]
        self.tagged += torch.tensor([1, *violations])
        self.tags += present > 0
        self.missing += missing

    def add_colors(self, image: UInt8Array, label: UInt8Array) -> None:
        """Count how well a label map, (H, W), separates the colours of its image, (H, W, 3)."""
        colors = torch.from_numpy(image).permute(2, 0, 1)
        share = color_separation(colors, torch.from_numpy(label))
        if share == share:
            self.separation += torch.tensor([round(share * _UNIT), 1])

    def metrics(self, class_names: Sequence[str]) -> dict[str, float]:
        """Compute the estimates that the data allow.

        Returns:
            ``estimate/separation``, the mean of `color_separation`; ``estimate/confidence``, the
            mean confidence of the labelled pixels; ``estimate/coverage``, the share of pixels with
            a label; ``estimate/share/<class>`` of these by class. Where there are tags, the shares
            of images with classes that are not tagged (``estimate/untagged_images``) or without
            one that is (``estimate/missing_images``); of labelled pixels of untagged classes
            (``estimate/untagged_pixels``); and ``estimate/missing/<class>``, the share of the
            images tagged with a class that have no pixel of it, with their mean over classes,
            ``estimate/missing``.
        """
        all_pixels, labelled = self.pixels.tolist()
        images, untagged, missing, tagged_pixels, untagged_pixels = self.tagged.tolist()
        pairs = {
            "separation": (self.separation[0] / _UNIT, self.separation[1]),
            "confidence": (self.confidence[0] / _UNIT, self.confidence[1]),
            "coverage": (labelled, all_pixels),
            "untagged_images": (untagged, images),
            "untagged_pixels": (untagged_pixels, tagged_pixels),
            "missing_images": (missing, images),
        }
        metrics = {f"estimate/{n}": float(a / b) for n, (a, b) in pairs.items() if b}
        if labelled:
            shares = zip(class_names, (self.by_class / labelled).tolist(), strict=True)
            metrics |= {f"estimate/share/{name}": share for name, share in shares}
        counts = zip(class_names[self.first_fg :], self.missing, self.tags, strict=True)
        by_class = {name: float(lost / count) for name, lost, count in counts if count}
        if by_class:
            metrics["estimate/missing"] = sum(by_class.values()) / len(by_class)
        return metrics | {f"estimate/missing/{name}": value for name, value in by_class.items()}


def estimate_labels(
    trainer: Trainer, data: DataModule, directory: Path, dropped: Sequence[int] = ()
) -> dict[str, float]:
    """Estimate the quality of a complete folder: `EstimateCounts.metrics`.

    Each rank counts a share of the files; all get the same result. The colours are those of at most
    500 images, chosen by their ids. Tags of ``dropped`` foreground classes, which labels are made
    without on purpose, do not count.
    """
    counts = EstimateCounts(len(data.class_names), int(getattr(data, "background", True)))
    ids = data.predict_ids()
    with_colors = set(sampled_ids(ids, _MOST_IMAGES))
    for image_id in ids[trainer.global_rank :: trainer.world_size]:
        label = read_label(directory, image_id)
        confidence = read_confidence(directory, image_id)
        tags = data.image_labels_of(image_id)
        if tags is not None and dropped:
            tags = tags.copy()
            tags[list(dropped)] = 0
        counts.add(label, tags, confidence)
        if image_id in with_colors:
            counts.add_colors(data.read_image(image_id), label)
    counts.total.copy_(sum_over_ranks(trainer, counts.total))
    return counts.metrics(data.class_names)


def sampled_ids(image_ids: Sequence[str], count: int) -> list[str]:
    """Choose at most ``count`` images by a hash of their ids, the same on every rank."""
    return sorted(image_ids, key=lambda image_id: (zlib.crc32(image_id.encode()), image_id))[:count]
