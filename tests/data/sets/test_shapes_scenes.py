"""Generated scenes: reproducible, balanced, with parts of one's own on shared bodies."""

import itertools
import random

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.data.sets import shapes_scenes as module
from wsss_zoo.data.sets.shapes_objects import OBJECT_CLASSES, REACH
from wsss_zoo.data.sets.shapes_scenes import SHAPES_CLASSES, shapes_scene


@pytest.fixture(scope="module")
def scenes():
    return [shapes_scene(3, index, 48) for index in range(600)]


@pytest.fixture(scope="module")
def layers():
    return [module._layers(np.random.default_rng(seed), 64) for seed in range(200)]


def grid(size=64):
    line = np.linspace(-1.4, 1.4, size, dtype=np.float32)
    return np.broadcast_to(line[None, :], (size, size)), np.broadcast_to(
        line[:, None], (size, size)
    )


def block(label, window, part=None):
    """An opaque rectangle; its part is all of it unless given."""
    shape = tuple(side.stop - side.start for side in window)
    part = np.ones(shape, bool) if part is None else part
    return module._Layer(window, label, np.ones(shape), np.zeros((*shape, 3)), part)


def test_classes():
    assert SHAPES_CLASSES[0] == "background"
    assert len(SHAPES_CLASSES) == len(set(SHAPES_CLASSES)) == 7


def test_types_and_values(scenes):
    for image, mask in scenes:
        assert (image.shape, image.dtype) == ((48, 48, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((48, 48), np.uint8)
        assert mask.max() < len(SHAPES_CLASSES)
        assert image.flags.writeable
        assert mask.flags.writeable


def test_depends_on_its_arguments_alone():
    first = shapes_scene(1, 2, 40)
    np.random.seed(0)
    random.seed(0)
    before = np.random.get_state()[1].copy(), random.getstate()
    again = shapes_scene(1, 2, 40)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]
    for other in (shapes_scene(2, 2, 40), shapes_scene(1, 3, 40), shapes_scene(2, 1, 40)):
        assert (other.image != first.image).mean() > 0.5


def test_every_class_is_as_frequent_as_the_others(scenes):
    present = np.array([np.bincount(mask.ravel(), minlength=7) > 0 for _, mask in scenes])
    assert present[:, 0].all()
    frequency = present[:, 1:].mean(0)
    assert (frequency > 0.18).all()
    assert (frequency < 0.36).all()
    tags = present[:, 1:].sum(1)
    assert set(tags) == {1, 2, 3}
    assert 1.3 < tags.mean() < 1.8


def test_class_areas(scenes):
    areas = [np.bincount(mask.ravel(), minlength=7)[1:] / mask.size for _, mask in scenes]
    areas = np.array(areas)
    visible = areas[areas > 0]
    assert visible.min() > 0.005
    assert visible.max() < 0.5
    assert 0.05 < np.median(visible) < 0.12
    assert 0.08 < areas.sum(1).mean() < 0.25
    # No class is told by its size.
    mean = np.array([column[column > 0].mean() for column in areas.T])
    assert mean.max() < 2 * mean.min()


@each("size", [32, 33, 50])
def test_small_scenes_always_show_an_object(size):
    assert all(shapes_scene(0, index, size).mask.any() for index in range(300))


def test_one_to_three_objects_of_which_the_last_stays(layers):
    assert {len(scene) for scene in layers} == {1, 2, 3}
    for scene in layers:
        kept = module._visible(scene, 64)
        assert kept[-1] is scene[-1]
        order = [next(i for i, layer in enumerate(scene) if layer is one) for one in kept]
        assert order == sorted(order)


def test_a_part_is_the_smaller_share_of_its_object(layers):
    for label in range(1, 7):
        shares = []
        for layer in itertools.chain(*layers):
            solid = layer.alpha >= 0.5
            if layer.label == label:
                assert (layer.part & solid).any()
                shares.append((layer.part & solid).sum() / solid.sum())
        assert 0.2 < np.median(shares) < 0.45


def test_two_classes_share_a_body_and_none_shares_a_part():
    u, v = grid()
    bodies = [kind.body(np.random.default_rng(5), u, v) for kind in OBJECT_CLASSES]
    parts = [kind.part(np.random.default_rng(5), u, v) for kind in OBJECT_CLASSES]
    for a, b in itertools.combinations(range(6), 2):
        same_body = np.array_equal(bodies[a][0], bodies[b][0]) and np.array_equal(
            bodies[a][1], bodies[b][1]
        )
        assert same_body == (a // 2 == b // 2)
        assert not np.array_equal(parts[a][0] < 0, parts[b][0] < 0)


@pytest.mark.parametrize("kind", OBJECT_CLASSES, ids=lambda kind: kind.name)
def test_an_object_fits_its_window_and_holds_its_anchor(kind):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        u, v = grid()
        (body, colour), (part, part_colour) = kind.body(rng, u, v), kind.part(rng, u, v)
        assert np.hypot(u, v)[np.minimum(body, part) < 0].max() < REACH
        assert colour.shape == part_colour.shape == (64, 64, 3)
        at = np.full((1, 1), kind.anchor[0]), np.full((1, 1), kind.anchor[1])
        assert kind.part(np.random.default_rng(seed), *at)[0] < 0
        assert (np.minimum(body, part) < 0).sum() > (body < 0).sum()


def test_later_objects_cover_earlier_ones(monkeypatch):
    first = block(1, (slice(0, 20), slice(0, 20)))
    second = block(2, (slice(5, 30), slice(12, 40)))
    monkeypatch.setattr(module, "_layers", lambda rng, size: [first, second])
    mask = shapes_scene(0, 0, 48).mask
    expected = np.zeros((48, 48), np.uint8)
    expected[:20, :20] = 1
    expected[5:30, 12:40] = 2
    np.testing.assert_array_equal(mask, expected)


def test_an_object_with_too_little_left_leaves_no_trace(monkeypatch):
    hidden = block(1, (slice(0, 20), slice(0, 20)))
    cover = block(2, (slice(0, 20), slice(7, 40)))
    monkeypatch.setattr(module, "_layers", lambda rng, size: [hidden, cover])
    assert set(np.unique(shapes_scene(0, 0, 48).mask)) == {0, 2}


def test_an_object_whose_part_is_hidden_is_left_out():
    part = np.zeros((20, 20), bool)
    part[:, 15:] = True
    window = (slice(0, 20), slice(0, 20))
    cover = block(2, (slice(0, 20), slice(15, 40)))
    assert module._visible([block(1, window, part), cover], 48) == [cover]
    assert len(module._visible([block(1, window, ~part), cover], 48)) == 2


def test_what_is_left_out_covers_nothing():
    # The middle one is hidden by the last, so it must not hide the first.
    first = block(1, (slice(0, 10), slice(0, 10)))
    middle = block(2, (slice(0, 40), slice(0, 40)))
    last = block(3, (slice(0, 40), slice(10, 48)))
    assert [layer.label for layer in module._visible([first, middle, last], 48)] == [1, 3]


def test_background_is_textured_and_objects_differ_from_it(scenes):
    for image, mask in scenes[:100]:
        assert image[mask == 0].std(0).min() > 4
    contrast = [
        np.abs(image[mask > 0].mean(0) - image[mask == 0].mean(0)).max() for image, mask in scenes
    ]
    assert np.median(contrast) > 20


@each(
    ("arguments", "message"),
    [
        ((-1, 0, 64), "seed is -1 and index is 0"),
        ((0, -2, 64), "index is -2"),
        ((0, 0, 31), "image_size is 31"),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        shapes_scene(*arguments)
