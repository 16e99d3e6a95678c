import math

import numpy as np
import pytest
import scipy.stats

from tests.each import each
from wsss_zoo.report.statistics import estimate, paired_difference


def half_width(confidence, count):
    """Of the interval of so many values, in standard deviations of their mean: a quantile of t."""
    found = estimate([float(number) for number in range(count)], confidence)
    return (found.high - found.low) / 2 / (found.spread / math.sqrt(count))


@each("confidence", [0.5, 0.9, 0.95, 0.999])
def test_quantile_is_that_of_scipy(confidence):
    for dof in (1, 2, 3, 4, 5, 9, 10, 29, 30, 101, 1000):
        expected = scipy.stats.t.ppf(0.5 + confidence / 2, dof)
        assert half_width(confidence, dof + 1) == pytest.approx(expected, rel=1e-9)


def test_quantile_of_the_printed_tables():
    for dof, expected in ((1, 12.706), (2, 4.303), (3, 3.182), (9, 2.262), (120, 1.980)):
        assert half_width(0.95, dof + 1) == pytest.approx(expected, abs=5e-4)


def test_estimate_is_that_of_scipy():
    values = [0.31, 0.47, 0.52, 0.39]
    found = estimate(values, 0.9)
    expected = scipy.stats.t.interval(0.9, 3, np.mean(values), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.spread == pytest.approx(np.std(values, ddof=1))
    assert found.count == 4


def test_one_value_has_no_spread_and_no_interval():
    found = estimate([0.4])
    assert (found.mean, found.spread, found.low, found.high) == (0.4, None, None, None)


def test_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [estimate(rng.normal(3, 2, 3).tolist(), 0.8) for _ in range(2000)]
    assert np.mean([f.low < 3 < f.high for f in found]) == pytest.approx(0.8, abs=0.03)


def test_difference_is_the_paired_t_test():
    ours, base = {0: 0.61, 1: 0.52, 2: 0.58, 7: 0.1}, {0: 0.55, 1: 0.49, 2: 0.5, 8: 0.9}
    found = paired_difference(ours, base)
    pairs = [[values[seed] for seed in (0, 1, 2)] for values in (ours, base)]
    expected = scipy.stats.ttest_rel(*pairs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.count == 3


def test_what_the_seed_does_to_both_cancels():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=5)
    found = paired_difference(dict(enumerate(noise + 2)), dict(enumerate(noise)))
    assert found.mean == pytest.approx(2)
    assert found.high - found.low == pytest.approx(0, abs=1e-12)


def test_no_seed_in_common():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_wrong_arguments():
    with pytest.raises(ValueError, match="no value"):
        estimate([])
    for confidence in (0, 1, -1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            estimate([1.0], confidence)
