"""Labels of activation maps where they are sure, unknown between the two thresholds."""

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes


def confident_cam_label(
    cam: Tensor,
    image_labels: Tensor,
    high: float = 0.7,
    low: float = 0.25,
    valid: Tensor | None = None,
) -> Tensor:
    """Label each cell with its strongest tagged class above `high`, background up to `low`.

    Args:
        cam: Maps of the foreground classes in [0, 1], (N, K, h, w).
        image_labels: Tags, (N, K); above 0 means present.
        high: Score above which a class is sure.
        low: Score up to which the background is sure, at most ``high``.
        valid: False on padding, (N, h, w) bool; None for no padding.

    Returns:
        Class index per cell, (N, h, w) int64: k + 1 = foreground class k, 0 = background, 255
        between the thresholds and on padding. Without a tag all is background.

    Ru et al., "Token Contrast for Weakly-Supervised Semantic Segmentation", CVPR 2023
    (rulixiang/ToCo @ e13514d).

    >>> cam = torch.tensor([[[[0.9, 0.5, 0.1]]]])
    >>> confident_cam_label(cam, torch.tensor([[1]]))
    tensor([[[  1, 255,   0]]])
    """
    check_shapes("(N, K, h, w) and (N, K)", cam=cam, image_labels=image_labels)
    if not low <= high:
        raise ValueError(f"low is {low} and high {high}; give low <= high")
    wanted = (cam.shape[0], *cam.shape[2:])
    if valid is not None and valid.shape != wanted:
        raise ValueError(f"valid {tuple(valid.shape)} does not fit; give {wanted}")
    # Not a product: NaN in an absent class would stay.
    tagged = torch.where((image_labels > 0)[:, :, None, None], cam, torch.zeros_like(cam))
    score, index = tagged.max(1)
    label = torch.where(score > high, index + 1, 255)
    label = torch.where(score <= low, 0, label)
    return label if valid is None else torch.where(valid, label, 255)
