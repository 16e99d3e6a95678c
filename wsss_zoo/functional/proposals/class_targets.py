"""Targets of a mask transformer: one per class and image."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.functional.losses.pair_similarity import base_pixels


class ClassTargets(NamedTuple):
    """Targets of N images, those with a mask first; T is the largest number in one image."""

    #: Class of each target, ascending within each of the two groups, (N, T) int64; padded with 0.
    labels: Tensor
    #: Whether the target has a mask (the pixels of its class), (N, T) bool.
    has_mask: Tensor
    #: Number of targets of each image.
    counts: list[int]
    #: Number of targets with a mask of each image.
    mask_counts: list[int]
    #: ``labels`` on the host.
    host_labels: NDArray[np.int64]


def class_targets(mask: Tensor, num_classes: int, tags: Tensor | None = None) -> ClassTargets:
    """List one target per class that a mask shows, then one per class that is only tagged.

    Synchronises with the device, because the host needs the number of targets.

    Args:
        mask: Class index per pixel, (N, H, W) int64; values outside [0, K) are ignored.
        num_classes: Number of classes K.
        tags: Presence of each class, (N, K); None without tags. A class that is tagged and shown
            counts as shown.

    Chen et al. (SimFormer), NeurIPS 2022: semantic targets, no instances.

    >>> targets = class_targets(torch.tensor([[[2, 0, 255]]]), 4, torch.tensor([[0, 1, 1, 0]]))
    >>> targets.labels.tolist(), targets.has_mask.tolist(), targets.counts
    ([[0, 2, 1]], [[True, True, False]], [3])
    """
    N = len(mask)
    if tags is not None and tags.shape != (N, num_classes):
        raise ValueError(f"tags have shape {tuple(tags.shape)}; give ({N}, {num_classes})")
    inside = (mask >= 0) & (mask < num_classes)
    # The extra column collects the pixels without a class.
    column = torch.where(inside, mask, num_classes).flatten(1)
    seen = mask.new_zeros(N, num_classes + 1, dtype=torch.bool).scatter_(1, column, True)[:, :-1]
    only_tagged = torch.zeros_like(seen) if tags is None else (tags > 0) & ~seen
    host = torch.stack([seen, only_tagged], 1).cpu().numpy()
    rows = [[np.flatnonzero(kind) for kind in image] for image in host]
    counts = [len(shown) + len(tagged) for shown, tagged in rows]
    labels = np.zeros((N, max(counts, default=0)), np.int64)
    for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
        labels[place, :count] = np.concatenate(row)
    mask_counts = [len(shown) for shown, _ in rows]
    has_mask = np.arange(labels.shape[1]) < np.array(mask_counts, np.int64)[:, None]
    on_device, known = (torch.from_numpy(array).to(mask.device) for array in (labels, has_mask))
    return ClassTargets(on_device, known, counts, mask_counts, labels)


def target_masks(targets: ClassTargets, labels: Tensor) -> Tensor:
    """Make the masks of all targets, empty without a mask, (N, T, h, w) bool.

    The labels are the mask at any resolution, (N, h, w) int64, resized by the nearest pixel.
    """
    same = labels[:, None] == targets.labels[:, :, None, None]
    return same & targets.has_mask[:, :, None, None]


def covered_pixels(mask: Tensor, num_classes: int) -> Tensor:
    """Find the pixels where a mask shows any class, (N, H, W) bool."""
    return base_pixels(mask, torch.ones(num_classes, dtype=torch.bool, device=mask.device))
