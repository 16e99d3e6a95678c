"""Reliability of a pseudo-label, from the stability of its prediction during training."""

import torch
from torch import Tensor

from wsss_zoo.functional.measures.confusion import confusion_matrix, mean_iou
from wsss_zoo.functional.tensors import check_shapes


def image_reliability(earlier: Tensor, last: Tensor, num_classes: int) -> float:
    """Measure how well an image's earlier predictions agree with its last one, as in ST++.

    The reliability is the mean, over the earlier checkpoints, of the mean IoU between their
    prediction and the last one, which serves as truth. Each mean IoU covers the classes that occur
    in either prediction. As in the authors' code, it is a mean of means, not of one pooled matrix.

    Args:
        earlier: Class index per pixel of K >= 1 earlier checkpoints, (K, H, W), integers.
        last: Prediction of the last checkpoint, (H, W). Pixels that are 255 in either prediction
            are left out of their comparison.
        num_classes: C, with background.

    Returns:
        Reliability in [0, 1], never nan: two predictions without a common pixel count 0.

    Yang et al., "ST++: Make Self-training Work Better for Semi-supervised Semantic Segmentation",
    CVPR 2022.

    >>> last = torch.tensor([[0, 0, 1, 1]])
    >>> earlier = torch.stack([last, torch.tensor([[0, 0, 0, 1]])])
    >>> round(image_reliability(earlier, last, num_classes=3), 4)  # (1 + (2/3 + 1/2) / 2) / 2
    0.7917
    """
    check_shapes("(K, H, W) and (H, W)", earlier=earlier, last=last)
    if not len(earlier):
        raise ValueError("there is no earlier prediction to compare the last one with; give one")
    total = 0.0
    for preds in earlier:
        target = torch.where(preds == 255, torch.full_like(last, 255), last)
        confusion = confusion_matrix(preds, target, num_classes, 255)
        total += mean_iou(confusion) if confusion.any() else 0.0
    return total / len(earlier)
