"""Grad-CAM of a linear classifier on pooled features, without a backward pass."""

import torch
from torch import Tensor

# Maps with a maximum below this are not stretched to 1.
_EPS = 1e-5


def classifier_grad_cam(features: Tensor, weight: Tensor, image_labels: Tensor) -> Tensor:
    """Compute the Grad-CAMs of all tagged classes on the feature map that the classifier pools.

    No backward pass is needed: the gradient of a class score is the same at every position, namely
    the weights of the class divided by the number of positions.

    Args:
        features: Feature map before the global average pooling, (N, D, h, w).
        weight: Weights of the linear classifier, (K, D), or one set per image, (N, K, D), for a
            dropout between pooling and classifier.
        image_labels: Tags, (N, K), 0 or 1.

    Returns:
        Maps (N, K, h, w) in [0, 1], float32 (float64 for float64 features). Each tagged class is
        divided by its maximum (at least 1e-5), all others are 0. Differentiable.

    Raises:
        ValueError: If the shapes do not fit.

    Selvaraju et al., "Grad-CAM", ICCV 2017, eq. (1) and (2), normalised as in PseudoSeg (Zou et
    al., ICLR 2021). The authors' code (googleinterns/wss @ b01acaf) computes one gradient per class
    and averages it over batch and rows instead of rows and columns.

    >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    >>> classifier_grad_cam(features, torch.eye(2), torch.tensor([[1, 0]]))
    tensor([[[[0.5000, 1.0000]],
    <BLANKLINE>
             [[0.0000, 0.0000]]]])
    """
    shape = (*image_labels.shape, features.shape[1])
    if features.ndim != 4 or weight.shape not in (shape, shape[1:]) or len(features) != shape[0]:
        raise ValueError(
            f"features {tuple(features.shape)}, weight {tuple(weight.shape)} and image_labels "
            f"{tuple(image_labels.shape)} do not fit; give (N, D, h, w), (K, D) or (N, K, D), and "
            "(N, K)"
        )
    dtype = torch.promote_types(features.dtype, torch.float32)
    # Dividing by the maximum makes the rounding of half precision visible.
    with torch.autocast(features.device.type, enabled=False):
        positions = features.shape[2] * features.shape[3]
        cam = (weight.to(dtype) @ features.to(dtype).flatten(2)).relu() / positions
    cam = cam.view(*shape[:2], *features.shape[2:])
    cam = torch.where((image_labels > 0)[:, :, None, None], cam, torch.zeros_like(cam))
    return cam / cam.amax((2, 3), keepdim=True).clamp_min(_EPS)
