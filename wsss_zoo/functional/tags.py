"""Image-level tags: read from a mask, and imposed on the scores of pixels."""

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes


def mask_to_image_labels(mask: Tensor, num_classes: int) -> Tensor:
    """Find the foreground classes that a mask shows, 0 or 1, (N, C - 1) float32.

    Args:
        mask: Class index per pixel, (N, H, W) int64 in 0..255, 0 the background; values from
            `num_classes` on, such as 255, are no class.
        num_classes: Number of classes C, background included.

    >>> mask_to_image_labels(torch.tensor([[[0, 2, 255]]]), 4)
    tensor([[0., 1., 0.]])
    """
    present = torch.zeros(len(mask), 256, device=mask.device)
    return present.scatter_(1, mask.flatten(1), 1.0)[:, 1:num_classes]


def gate_by_tags(
    logits: Tensor, image_labels: Tensor, has_image_labels: Tensor | None = None
) -> Tensor:
    """Set the logits of the foreground classes that an image is known not to show to -inf.

    After a softmax, the background and the tagged classes share the probability.

    Args:
        logits: Scores of the background (index 0) and K classes, (N, C, H, W) with C = K + 1.
        image_labels: Presence of each foreground class, (N, K), 0 or 1.
        has_image_labels: Whether an image's tags are known, (N,) bool; None if all are. The
            other images keep their logits.

    >>> logits = torch.zeros(1, 3, 1, 1)
    >>> gate_by_tags(logits, torch.tensor([[0, 1]])).softmax(1).flatten().tolist()
    [0.5, 0.0, 0.5]
    """
    wanted = "(N, K) and (N, K + 1, H, W), the background first"
    check_shapes(wanted, image_labels=image_labels, logits=logits)
    absent = image_labels == 0
    if has_image_labels is not None:
        absent = absent & has_image_labels[:, None]
    background = torch.zeros_like(absent[:, :1])
    return logits.masked_fill(torch.cat([background, absent], 1)[:, :, None, None], -torch.inf)


def reassign_by_tags(
    logits: Tensor, image_labels: Tensor, has_image_labels: Tensor | None = None
) -> Tensor:
    """Give the probability of the classes without a tag to the tagged ones, in proportion.

    After a softmax, each foreground class that an image is known not to show has probability 0,
    the background keeps its own, and the tagged classes share the rest as they did before. After
    `gate_by_tags` the background takes part in this share: an object that was confused with a
    class without a tag becomes background.

    Args:
        logits: Scores of the background (index 0) and K classes, (N, C, H, W) with C = K + 1.
        image_labels: Presence of each foreground class, (N, K), 0 or 1. Without any, all pixels
            are background.
        has_image_labels: Whether an image's tags are known, (N,) bool; None if all are. The
            other images keep their logits.

    >>> logits = torch.tensor([0.4, 0.5, 0.1]).log().view(1, 3, 1, 1)
    >>> reassign_by_tags(logits, torch.tensor([[0, 1]])).softmax(1).flatten()
    tensor([0.4000, 0.0000, 0.6000])
    """
    gated = gate_by_tags(logits, image_labels, has_image_labels)
    left = gated[:, 1:].logsumexp(1, keepdim=True)
    gain = torch.where(left == -torch.inf, 0, logits[:, 1:].logsumexp(1, keepdim=True) - left)
    return torch.cat([gated[:, :1], gated[:, 1:] + gain], 1)


def normalize_tagged(probs: Tensor, image_labels: Tensor) -> Tensor:
    """Divide each tagged class's probability by its maximum in the image, as CAMs are divided.

    A tag says that the image shows the class. So the pixels that are most like it are of that
    class, however unsure the network is. A class that is sure somewhere hardly changes. Afterwards
    the classes of a pixel sum to 1 again. The rule is ours, not a paper's.

    Args:
        probs: Probability of the background (index 0) and K classes, (N, K + 1, H, W) in [0, 1].
        image_labels: Presence of each foreground class in the whole image, (N, K), 0 or 1.

    >>> probs = torch.tensor([[0.9, 0.6], [0.1, 0.4]]).view(1, 2, 1, 2)
    >>> normalize_tagged(probs, torch.tensor([[1]]))[0, 1, 0]
    tensor([0.2174, 0.6250])
    """
    check_shapes(
        "(N, K) and (N, K + 1, H, W), the background first", image_labels=image_labels, probs=probs
    )
    highest = probs[:, 1:].amax((2, 3), keepdim=True)
    is_tagged = (image_labels > 0)[:, :, None, None] & (highest > 0)
    scaled = torch.cat([probs[:, :1], probs[:, 1:] / torch.where(is_tagged, highest, 1)], 1)
    return scaled / scaled.sum(1, keepdim=True)
