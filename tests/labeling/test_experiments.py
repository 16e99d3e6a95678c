"""What the proofs of `next` and `audit` plant and measure."""

import importlib
from pathlib import Path

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def planted_faults(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("planted_faults")


@pytest.fixture
def mask():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:60, 10:60] = 255
    mask[13:57, 13:57] = 2
    mask[80:90, 80:90] = 5
    return mask


def test_planters_change_what_they_say(planted_faults, mask):
    rng = np.random.default_rng(0)
    swapped = planted_faults.swap_class(mask, rng)
    assert (swapped[mask != 2] == mask[mask != 2]).all()
    assert set(np.unique(swapped[mask == 2])) < {1, 3, 4, 5, 6}
    gone = planted_faults.forget_object(mask, rng)
    assert not gone[:70, :70].any()
    assert (gone[80:] == mask[80:]).all()
    sizes = {int((planted_faults.move_outline(mask, rng) == 2).sum()) for _ in range(10)}
    assert len(sizes) == 2
    # 4 pixels to both sides of the middle of the ring.
    assert min(sizes) == pytest.approx((47 - 8) ** 2, rel=0.1)
    assert max(sizes) == pytest.approx((47 + 8) ** 2, rel=0.1)


def test_masks_without_an_object_are_left_alone(planted_faults):
    rng = np.random.default_rng(0)
    for planter in planted_faults.PLANTERS.values():
        for value in (0, 255):
            assert planter(np.full((20, 20), value, np.uint8), rng) is None


def test_auroc_counts_pairs(planted_faults):
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.3
    pairs = [0.5 if a == b else float(a > b) for a in scores[positive] for b in scores[~positive]]
    assert planted_faults.auroc(scores, positive) == pytest.approx(np.mean(pairs))


def test_area_is_that_per_unit_of_the_logarithm(planted_faults):
    area = planted_faults.replay_next.area
    assert area({"masks": [28, 55, 109], "miou": [0.3, 0.3, 0.3]}) == pytest.approx(0.3)
    assert area({"masks": [25, 100], "miou": [0.2, 0.4]}) == pytest.approx(0.3)
