"""What image-level tags say about the pixels."""

import torch
from torch import Tensor


def gate_by_tags(
    logits: Tensor, image_labels: Tensor, has_image_labels: Tensor | None = None
) -> Tensor:
    """Rule out the foreground classes that an image is known not to show.

    After a softmax the background and the tagged classes share the probability.

    Args:
        logits: Scores of the background (index 0) and K classes, (N, C, H, W) with C = K + 1.
        image_labels: Presence of each foreground class, (N, K), 0 or 1.
        has_image_labels: Whether an image's tags are known, (N,) bool; None if all are. Images
            without keep their logits.

    Returns:
        The logits, with -inf for absent classes.

    Raises:
        ValueError: If the tags are not of the logits' foreground classes.

    >>> logits = torch.zeros(1, 3, 1, 1)
    >>> gate_by_tags(logits, torch.tensor([[0, 1]])).softmax(1).flatten().tolist()
    [0.5, 0.0, 0.5]
    """
    if image_labels.shape != (logits.shape[0], logits.shape[1] - 1):
        raise ValueError(
            f"image_labels {tuple(image_labels.shape)} do not fit logits {tuple(logits.shape)}; "
            "give (N, K) for (N, K + 1, H, W), the background first"
        )
    absent = image_labels == 0
    if has_image_labels is not None:
        absent = absent & has_image_labels[:, None]
    background = torch.zeros_like(absent[:, :1])
    return logits.masked_fill(torch.cat([background, absent], 1)[:, :, None, None], -torch.inf)
