"""What a mask transformer has to find in a batch: one target per class and image."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.functional.pair_similarity import base_pixels


class ClassTargets(NamedTuple):
    """Targets of N images, those with a mask first; T is the largest number in an image."""

    #: Class of each target, ascending in each of the two groups, (N, T) int64; 0 behind the last.
    labels: Tensor
    #: Whether the target has a mask: the pixels of its class; (N, T) bool.
    has_mask: Tensor
    #: Targets of each image.
    counts: list[int]
    #: Of them, those with a mask.
    mask_counts: list[int]
    #: ``labels`` on the host.
    host_labels: NDArray[np.int64]


def class_targets(mask: Tensor, num_classes: int, tags: Tensor | None = None) -> ClassTargets:
    """One target for each class that a mask shows, then one for each that is only tagged.

    The host waits for the device here, for it has to know how many targets there are.

    Args:
        mask: Class index per pixel, (N, H, W) int64; values outside [0, K) are ignored.
        num_classes: Number of classes K.
        tags: Presence of the classes that have tags, (N, K); None for masks alone. A class that is
            tagged and shown has its mask.

    Raises:
        ValueError: If the tags have another shape.

    Chen et al. (SimFormer), NeurIPS 2022: semantic targets, no instances.

    >>> targets = class_targets(torch.tensor([[[2, 0, 255]]]), 4, torch.tensor([[0, 1, 1, 0]]))
    >>> targets.labels.tolist(), targets.has_mask.tolist(), targets.counts
    ([[0, 2, 1]], [[True, True, False]], [3])
    """
    N = len(mask)
    if tags is not None and tags.shape != (N, num_classes):
        raise ValueError(f"tags have shape {tuple(tags.shape)}; give ({N}, {num_classes})")
    inside = (mask >= 0) & (mask < num_classes)
    # One column more takes what is no class.
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
    return ClassTargets(
        torch.from_numpy(labels).to(mask.device),
        torch.from_numpy(has_mask).to(mask.device),
        counts,
        mask_counts,
        labels,
    )


def target_masks(targets: ClassTargets, labels: Tensor) -> Tensor:
    """Masks of all targets at any resolution, empty for those without, (N, T, h, w) bool.

    Args:
        targets: From `class_targets`.
        labels: The mask, resized by the nearest pixel, (N, h, w) int64.
    """
    same = labels[:, None] == targets.labels[:, :, None, None]
    return same & targets.has_mask[:, :, None, None]


def covered_pixels(mask: Tensor, num_classes: int) -> Tensor:
    """Where a mask shows any class, (N, H, W) bool; the rest is novel or ignored."""
    return base_pixels(mask, torch.ones(num_classes, dtype=torch.bool, device=mask.device))
