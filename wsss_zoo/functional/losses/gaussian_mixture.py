"""Losses of a mixture that the labelled pixels of each image define in feature space."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

_EPSILON = 1e-6


def class_centers(features: Tensor, mask: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Average the features of the labelled pixels of each class in each image.

    Equals the mean over the features resized bilinearly to the mask. This implementation resizes
    the labels with the adjoint instead: the resized features never exist.

    Args:
        features: (N, D, h, w); gradients flow through them.
        mask: Class index per pixel, (N, H, W) int64; 255 for an unlabelled pixel.
        num_classes: C, with the background.

    Returns:
        Centers (N, C, D), 0 for classes without a labelled pixel, float32 (float64 for float64
        features), and which classes have one, (N, C) bool.

    Wu et al., "Sparsely Annotated Semantic Segmentation with Adaptive Gaussian Mixtures", CVPR
    2023.

    >>> features = torch.tensor([[[[1.0, 3.0, 5.0]]]])
    >>> class_centers(features, torch.tensor([[[0, 0, 255]]]), num_classes=2)
    (tensor([[[2.],
             [0.]]]), tensor([[ True, False]]))
    """
    check_shapes("(N, D, h, w) and (N, H, W)", features=features, mask=mask)
    features = at_least_float32(features)
    classes = torch.arange(num_classes, device=mask.device)[:, None, None]
    planes = (mask[:, None] == classes).to(features.dtype)
    count = planes.sum((2, 3))
    with torch.autocast(features.device.type, enabled=False):
        rows, columns = (
            _resizing(small, full, features)
            for small, full in zip(features.shape[2:], mask.shape[1:], strict=True)
        )
        shares = rows.T @ (planes @ columns)
        sums = shares.flatten(2) @ features.flatten(2).transpose(1, 2)
    return sums / count.clamp_min(1)[..., None], count > 0


def center_responses(
    features: Tensor,
    centers: Tensor,
    present: Tensor,
    size: tuple[int, int],
    valid: Tensor | None = None,
) -> Tensor:
    """Compute exp(-d^2) of the mean absolute difference d of each pixel and each class center.

    Args:
        features: (N, D, h, w); gradients flow through them and through the centers.
        centers: One vector per class, (N, C, D).
        present: Classes that have a center, (N, C) bool; the others respond with 0.
        size: Height and width to which the responses are resized bilinearly.
        valid: False on padding, (N, H, W) bool; None for no padding. It is resized bilinearly to
            the features and multiplies the distances.

    Returns:
        Responses in [0, 1], (N, C, *size), float32 (float64 for float64 features).

    Wu et al. (AGMM), CVPR 2023, as in the authors' code (Luffy03/AGMM-SASS @ 6a60ea0). The adaptive
    variance of the paper is disabled in that code.

    >>> features, centers = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[1.0], [7.0]]])
    >>> center_responses(features, centers, torch.tensor([[True, False]]), (1, 2))[0, 0]
    tensor([[1.0000, 0.3679]])
    """
    check_shapes(
        "(N, D, h, w), (N, C, D) and (N, C)", features=features, centers=centers, present=present
    )
    features = at_least_float32(features)
    grid = features.shape[2:]
    with torch.autocast(features.device.type, enabled=False):
        distance = _distances(features.flatten(2).transpose(1, 2), centers.to(features.dtype))
        distance = distance.transpose(1, 2).reshape(*present.shape, *grid)
        if valid is not None:
            check_shapes("(N, D, h, w) and (N, H, W)", features=features, valid=valid)
            inside = valid.to(features.dtype)[:, None]
            distance = distance * F.interpolate(inside, grid, mode="bilinear")
        response = (-distance.square()).exp() * present[..., None, None]
        return F.interpolate(response, size, mode="bilinear")


def center_separation(centers: Tensor, present: Tensor) -> Tensor:
    """Average exp(-d^2) over the pairs of classes that are present in the batch.

    d is the mean absolute difference of the two classes' sums of centers over the images. It is the
    sum in the authors' code, not the mean: twice the same batch doubles the distances.

    Args:
        centers: One vector per image and class, (N, C, D).
        present: Classes that an image has, (N, C) bool.

    Returns:
        A float32 scalar (float64 for float64 centers); 0 with fewer than two classes.

    Wu et al. (AGMM), CVPR 2023, as in the authors' code (Luffy03/AGMM-SASS @ 6a60ea0).

    >>> centers, present = torch.tensor([[[0.0], [1.0], [9.0]]]), torch.tensor([[1, 1, 0]]).bool()
    >>> center_separation(centers, present)
    tensor(0.3679)
    """
    check_shapes("(N, C, D) and (N, C)", centers=centers, present=present)
    centers = at_least_float32(centers)
    count = present.sum(0).to(centers.dtype)[:, None]
    sums = torch.where(present[..., None], centers, 0).sum(0) * (count / (count + _EPSILON))
    with torch.autocast(centers.device.type, enabled=False):
        distance = torch.cdist(sums, sums, p=1) / centers.shape[2]
    known = present.any(0)
    pairs = (known[:, None] & known).triu(1)
    closeness = torch.where(pairs, (-distance.square()).exp(), 0)
    return closeness.sum() / pairs.sum().clamp_min(1)


def gaussian_mixture_loss(
    logits: Tensor, features: Tensor, mask: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Let a network's probabilities and the mixture of its labelled features teach each other.

    The loss is L_self + L_label + L_sep. With the probabilities P, the responses r of
    `center_responses` and B(t, x) = -(t log(x + 1e-6) + (1 - t) log(1 - x + 1e-6)) / 2, averaged
    over the classes that are labelled in an image:

    * L_self: mean of B(r, P) over the valid pixels.
    * L_label: mean of B(y, r) over the labelled pixels, y one-hot.
    * L_sep: `center_separation`.

    Nothing is detached.

    Args:
        logits: Scores, (N, C, H, W).
        features: Features of the decoder, (N, D, h, w).
        mask: Class index per pixel, (N, H, W) int64; 255 for an unlabelled pixel.
        valid: False on padding, (N, H, W) bool; None for no padding.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 with a zero gradient if nothing is
        labelled. One class alone has no separation.

    Wu et al., "Sparsely Annotated Semantic Segmentation with Adaptive Gaussian Mixtures", CVPR
    2023, as in the authors' code (Luffy03/AGMM-SASS @ 6a60ea0), whose variance is fixed to 1/2. In
    that code a crop without a labelled pixel gives NaN.

    >>> mask = torch.tensor([[[0, 255, 1]]])
    >>> features = torch.tensor([[[[0.0, 5.0, 9.0]]]])
    >>> gaussian_mixture_loss(torch.zeros(1, 2, 1, 3), features, mask)
    tensor(0.3466)
    """
    check_shapes("(N, C, H, W) and (N, H, W)", logits=logits, mask=mask)
    C = logits.shape[1]
    centers, present = class_centers(features, mask, C)
    size = mask.shape[1], mask.shape[2]
    response = center_responses(features, centers, present, size, valid)
    share = present / (present.sum(1, keepdim=True) + _EPSILON)
    share = share.to(response.dtype)[..., None, None]

    probs = at_least_float32(logits).softmax(1)
    log_in, log_out = (probs + _EPSILON).log(), (1 - probs + _EPSILON).log()
    by_pixel = -((response * log_in + (1 - response) * log_out) * share).sum(1) / 2
    if valid is None:
        consistency = by_pixel.mean()
    else:
        inside = valid.bool()
        consistency = torch.where(inside, by_pixel, 0).sum() / inside.sum().clamp_min(1)

    own = mask[:, None] == torch.arange(C, device=mask.device)[:, None, None]
    truth = torch.where(own, response, 1 - response)
    by_pixel = -((truth + _EPSILON).log() * share).sum(1) / 2
    labelled = mask != 255
    fit = torch.where(labelled, by_pixel, 0).sum() / labelled.sum().clamp_min(1)
    return consistency + fit + center_separation(centers, present)


def _resizing(small: int, full: int, like: Tensor) -> Tensor:
    """Matrix (full, small) that resizes a side bilinearly."""
    identity = torch.eye(small, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], full, mode="linear")[0].T


def _distances(pixels: Tensor, centers: Tensor) -> Tensor:
    """Mean absolute differences of pixels (N, P, D) and centers (N, C, D): (N, P, C)."""
    # On CUDA the gradient of cdist needs a difference per pair: one class at a time.
    block = centers.shape[1] if pixels.device.type == "cpu" else 1
    parts = [torch.cdist(pixels, some, p=1) for some in torch.split(centers, block, 1)]
    return torch.cat(parts, 2) / pixels.shape[2]
