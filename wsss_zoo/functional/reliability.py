"""How far a pseudo-label can be trusted, from how steadily the training came to it."""

import torch
from torch import Tensor

from wsss_zoo.functional.confusion import confusion_matrix, mean_iou

_IGNORED = 255


def image_reliability(earlier: Tensor, last: Tensor, num_classes: int) -> float:
    """Agreement of an image's earlier predictions with its last one, the ranking of ST++.

    Mean over the earlier checkpoints of the mean IoU between their prediction and that of the last
    one, which stands for the truth (Yang et al., "ST++: Make Self-training Work Better for
    Semi-supervised Semantic Segmentation", CVPR 2022). The mean IoU is over the classes that occur
    in either of the two. As in the released code it is a mean of means, not of one matrix.

    Args:
        earlier: Class index per pixel of K earlier checkpoints, (K, H, W), any integer type.
        last: That of the last checkpoint, (H, W). Pixels that are 255 in either of two predictions
            are left out of their comparison.
        num_classes: C, with background.

    Returns:
        Reliability in [0, 1], never nan: two predictions without a common pixel count 0, as nothing
        speaks for the label then.

    Raises:
        ValueError: If the shapes do not fit, there is no earlier prediction, or a prediction is not
            of class indices below `num_classes` and 255.

    >>> last = torch.tensor([[0, 0, 1, 1]])
    >>> earlier = torch.stack([last, torch.tensor([[0, 0, 0, 1]])])
    >>> round(image_reliability(earlier, last, num_classes=3), 4)  # (1 + (2/3 + 1/2) / 2) / 2
    0.7917
    """
    if earlier.ndim != 3 or last.ndim != 2 or earlier.shape[1:] != last.shape:
        raise ValueError(
            f"earlier {tuple(earlier.shape)} and last {tuple(last.shape)} do not fit; give (K, H, "
            "W) and (H, W)"
        )
    if not len(earlier):
        raise ValueError("there is no earlier prediction to compare the last one with; give one")
    total = 0.0
    for preds in earlier:
        target = torch.where(preds == _IGNORED, torch.full_like(last, _IGNORED), last)
        confusion = confusion_matrix(preds, target, num_classes, _IGNORED)
        total += mean_iou(confusion) if confusion.any() else 0.0
    return total / len(earlier)
