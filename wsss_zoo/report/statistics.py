"""Mean and spread over seeds, differences paired by seed, Student's t."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


@dataclass(frozen=True)
class Estimate:
    """Mean of ``count`` values, their standard deviation (n - 1) and the mean's interval.

    Of a single value there is neither deviation (``spread``) nor interval (``low``, ``high``).
    """

    mean: float
    spread: float | None
    count: int
    low: float | None
    high: float | None


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Estimate the mean of independent values and its Student's t interval.

    Args:
        values: At least one.
        confidence: Probability that the interval holds the true mean, in (0, 1).

    Raises:
        ValueError: If there is no value, or ``confidence`` is not in (0, 1).

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> found.mean, found.spread, round(found.low, 3), round(found.high, 3)
    (2.0, 1.0, -0.484, 4.484)
    """
    if not values:
        raise ValueError("there is no value to take the mean of")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    mean, count = statistics.fmean(values), len(values)
    if count == 1:
        return Estimate(mean, None, 1, None, None)
    spread = statistics.stdev(values)
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * spread / math.sqrt(count)
    return Estimate(mean, spread, count, mean - half, mean + half)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> Estimate | None:
    """Estimate the difference to a baseline over the seeds that both have; None if they share none.

    Pairing removes what a seed does to both, as the choice of images and the order of batches.

    >>> paired_difference({0: 3.0, 1: 5.0}, {0: 2.0, 1: 4.0, 2: 9.0}).mean
    1.0
    """
    differences = [values[seed] - baseline[seed] for seed in sorted(values) if seed in baseline]
    return estimate(differences, confidence) if differences else None
