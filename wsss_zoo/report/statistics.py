"""Mean and spread over seeds, differences paired by seed, Student's t."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean of some values, and how sure it is.

    Args:
        mean: Mean of the values.
        spread: Their standard deviation (n - 1 in the denominator); None for one value.
        count: Number of values, at least 1.
        low: Lower end of the confidence interval of the mean; None for one value.
        high: Its upper end; None for one value.
    """

    mean: float
    spread: float | None
    count: int
    low: float | None
    high: float | None


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean, standard deviation and t interval of values that are independent of each other.

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
    mean = statistics.fmean(values)
    if len(values) == 1:
        t_quantile(confidence, 1)
        return Estimate(mean, None, 1, None, None)
    spread = statistics.stdev(values)
    half = t_quantile(confidence, len(values) - 1) * spread / math.sqrt(len(values))
    return Estimate(mean, spread, len(values), mean - half, mean + half)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> Estimate | None:
    """Difference to a baseline, over the seeds that both have; None if they share none.

    Args:
        values: A number for each seed.
        baseline: The same of the baseline.
        confidence: Of the interval, in (0, 1).

    Pairing takes out what the seed does to both (the images drawn, the order of the batches): only
    the spread of the differences counts.

    >>> paired_difference({0: 3.0, 1: 5.0}, {0: 2.0, 1: 4.0, 2: 9.0}).mean
    1.0
    """
    differences = [values[seed] - baseline[seed] for seed in sorted(values) if seed in baseline]
    return estimate(differences, confidence) if differences else None


def t_quantile(confidence: float, dof: int) -> float:
    """The t with P(-t < T < t) = ``confidence`` for Student's t with whole degrees of freedom.

    Args:
        confidence: In (0, 1).
        dof: Degrees of freedom, at least 1.

    Raises:
        ValueError: If an argument is out of its range.

    Bisection on the finite series of Abramowitz and Stegun, Handbook of Mathematical Functions,
    26.7.3 and 26.7.4.

    >>> round(t_quantile(0.95, 2), 4)
    4.3027
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if dof < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {dof}")
    low, high = 0.0, math.pi / 2
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return math.sqrt(dof) * math.tan(middle)
        if _central_probability(middle, dof) < confidence:
            low = middle
        else:
            high = middle


def _central_probability(angle: float, dof: int) -> float:
    """P(-t < T < t) for t = sqrt(dof) * tan(angle)."""
    odd = dof % 2 == 1
    cos_squared = math.cos(angle) ** 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    # The first factor of the next term is 2/3 (odd) or 1/2 (even).
    start = 3 if odd else 2
    for factor in range(start, dof + 1, 2):
        total += term
        term *= (factor - 1) / factor * cos_squared
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
