"""The line against numpy's and scipy's fits."""

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from tests.each import each
from wsss_zoo.functional import fit_learning_curve


@each("count", [2, 3, 7])
def test_line_and_error_are_those_of_weighted_least_squares(count):
    rng = np.random.default_rng(count)
    labels = np.array([10, 20, 40, 80, 160, 320, 640])[:count]
    errors = rng.uniform(0.005, 0.02, count)
    scores = 0.2 + 0.1 * np.log(labels) + rng.normal(size=count) * errors
    curve = fit_learning_curve(labels, scores, errors)

    def line(x, a, b):
        return a + b * np.log(x)

    (a, b), covariance = curve_fit(line, labels, scores, sigma=errors, absolute_sigma=True)
    assert curve.intercept == pytest.approx(a, abs=1e-6)
    assert curve.slope == pytest.approx(b, abs=1e-6)
    chi = (((scores - line(labels, a, b)) / errors) ** 2).sum() / max(1, count - 2)
    expected = math.sqrt(covariance[1, 1] * max(1, chi))
    assert curve.slope_error == pytest.approx(expected, rel=1e-4)
    gain, error = curve.gain(int(labels[-1]), 20)
    assert gain == pytest.approx(curve.score(labels[-1] + 20) - curve.score(labels[-1]))
    assert error == pytest.approx(expected * math.log(1 + 20 / labels[-1]), rel=1e-4)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    labels, errors = [28, 55, 109], [0.02] * 3
    hits = 0
    for _ in range(400):
        scores = 0.1 + 0.1 * np.log(labels) + rng.normal(size=3) * 0.02
        gain, error = fit_learning_curve(labels, scores, errors).gain(109, 109)
        hits += abs(gain - 0.1 * math.log(2)) < error
    assert 0.6 < hits / 400 < 0.85


@each(
    ("arguments", "message"),
    [
        (([10, 10], [0.1, 0.2], [0.1, 0.1]), "same number of labels"),
        (([10, 20], [0.1], [0.1, 0.1]), "one of each"),
        (([0, 20], [0.1, 0.2], [0.1, 0.1]), "at least 1"),
        (([10, 20], [0.1, 0.2], [0.0, 0.1]), "above 0"),
        (([10, 20], [math.nan, 0.2], [0.1, 0.1]), "finite"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_learning_curve(*arguments)


def test_forecast_needs_labels():
    curve = fit_learning_curve([10, 20], [0.1, 0.2], [0.1, 0.1])
    assert curve.gain(10, 0) == (0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        curve.gain(0, 5)
