"""The classes that a pixel may have, against the rule written as a loop."""

import numpy as np
import torch

from tests.each import each
from wsss_zoo.data.reading.sparse_files import SparseLabel
from wsss_zoo.data.supervision.possible import (
    fill_pseudo,
    image_classes,
    known_pixels,
    pixel_classes,
)

SIZE = (12, 15)
C = 4


def random_label(rng, boxes=3, unused=False):
    mask = rng.choice([255, 255, 255, 0, 1, 2, 3], SIZE).astype(np.uint8)
    corners = np.sort(rng.uniform(0, 12, (boxes, 2, 2)), 1).reshape(-1, 4)
    classes = rng.integers(1, C, boxes)
    if unused:
        classes[0] = 255
    return SparseLabel(mask, mask != 255, corners, classes)


def in_box(box, i, j):
    return box[0] <= j + 0.5 < box[2] and box[1] <= i + 0.5 < box[3]


@each(("seed", "unused"), [(seed, seed % 2 == 1) for seed in range(6)])
def test_possible_sets_equal_the_rule(seed, unused):
    rng = np.random.default_rng(seed)
    label = random_label(rng, unused=unused)
    allowed = rng.random(C) < 0.6
    known = known_pixels(label, complete_boxes=True, background=True)
    mask = torch.from_numpy(known.mask)
    planes = {index: torch.zeros(SIZE, dtype=torch.bool) for index in range(1, C)}
    planes |= {index: torch.from_numpy(plane) for index, plane in known.boxes.inside.items()}
    possible = pixel_classes(mask, allowed, planes, torch.from_numpy(known.boxes.unused))
    assert possible.any(0).all()
    for i in range(SIZE[0]):
        for j in range(SIZE[1]):
            pairs = zip(label.boxes, label.box_classes, strict=True)
            around = [int(index) for box, index in pairs if in_box(box, i, j)]
            if not around and label.mask[i, j] == 255:
                assert mask[i, j] == 0
            if mask[i, j] != 255:
                wanted = {int(mask[i, j])}
            else:
                free = set(range(C)) if 255 in around else {0, *around}
                wanted = {c for c in free if allowed[c]} or set(range(C))
            assert set(possible[:, i, j].nonzero()[:, 0].tolist()) == wanted


def test_boxes_that_are_not_complete_say_nothing_outside():
    label = random_label(np.random.default_rng(0))
    blank = label._replace(mask=np.full(SIZE, 255, np.uint8), drawn=np.zeros(SIZE, bool))
    known = known_pixels(blank, complete_boxes=False, background=True)
    assert known.boxes is None
    assert known.box_classes == frozenset(label.box_classes.tolist())
    assert 0 not in known.mask
    assert (known.mask != 255).any()
    without = known_pixels(blank, complete_boxes=True, background=False)
    np.testing.assert_array_equal(without.mask, known.mask)


def test_explicit_labels_win_over_boxes_and_are_counted():
    mask = np.full(SIZE, 255, np.uint8)
    mask[0, :3] = 2  # outside its box
    mask[5, 5] = 0  # background in a box
    mask[5, 6] = 1  # inside its box
    label = SparseLabel(mask, mask != 255, np.array([[4.0, 4, 9, 9]]), np.array([1]))
    known = known_pixels(label, complete_boxes=True, background=True)
    np.testing.assert_array_equal(known.mask[mask != 255], mask[mask != 255])
    assert known.overruled == 4


def test_pseudo_labels_fill_what_is_unknown_and_possible():
    rng = np.random.default_rng(1)
    label = random_label(rng)
    known = known_pixels(label, complete_boxes=True, background=True)
    pseudo = rng.choice([0, 1, 2, 3, 255], SIZE).astype(np.uint8)
    allowed = np.array([True, True, True, False])
    filled = fill_pseudo(known, pseudo, allowed, background=True)
    assert (filled == known.mask)[known.mask != 255].all()
    for i, j in np.argwhere(known.mask == 255):
        pairs = zip(label.boxes, label.box_classes, strict=True)
        around = {int(index) for box, index in pairs if in_box(box, i, j)}
        wanted = pseudo[i, j] if pseudo[i, j] in ({0, *around} - {3}) else 255
        assert filled[i, j] == wanted


@each(
    ("labeled", "tags", "complete", "wanted"),
    [
        ([], None, False, [1, 1, 1, 1]),
        ([], [0, 1, 0], False, [1, 0, 1, 0]),
        ([3], [0, 1, 0], False, [1, 0, 1, 1]),
        ([1], None, True, [0, 1, 0, 0]),
        ([0, 1], [1, 1, 0], True, [1, 1, 0, 0]),
        ([], [0, 0, 0], False, [1, 0, 0, 0]),
        ([], None, True, [0, 0, 0, 0]),
    ],
)
def test_classes_of_an_image(labeled, tags, complete, wanted):
    tags = None if tags is None else np.array(tags, np.uint8)
    assert image_classes(C, 1, labeled, tags, complete, []).tolist() == [bool(w) for w in wanted]


def test_classes_without_any_label_are_never_absent():
    assert image_classes(C, 1, [0, 1], None, True, [3]).tolist() == [True, True, False, True]


def test_nothing_left_is_all():
    mask = torch.full((2, 2), 255, dtype=torch.uint8)
    nowhere = {1: torch.zeros(2, 2, dtype=torch.bool), 0: torch.zeros(2, 2, dtype=torch.bool)}
    assert pixel_classes(mask, np.array([True, True]), nowhere, None).all()
