"""Uncertainty against naive loops; the temperature against a grid and known distortions."""

import math

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    fit_temperature,
    pixel_entropy,
    pixel_margin,
    scale_probs,
    view_disagreement,
)


@pytest.fixture(scope="module")
def views():
    torch.manual_seed(0)
    return (3 * torch.randn(3, 4, 5, 6)).softmax(1)


def entropy(values):
    return -sum(p * math.log(p) for p in values if p > 0)


def test_entropy_and_margin_are_those_of_each_pixel(views):
    probs = views[0]
    shares, margins = pixel_entropy(probs), pixel_margin(probs)
    for y in range(5):
        for x in range(6):
            values = probs[:, y, x].tolist()
            assert shares[y, x] == pytest.approx(entropy(values) / math.log(4), abs=1e-5)
            second, first = sorted(values)[-2:]
            assert margins[y, x] == pytest.approx(1 - first + second, abs=1e-5)


def test_extremes_are_exact():
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert pixel_entropy(certain).tolist() == [0, 0]
    assert pixel_margin(certain).tolist() == [0, 0]
    even = torch.full((4, 2), 0.25)
    torch.testing.assert_close(pixel_entropy(even), torch.ones(2))
    assert pixel_margin(even).tolist() == [1, 1]


def test_disagreement_is_the_mean_divergence_from_the_mean(views):
    found = view_disagreement(views)
    for y in range(5):
        for x in range(6):
            rows = views[:, :, y, x].double().numpy()
            mean = rows.mean(0)
            expected = np.mean([(row * np.log(row / mean)).sum() for row in rows]) / math.log(3)
            assert found[y, x] == pytest.approx(expected, abs=1e-5)


def test_views_that_are_equally_unsure_agree():
    unsure = torch.full((2, 3, 4), 1 / 3)
    torch.testing.assert_close(view_disagreement(unsure), torch.zeros(4))
    many = torch.eye(3)[:, :, None].repeat(2, 1, 1)
    torch.testing.assert_close(view_disagreement(many), torch.ones(1))


def test_scaling_divides_logits():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    for temperature in (0.3, 1.0, 4.0):
        scaled = scale_probs(logits.softmax(0), temperature)
        torch.testing.assert_close(scaled, (logits / temperature).softmax(0))
    assert scale_probs(torch.tensor([1.0, 0.0]), 2.0).isfinite().all()


def test_temperature_is_that_which_distorted_the_probabilities():
    generator = torch.Generator().manual_seed(0)
    true = (2 * torch.randn(3, 10_000, generator=generator)).softmax(0)
    target = torch.multinomial(true.T, 1, generator=generator)[:, 0]
    target[:100] = 255
    for temperature in (0.4, 1.0, 2.5):
        distorted = scale_probs(true, temperature)
        found = fit_temperature(distorted, target)
        assert found == pytest.approx(1 / temperature, rel=0.08)
        grid = np.linspace(0.05, 5, 200)
        losses = [loss(distorted, target, value) for value in grid]
        assert found == pytest.approx(grid[np.argmin(losses)], abs=0.03)


def loss(probs, target, temperature):
    known = target != 255
    rows = (probs[:, known].double().log() / temperature).log_softmax(0)
    return -rows.gather(0, target[known][None]).mean().item()


def test_probabilities_of_zero_are_possible():
    probs = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert 0.05 <= fit_temperature(probs, torch.tensor([0, 1, 1])) <= 20.1


@each(
    ("call", "message"),
    [
        (lambda: pixel_entropy(torch.ones(1, 4)), "2 or more classes"),
        (lambda: pixel_margin(torch.ones(1, 4)), "2 or more classes"),
        (lambda: view_disagreement(torch.ones(1, 2, 3)), "two or more"),
        (lambda: scale_probs(torch.ones(2), 0.0), "above 0"),
        (lambda: fit_temperature(torch.ones(2, 3), torch.ones(4)), "do not fit"),
        (lambda: fit_temperature(torch.ones(2, 1), torch.tensor([255])), "no pixel with a class"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
