"""Signs that given tags are wrong, from the probability that an image shows a class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def class_presence(
    probs: NDArray[np.floating], first_fg: int = 1, share: float = 0.01
) -> NDArray[np.float64]:
    """Compute how sure a segmentation is that each class is in the image.

    Args:
        probs: Class probabilities of each pixel, (C, H, W).
        first_fg: Index of the first foreground class, 0 or 1.
        share: Share of the pixels, in (0, 1], whose mean counts: those of the highest probability.

    Returns:
        Mean probability of each foreground class over its best pixels, (K,) in [0, 1].
    """
    if probs.ndim != 3 or len(probs) <= first_fg or not 0 < share <= 1:
        raise ValueError(
            f"probs has shape {probs.shape} and share is {share}; give (C, H, W) with a foreground "
            "class, and a share in (0, 1]"
        )
    pixels = probs[first_fg:].reshape(len(probs) - first_fg, -1)
    count = max(1, round(share * pixels.shape[1]))
    best = np.partition(pixels, -count, axis=1)[:, -count:]
    means: NDArray[np.float64] = best.mean(1, dtype=np.float64)
    return means


def tag_faults(
    presence: ArrayLike, image_labels: ArrayLike, *, adjust: bool = True
) -> NDArray[np.float64]:
    """Score the suspicion that a tag is missing or wrong.

    The confidence in a tag is the presence of its class if it is given, else 1 - presence. The
    score is 1 - confidence. Some classes are always predicted with less confidence. With ``adjust``
    the score is therefore the mean confidence, of this class and of the images that have the tag
    (or have it not), less the confidence; it lies in [-1, 1].

    Args:
        presence: Probability that an image shows a class, (N, K) in [0, 1].
        image_labels: Given tags, (N, K); above 0 means present.
        adjust: Whether confidences are compared within a class.

    Returns:
        Scores, (N, K); the larger the more suspicious.

    Northcutt, Jiang and Chuang, "Confident Learning", JAIR 2021, section 4 (self-confidence and
    its thresholds by class), for each tag by itself.

    >>> tag_faults([[0.9], [0.2], [0.1]], [[1], [1], [0]], adjust=False).round(2).tolist()
    [[0.1], [0.8], [0.1]]
    """
    shown, tagged = np.asarray(presence, dtype=np.float64), np.asarray(image_labels) > 0
    if shown.shape != tagged.shape or shown.ndim != 2:
        raise ValueError(
            f"presence {shown.shape} and image_labels {tagged.shape}; give both (N, K)"
        )
    if not ((shown >= 0) & (shown <= 1)).all():
        raise ValueError("presence has values outside [0, 1]; give probabilities")
    confidence = np.where(tagged, shown, 1 - shown)
    if not adjust:
        return 1 - confidence
    usual = np.empty_like(confidence)
    for k in range(shown.shape[1]):
        for side in (tagged[:, k], ~tagged[:, k]):
            if side.any():
                usual[side, k] = confidence[side, k].mean()
    return usual - confidence
