"""The order in which images are worth a label: unsure, lacking, and unlike the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_zoo.functional.labeling.coverage import image_needs, k_center_greedy


@dataclass(frozen=True)
class Ranked:
    """An image's place in the order."""

    #: Its place among the candidates.
    index: int
    #: Mean uncertainty of its pixels, in [0, 1].
    uncertainty: float
    #: What it probably shows of classes that lack labels; see `image_needs`.
    need: float


def rank_images(
    features: ArrayLike,
    uncertainty: ArrayLike,
    presence: ArrayLike,
    count: int,
    *,
    labeled_features: ArrayLike | None = None,
    class_counts: Sequence[float],
) -> list[Ranked]:
    """Choose the images to label next, the most useful first.

    It is `k_center_greedy` on encoder features of unit length, from those of the labelled images
    on. Distances are weighted by uncertainty times `image_needs`.

    Args:
        features: Mean features of the encoder, (N, D).
        uncertainty: Mean uncertainty of each image, (N,) in [0, 1].
        presence: Probability that an image shows a class, or its tags, (N, K) in [0, 1].
        count: Number of images to choose, at most N.
        labeled_features: Features of the labelled images, (M, D).
        class_counts: Labelled images by class, (K,).
    """
    unsure, needs = np.asarray(uncertainty, dtype=np.float64), image_needs(presence, class_counts)
    given = None if labeled_features is None else _unit(labeled_features)
    order = k_center_greedy(_unit(features), count, given=given, weights=unsure * needs)
    return [Ranked(i, float(unsure[i]), float(needs[i])) for i in order]


def _unit(features: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(features, dtype=np.float64)
    scaled: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return scaled
