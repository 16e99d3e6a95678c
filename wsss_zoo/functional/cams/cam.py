"""Class activation maps, Grad-CAM, multi-scale merging and the label maps made from them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

_EPS = 1e-5


def class_activation_map(features: Tensor, weight: Tensor) -> Tensor:
    """Score every position of a feature map with the classifier's weights.

    Args:
        features: Last feature map before the pooling, (N, D, h, w).
        weight: Weight of the bias-free linear classifier, one row per foreground class, (K, D).

    Returns:
        Signed raw scores, (N, K, h, w); their mean over h and w is the classifier's logit.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. (2).

    >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    >>> class_activation_map(features, torch.tensor([[1.0, -1.0]]))
    tensor([[[[-2., -2.]]]])
    """
    check_shapes("(N, D, h, w) and (K, D)", features=features, weight=weight)
    return torch.einsum("kd,ndhw->nkhw", weight, features)


def multi_scale_cam(
    features: Sequence[Tensor],
    weight: Tensor,
    image_labels: Tensor,
    size: tuple[int, int],
    stride: int = 16,
) -> Tensor:
    """Merge the maps of one image over several scales and their mirrored views.

    Per scale: ReLU, the second view mirrored back, sum of the two. The sums are resized bilinearly
    to the smallest multiples of ``stride`` that are at least `size` and added. The total is cropped
    to the top-left `size`, gated by the tags and divided per class by (its maximum + 1e-5).

    Args:
        features: Feature maps of [image, mirrored image], (2, D, h, w) per scale, at least one.
        weight: Weight of the bias-free linear classifier, (K, D).
        image_labels: Tags of the image, (K,); above 0 means present.
        size: Height and width of the image, at least 1 pixel each.
        stride: Output stride of the network; the images were padded to its multiples.

    Returns:
        Maps in [0, 1], (K, H, W), float32 (float64 for float64 features); exactly 0 for absent
        classes.

    Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations",
    CVPR 2019; the high-resolution output of jiwoon-ahn/irn ``step/make_cam.py`` @ a2ece00. The
    authors' code also keeps a second, strided output.

    >>> features = [torch.ones(2, 1, 1, 1), torch.ones(2, 1, 2, 2)]
    >>> maps = multi_scale_cam(features, torch.ones(2, 1), torch.tensor([1, 0]), (16, 16))
    >>> maps.shape, maps.amax((1, 2))
    (torch.Size([2, 16, 16]), tensor([1.0000, 0.0000]))
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size is {size}; give the image's height and width in pixels")
    if not features:
        raise ValueError("features is empty; give one (2, D, h, w) tensor per scale")
    check_shapes("(K,) and (K, D)", image_labels=image_labels, weight=weight)
    padded = (-(-height // stride) * stride, -(-width // stride) * stride)
    cam = sum((_one_scale(pair, weight, padded) for pair in features), start=torch.zeros(()))
    cam = cam[:, :height, :width]
    # where, not a product: an overflow in an absent class would turn 0 * inf into NaN.
    cam = torch.where((image_labels > 0)[:, None, None], cam, torch.zeros_like(cam))
    return cam / (cam.amax((1, 2), keepdim=True) + _EPS)


def _one_scale(pair: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Add the rectified maps of an image and its mirror, and resize them to `size`, (K, H, W)."""
    wanted = "(2, D, h, w) = [image, mirrored image] and (K, D)"
    check_shapes(wanted, features=pair, weight=weight)
    # Half precision is too coarse for the sum over scales and the division by the maximum.
    cam = at_least_float32(class_activation_map(pair, weight).relu())
    both = cam[:1] + cam[1:].flip(-1)
    return F.interpolate(both, size=size, mode="bilinear", align_corners=False)[0]


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Sum a layer's channels, weighted by the mean gradient of a class logit.

    Args:
        activations: Output of the layer, (N, D, h, w).
        gradients: Gradient of the sum over images of one logit each with respect to it, same shape.

    Returns:
        Maps after the ReLU, not normalised, (N, h, w), >= 0. All 0 where the weighted sum of the
        channels is negative everywhere.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017, eq. (1) and (2). jacobgil/pytorch-grad-cam @ 084273b also normalises
    and resizes; this implementation leaves both to the caller.

    >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    >>> gradients = torch.tensor([[[[1.0, 1.0]], [[-1.0, 0.0]]]])
    >>> grad_cam(activations, gradients)
    tensor([[[0., 2.]]])
    """
    check_shapes("(N, D, h, w) and (N, D, h, w)", activations=activations, gradients=gradients)
    channel_weight = gradients.mean((2, 3), keepdim=True)
    return (channel_weight * activations).sum(1).relu()


def cam_to_label(cam: Tensor, image_labels: Tensor, bg_threshold: float) -> Tensor:
    """Label each pixel with its strongest tagged class, or background below a threshold.

    Args:
        cam: Maps of the foreground classes, usually in [0, 1], (N, K, H, W).
        image_labels: Tags, (N, K); above 0 means present.
        bg_threshold: Score of the background, on the scale of the maps.

    Returns:
        Class index per pixel, (N, H, W) int64: 0 = background, k + 1 = foreground class k. Ties
        with the background become background, also for a threshold <= 0. Ties between classes go
        to the lower index. A class outside the tags never wins.

    Equals an argmax after prepending a constant map, as in jiwoon-ahn/irn ``step/eval_cam.py`` @
    a2ece00.

    >>> cam = torch.tensor([0.9, 0.3]).view(1, 2, 1, 1)
    >>> [cam_to_label(cam, torch.tensor([tags]), 0.3).item() for tags in ([1, 1], [0, 1])]
    [1, 0]
    """
    check_shapes("(N, K, H, W) and (N, K)", cam=cam, image_labels=image_labels)
    tagged = cam.masked_fill((image_labels <= 0)[:, :, None, None], float("-inf"))
    # A prepended map and argmax would copy the maps, and -inf would tie with -inf.
    score, index = tagged.max(1)
    return torch.where(score > bg_threshold, index + 1, torch.zeros_like(index))


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
