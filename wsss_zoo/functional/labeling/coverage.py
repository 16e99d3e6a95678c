"""A choice of images that covers the others, and lacks of classes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def k_center_greedy(
    features: ArrayLike,
    count: int,
    *,
    given: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> list[int]:
    """Choose points one by one, each the farthest from all that are chosen already.

    Args:
        features: Points, (N, D).
        count: Number of points to choose, at most N.
        given: Points that count as chosen from the beginning, (M, D).
        weights: Factors of the distances, (N,) >= 0: how much a point is worth to be near.

    Returns:
        Indices in the order of choice; of equal ones the lowest first. Without ``given`` the first
        is that of the largest weight. Without it, or where all distances are 0, weights decide.

    Raises:
        ValueError: If shapes do not fit, a value is not finite, or ``count`` is not in [0, N].

    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
    ICLR 2018, algorithm 1. Weights are an addition.

    >>> k_center_greedy([[0.0], [1.0], [9.0], [5.0]], 2, given=[[0.0]])
    [2, 3]
    """
    points = _points(features, "features")
    worth = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    if worth.shape != (len(points),) or not np.isfinite(worth).all() or (worth < 0).any():
        raise ValueError(
            f"weights has shape {worth.shape} for {len(points)} points; give a finite number >= 0 "
            "for each"
        )
    if not 0 <= count <= len(points):
        raise ValueError(f"count is {count}, but there are {len(points)} points; give at most that")
    nearest = np.full(len(points), np.inf)
    if given is not None and len(known := _points(given, "given")):
        if known.shape[1] != points.shape[1]:
            raise ValueError(f"given has {known.shape[1]} features, the points {points.shape[1]}")
        for point in known:
            nearest = np.minimum(nearest, _distances(points, point))
    left = np.ones(len(points), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        value = worth if np.isinf(nearest).all() else worth * nearest
        if not value[left].any():
            value = worth
        best = int(np.where(left, value, -1.0).argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.minimum(nearest, _distances(points, points[best]))
    return chosen


def class_needs(counts: ArrayLike) -> NDArray[np.float64]:
    """Compute how much each class lacks labels, from the number of labelled images that show it.

    Args:
        counts: Labelled images by class, (K,) >= 0.

    Returns:
        (1 + count) ** -0.5 divided by the largest, (K,) in (0, 1].

    >>> class_needs([0, 3, 8]).round(3).tolist()
    [1.0, 0.5, 0.333]
    """
    numbers = np.asarray(counts, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not (numbers >= 0).all():
        raise ValueError(f"counts is {counts!r}; give a number >= 0 for each class")
    needs = (1 + numbers) ** -0.5
    largest: NDArray[np.float64] = needs / needs.max()
    return largest


def image_needs(presence: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
    """Compute how much of what lacks labels each image probably shows.

    Args:
        presence: Probability that an image shows a class, (N, K) in [0, 1].
        counts: Labelled images by class, (K,) >= 0.

    Returns:
        1 plus the sum over the classes of presence and `class_needs`, (N,).

    >>> image_needs([[1, 0], [0, 1], [0, 0]], [0, 3]).tolist()
    [2.0, 1.5, 1.0]
    """
    shown, needs = np.asarray(presence, dtype=np.float64), class_needs(counts)
    if shown.ndim != 2 or shown.shape[1] != len(needs):
        raise ValueError(f"presence {shown.shape} does not fit {len(needs)} classes; give (N, K)")
    if not ((shown >= 0) & (shown <= 1)).all():
        raise ValueError("presence has values outside [0, 1]; give probabilities")
    result: NDArray[np.float64] = 1 + shown @ needs
    return result


def _points(values: ArrayLike, name: str) -> NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"{name} has shape {points.shape}; give finite numbers (N, D)")
    return points


def _distances(points: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(points - point, axis=1)
    return distances
