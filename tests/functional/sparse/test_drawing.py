"""Strokes, points and boxes against naive drawings."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.each import each
from wsss_zoo.functional import boxes_to_mask, draw_strokes
from wsss_zoo.functional.sparse.drawing import box_mask, disc_mask


def random_strokes(rng, count=4):
    return [rng.integers(-5, 45, (int(rng.integers(1, 6)), 2)) for _ in range(count)]


@each(("seed", "width"), [(seed, width) for seed in range(4) for width in (1, 3, 6)])
def test_strokes_are_lines_and_discs_in_order(seed, width):
    strokes = random_strokes(np.random.default_rng(seed))
    image = Image.new("L", (40, 30), 255)
    draw = ImageDraw.Draw(image)
    for index, stroke in enumerate(strokes):
        joints = [tuple(joint) for joint in stroke.tolist()]
        if len(joints) > 1:
            draw.line(joints, index, width, joint="curve")
        for x, y in joints:
            box = (x - width / 2, y - width / 2, x + width / 2, y + width / 2)
            draw.ellipse(box, fill=index)
    drawn = draw_strokes(strokes, range(4), (30, 40), width)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, np.array(image))


def test_a_stroke_outside_draws_nothing_and_none_draw_255():
    assert (draw_strokes([[[90, 90], [95, 99]]], [1], (10, 12)) == 255).all()
    assert (draw_strokes([], [], (10, 12)) == 255).all()
    assert draw_strokes([], [], (10, 12)).shape == (10, 12)


def test_boxes_and_discs_are_those_of_pixel_centres():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x0, y0, x1, y1 = rng.uniform(-2, 12, 4)
        x, y, radius = *rng.uniform(-6, 15, 2), rng.uniform(0, 4)
        box, disc = box_mask([x0, y0, x1, y1], (9, 10)), disc_mask(x, y, radius, (9, 10))
        for i in range(9):
            for j in range(10):
                assert box[i, j] == (x0 <= j + 0.5 < x1 and y0 <= i + 0.5 < y1)
                near = (j + 0.5 - x) ** 2 + (i + 0.5 - y) ** 2 <= radius**2
                within = 0 <= x < 10 and 0 <= y < 9 and (int(x), int(y)) == (j, i)
                assert disc[i, j] == (near or within)
    assert disc_mask(4.5, 4.5, 2, (9, 9)).sum() == 13


def test_the_middles_of_boxes_have_their_share_and_small_ones_lie_on_top():
    mask = boxes_to_mask([[40, 40, 60, 60], [0, 0, 100, 100]], [2, 1], (100, 200), core=0.25)
    assert (mask == 1).sum() == 2500 - 100
    assert (mask == 2).sum() == 100
    assert (mask[:, 100:] == 0).all()
    assert (mask == 255).sum() == 7500
    filled = boxes_to_mask([[1, 1, 3, 3]], [7], (4, 4), core=1)
    assert (filled == 7).sum() == 4
    assert (filled == 0).sum() == 12
    assert set(np.unique(boxes_to_mask([[1, 1, 3, 3]], [7], (4, 4), core=0))) == {0, 255}


def test_corners_come_in_any_order_and_no_box_is_background():
    given = boxes_to_mask([[3, 9, 8, 2]], [1], (10, 10))
    np.testing.assert_array_equal(given, boxes_to_mask([[3, 2, 8, 9]], [1], (10, 10)))
    assert (boxes_to_mask(np.empty((0, 4)), [], (3, 4)) == 0).all()


@each(
    ("call", "message"),
    [
        (lambda: draw_strokes([[[1, 1]]], [1], (4, 4), width=0), "width is 0; give"),
        (lambda: draw_strokes([[[1, 1]]], [], (4, 4)), "1 strokes and 0 classes; give"),
        (lambda: draw_strokes([[[1, 1]]], [255], (4, 4)), "class 255; give"),
        (lambda: draw_strokes([[[1, 1, 1]]], [1], (4, 4)), r"shape \(1, 3\); give joints"),
        (lambda: draw_strokes([[]], [1], (4, 4)), "no joint; give"),
        (lambda: draw_strokes([[[1, np.nan]]], [1], (4, 4)), "is no number; give"),
        (lambda: boxes_to_mask([[1, 1, 2]], [1], (4, 4)), r"shape \(1, 3\); give boxes"),
        (lambda: boxes_to_mask([[1, 1, 2, 2]], [1, 2], (4, 4)), "1 boxes and classes .2,.; give"),
        (lambda: boxes_to_mask([[1, 1, 2, 2]], [1], (4, 4), core=2), "core is 2; give"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
