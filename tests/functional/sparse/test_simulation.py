"""Simulated labels: what they may show, and that they depend on mask and seed alone."""

import numpy as np
import pytest
from scipy import ndimage

from tests.each import each
from wsss_zoo.data.sets.shapes_scenes import shapes_scene
from wsss_zoo.functional import simulate_blocks, simulate_boxes, simulate_points, simulate_scribbles

LABELS = {
    "scribbles": simulate_scribbles,
    "points": simulate_points,
    "blocks": lambda mask, seed: simulate_blocks(mask, seed, 0.2),
}


@pytest.fixture(scope="module")
def masks():
    made = [shapes_scene(0, number, 96).mask.copy() for number in range(6)]
    for mask in made:
        mask[40:43] = 255
        mask[-1, -1] = 9  # a class of a single pixel
    return made


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_a_part_of_the_mask_with_every_class(kind, masks):
    for number, mask in enumerate(masks):
        drawn = LABELS[kind](mask, number)
        assert drawn.dtype == np.uint8
        assert ((drawn == mask) | (drawn == 255)).all()
        assert set(np.unique(drawn)) - {255} == set(np.unique(mask)) - {255}
        assert 0 < (drawn != 255).mean() < 0.3


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_a_function_of_mask_and_seed(kind, masks):
    mask, before = masks[0], masks[0].copy()
    first = LABELS[kind](mask, [3, 5])
    assert first.tobytes() == LABELS[kind](mask, [3, 5]).tobytes()
    assert first.tobytes() != LABELS[kind](mask, [3, 6]).tobytes()
    assert LABELS[kind](mask, 3).tobytes() == LABELS[kind](mask, np.int64(3)).tobytes()
    np.testing.assert_array_equal(mask, before)


def test_strokes_may_leave_their_class_and_still_show_all(masks):
    outside = 0
    for number, mask in enumerate(masks):
        drawn = simulate_scribbles(mask, number, clip=False, width=5)
        assert set(np.unique(mask)) - {255} <= set(np.unique(drawn))
        outside += ((drawn != 255) & (drawn != mask)).sum()
    assert outside > 0


def test_points_lie_deep_and_their_errors_beside(masks):
    mask = np.zeros((60, 60), np.uint8)
    mask[10:51, 10:51] = 1
    depth = ndimage.distance_transform_edt(mask)
    drawn = [simulate_points(mask, seed, radius=0) for seed in range(60)]
    assert {(points == 1).sum() for points in drawn} == {1}
    assert {(points == 0).sum() for points in drawn} <= {2, 3}
    share = [depth[points == 1][0] / depth.max() for points in drawn]
    # With probability ~ depth^2 on a square: density 4 (1 - d) * d^2, mean 0.6.
    assert 0.55 < np.mean(share) < 0.65
    wrong = [simulate_points(mask, seed, radius=0, error=1.0) for seed in range(20)]
    assert all(mask[points == 1].max() == 0 for points in wrong)
    near = ndimage.binary_dilation(mask)
    assert all(near[points == 1].all() for points in wrong)


def test_boxes_cover_their_components_exactly(masks):
    for mask in masks:
        boxes, classes = simulate_boxes(mask, 0)
        covered = np.zeros((256, *mask.shape), bool)
        for (x0, y0, x1, y1), index in zip(boxes.astype(int), classes, strict=True):
            window = mask[y0:y1, x0:x1] == index
            for line in (window[0], window[-1], window[:, 0], window[:, -1]):
                assert line.any()
            covered[index, y0:y1, x0:x1] = True
        for index in range(1, 255):
            assert covered[index][mask == index].all()
        assert 0 not in classes
        assert 255 not in classes


def test_jittered_boxes_stay_in_the_image_and_have_an_area(masks):
    for seed in range(20):
        plain, classes = simulate_boxes(masks[0], seed)
        boxes, same = simulate_boxes(masks[0], seed, jitter=0.5)
        np.testing.assert_array_equal(classes, same)
        assert (boxes != plain).any()
        assert boxes.min() >= 0
        assert boxes.max() <= 96
        assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()


def test_blocks_show_their_share(masks):
    for share in (0.1, 0.2, 0.5, 0.99, 1.0):
        mask = masks[1]
        shown = simulate_blocks(mask, 0, share) != 255
        known = mask != 255
        assert share <= shown.sum() / known.sum() <= share + 0.03
    np.testing.assert_array_equal(simulate_blocks(mask, 0, 1.0), mask)


@each("simulate", [*LABELS.values(), simulate_boxes])
def test_masks_without_classes_or_with_one(simulate):
    empty = np.full((20, 30), 255, np.uint8)
    result = simulate(empty, 0)
    assert len(result[0]) == 0 if isinstance(result, tuple) else (result == 255).all()
    one = np.full((20, 30), 3, np.uint8)
    result = simulate(one, 0)
    assert result[1].tolist() == [3] if isinstance(result, tuple) else (result == 3).any()
    line = np.full((1, 300), 2, np.uint8)
    simulate(line, 0)


@each(
    ("call", "message"),
    [
        (lambda mask: simulate_points(mask, 0, error=2), "error is 2; give"),
        (lambda mask: simulate_boxes(mask, 0, jitter=-1), "jitter is -1; give"),
        (lambda mask: simulate_blocks(mask, 0, 0), "share is 0; give"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((4, 4), np.uint8))
