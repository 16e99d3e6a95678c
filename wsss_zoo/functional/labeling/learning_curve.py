"""What more labels would bring, from measurements with fewer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LearningCurve:
    """A line in the logarithm of the number of labels; made by `fit_learning_curve`."""

    #: Score of a single label, and what is added each time their number grows by the factor e.
    intercept: float
    slope: float
    #: Standard error of the slope.
    slope_error: float

    def score(self, labels: float) -> float:
        """Compute the score that the line has at a number of labels, at least 1."""
        return self.intercept + self.slope * math.log(labels)

    def gain(self, labels: int, more: int) -> tuple[float, float]:
        """Forecast what ``more`` labels add to ``labels``: the gain and its standard error.

        >>> LearningCurve(0.2, 0.1, 0.01).gain(10, 10)
        (0.06931471805599453, 0.006931471805599453)
        """
        if labels < 1 or more < 0:
            raise ValueError(f"labels is {labels} and more {more}; give at least 1 and 0")
        steps = math.log((labels + more) / labels)
        return self.slope * steps, self.slope_error * steps


def fit_learning_curve(
    labels: Sequence[float], scores: Sequence[float], errors: Sequence[float]
) -> LearningCurve:
    """Fit a line in the logarithm of the number of labels to measured scores.

    Weighted least squares. Where the scores scatter more than their errors say, which shows with
    three or more, the error of the slope grows by the square root of chi-square per degree of
    freedom.

    Args:
        labels: Numbers of labels, (M,) >= 1, of at least two sizes.
        scores: Score of each training, for example val mIoU.
        errors: Standard error of each score, above 0.

    Raises:
        ValueError: If lengths differ, a number is out of range, or all sizes are the same.

    A line in the logarithm has no ceiling: forecast no more than a doubling. Hoiem et al.,
    "Learning Curves for Analysis of Deep Networks", ICML 2021, compare such models; theirs are
    powers of the number of labels, for which two or three measurements are too few.

    >>> curve = fit_learning_curve([10, 20], [0.3, 0.4], [0.01, 0.01])
    >>> [round(value, 3) for value in curve.gain(20, 20)]
    [0.1, 0.014]
    """
    sizes, values, sigmas = (np.asarray(x, dtype=np.float64) for x in (labels, scores, errors))
    if not sizes.shape == values.shape == sigmas.shape or sizes.ndim != 1:
        raise ValueError(
            f"there are {sizes.size} numbers of labels, {values.size} scores and {sigmas.size} "
            "errors; give one of each for a training"
        )
    if not ((sizes >= 1).all() and (sigmas > 0).all() and np.isfinite(values).all()):
        raise ValueError("labels must be at least 1, errors above 0 and scores finite")
    if len(np.unique(sizes)) < 2:
        raise ValueError("all trainings had the same number of labels; give one with fewer")
    design = np.stack([np.ones_like(sizes), np.log(sizes)], axis=1) / sigmas[:, None]
    covariance = np.linalg.inv(design.T @ design)
    intercept, slope = covariance @ design.T @ (values / sigmas)
    residuals = values / sigmas - design @ np.array([intercept, slope])
    freedom = len(sizes) - 2
    scatter = float(residuals @ residuals) / freedom if freedom else 1.0
    error = math.sqrt(covariance[1, 1] * max(1.0, scatter))
    return LearningCurve(float(intercept), float(slope), error)
