"""Faults that are planted into masks, next to predictions of what is there."""

import numpy as np
import pytest
from scipy import ndimage

from tests.each import each
from wsss_zoo.functional import missing_object, sloppy_outline, swapped_class

SURE = 0.9


@pytest.fixture
def truth():
    mask = np.zeros((80, 100), np.uint8)
    mask[10:40, 10:45] = 1
    mask[45:70, 55:90] = 2
    return mask


def predicted(mask, classes=3):
    probs = np.full((classes, *mask.shape), (1 - SURE) / (classes - 1))
    np.put_along_axis(probs, mask[None].astype(int), SURE, 0)
    return probs


def test_no_fault_scores_low_in_a_true_mask(truth):
    probs = predicted(truth)
    assert swapped_class(probs, truth).score == pytest.approx((1 + 0.05 - 0.9) / 2)
    assert missing_object(probs, truth).score == 0
    assert sloppy_outline(probs, truth).score == 0


def test_swapped_class_is_named(truth):
    wrong = truth.copy()
    wrong[truth == 1] = 2
    wrong[truth == 2] = 0
    found = swapped_class(predicted(truth), wrong)
    assert found == (pytest.approx((1 + 0.9 - 0.05) / 2), 2, 1)


def test_swap_is_the_worst_of_naive_means(truth):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), truth.shape).transpose(2, 0, 1)
    pairs = {}
    for c in (1, 2, 3):
        for d in {1, 2, 3} - {c}:
            pixels = [(y, x) for y, x in np.ndindex(truth.shape) if truth[y, x] == c]
            if pixels:
                mean = np.mean([probs[d][p] - probs[c][p] for p in pixels])
                pairs[(1 + mean) / 2] = (c, d)
    found = swapped_class(probs, truth)
    assert found.score == pytest.approx(max(pairs))
    assert found[1:] == pairs[max(pairs)]


def test_what_the_network_takes_for_background_is_no_swap(truth):
    probs = predicted(np.zeros_like(truth))
    assert swapped_class(probs, truth).score == pytest.approx(0.5)


def test_forgotten_object_is_named_and_a_wide_outline_is_not(truth):
    wrong = np.where(truth == 2, 0, truth)
    found = missing_object(predicted(truth), wrong)
    assert found == (pytest.approx(SURE * 1 + 0.05 * 0), None, 2) or found.score > 0.85
    assert found.suspected == 2
    wide = np.where(ndimage.binary_dilation(truth == 1), 1, truth).astype(np.uint8)
    assert missing_object(predicted(wide), truth).score < 0.3 * found.score


def test_depth_is_the_radius_of_the_largest_disk():
    mask = np.zeros((100, 100), np.uint8)
    truth = mask.copy()
    truth[20:23, 20:60] = 1  # 3 pixels wide: 2 pixels from the middle to the outside
    found = missing_object(predicted(truth, 2), mask)
    assert found.score == pytest.approx(SURE * 2 / 5)
    assert missing_object(predicted(np.ones_like(mask), 2), mask).score == pytest.approx(SURE)


def test_ignored_pixels_miss_nothing(truth):
    wrong = np.where(truth == 2, 255, truth)
    assert missing_object(predicted(truth), wrong).score == 0


def test_outlines_grow_worse_with_their_distance(truth):
    probs, grown = predicted(truth), truth
    scores = []
    for _ in range(3):
        spread = ndimage.grey_dilation(grown, (3, 3))
        grown = np.where(grown == 0, spread, grown)
        scores.append(sloppy_outline(probs, grown).score)
    assert 0 < scores[0] < scores[1] < scores[2]
    # One pixel beside the outline, of a band of 5 % of sqrt(80 * 100), at a margin of 0.8; the
    # foreground of three classes has the probability 0.1 where background is predicted.
    assert scores[0] == pytest.approx(0.8 / (0.05 * 8000**0.5), rel=0.1)


def test_wrong_and_missing_classes_are_no_sloppy_outlines(truth):
    swapped = np.where(truth == 1, 2, truth).astype(np.uint8)
    assert sloppy_outline(predicted(truth), swapped).score == 0
    missed = predicted(np.zeros_like(truth))
    assert sloppy_outline(missed, truth).score == 0
    without = np.where(truth == 2, 0, truth)
    assert sloppy_outline(predicted(truth), without).score < 0.01


def test_ring_of_ignored_pixels_is_a_line(truth):
    ring = truth.copy()
    for label in (1, 2):
        inside = truth == label
        ring[ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)] = 255
    assert sloppy_outline(predicted(truth), ring).score == 0


def test_classes_without_background(truth):
    probs = predicted(truth)
    wrong = truth.copy()
    wrong[truth == 0] = 1
    assert swapped_class(probs, wrong, first_fg=0)[1:] == (1, 0)
    assert sloppy_outline(probs, truth, first_fg=0).score == 0
    moved = np.roll(truth, 2, axis=1)
    assert sloppy_outline(probs, moved, first_fg=0).score > 0.1


@each("fault", [swapped_class, missing_object, sloppy_outline])
def test_nothing_to_compare_is_no_fault(fault):
    probs = predicted(np.zeros((6, 7), np.uint8))
    for value in (0, 255):
        found = fault(probs, np.full((6, 7), value, np.uint8))
        assert found.score == 0


@each("fault", [swapped_class, missing_object, sloppy_outline])
def test_bad_input_is_refused(fault):
    probs = np.ones((3, 4, 5)) / 3
    with pytest.raises(ValueError, match="do not fit"):
        fault(probs, np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match="class index 3, but probs has 3"):
        fault(probs, np.full((4, 5), 3, np.uint8))
