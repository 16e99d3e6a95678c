"""Recall of small objects."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes

# Pixels that touch at a corner belong to one object.
_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)


def small_object_counts(
    preds: Tensor, target: Tensor, num_classes: int, max_area: float = 0.02
) -> Tensor:
    """Sum the recalls of the small objects of one image, and count the objects.

    An object is a connected component (8 neighbours) of one class in the truth. Its recall is the
    share of its pixels that are predicted as that class. Objects below ``max_area`` of the image
    are small.

    Args:
        preds: Predicted class index per pixel, (H, W).
        target: True class index per pixel, (H, W); 255 has no class.
        num_classes: C, with background.
        max_area: Upper bound of a small object's share of the image, in (0, 1].

    Returns:
        (C, 2) float32 on the device of the input: sum of recalls, number of objects. The counts of
        several images can be added. Computed on the CPU.

    >>> target = torch.tensor([[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    >>> preds = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    >>> small_object_counts(preds, target, num_classes=2, max_area=0.2)[1]
    tensor([0.5000, 2.0000])
    """
    check_shapes("(H, W) and (H, W)", preds=preds, target=target)
    if not 0 < max_area <= 1:
        raise ValueError(f"max_area is {max_area}; give a share of the image in (0, 1]")
    true, found = target.cpu().numpy(), (preds == target).cpu().numpy()
    counts = np.zeros((num_classes, 2))
    for label in np.unique(true[true < num_classes]):
        objects, number = ndimage.label(true == label, structure=_NEIGHBOURS)
        areas = np.bincount(objects.ravel(), minlength=number + 1)[1:]
        hits = np.bincount(objects.ravel(), weights=found.ravel(), minlength=number + 1)[1:]
        small = areas < max_area * true.size
        counts[label] = (hits[small] / areas[small]).sum(), small.sum()
    return torch.from_numpy(counts).float().to(target.device)
