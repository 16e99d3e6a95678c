import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.coco_tree import (
    HEIGHT,
    OBJECTS,
    TRAIN,
    WIDTH,
    box,
    region_of,
    run_lengths,
    write_annotations,
)
from tests.each import each
from wsss_zoo.data.sets.coco_annotations import CocoObject, read_annotations
from wsss_zoo.data.sets.coco_masks import build_masks, finished_masks, rasterise_mask

mask_api = pytest.importorskip("pycocotools.mask")


@pytest.fixture
def annotations(tmp_path):
    write_annotations(tmp_path / "a.json", TRAIN, OBJECTS)
    return read_annotations(tmp_path / "a.json")


def build(directory, annotations, digest="abc", crowd_as_class=False, num_workers=0):
    build_masks(
        directory, annotations, digest, crowd_as_class=crowd_as_class, num_workers=num_workers
    )


def painted_first_come(objects):
    """The rule in other words: go up in size and give a pixel to the first that covers it."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=int)
    for item in sorted(objects, key=lambda o: o.area):
        region = mask_api.decode(mask_api.merge(mask_api.frPyObjects(item.outline, HEIGHT, WIDTH)))
        mask = np.where(mask > 0, mask, region * item.label)
    return mask


# https://github.com/luxonis/luxonis-ml/pull/261: the reference decodes too.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_overlaps_follow_the_reference():
    rng = np.random.default_rng(0)
    for _ in range(20):
        objects = []
        for label in rng.integers(1, 81, 6):
            polygon = rng.uniform(0, [WIDTH, HEIGHT], (5, 2)).ravel().round(2).tolist()
            # Equal areas too: then the first in the file lies on top.
            objects.append(CocoObject(int(label), float(rng.integers(1, 4)), False, [polygon]))
        mask = rasterise_mask(objects, HEIGHT, WIDTH)
        assert mask.dtype == np.uint8
        assert mask.flags.c_contiguous
        np.testing.assert_array_equal(mask, painted_first_come(objects))


def test_several_polygons_are_one_object():
    outline = box(0, 0, 5, 5) + box(20, 20, 30, 30)
    expected = region_of(0, 0, 5, 5) | region_of(20, 20, 30, 30)
    mask = rasterise_mask([CocoObject(7, 1.0, False, outline)], HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, 7 * expected)


@pytest.mark.parametrize("kind", ["counts", "compressed"])
def test_run_lengths(kind):
    region = region_of(3, 0, 40, 30)
    outline = run_lengths(region)
    if kind == "compressed":
        outline = mask_api.encode(np.asfortranarray(region.astype(np.uint8)))
    mask = rasterise_mask([CocoObject(80, 1.0, False, outline)], HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, 80 * region)


@each("as_class", [False, True])
def test_crowds_lie_below_whatever_their_size(as_class):
    crowd = CocoObject(1, 1.0, True, run_lengths(region_of(0, 0, 30, 30)))
    dog = CocoObject(17, 900.0, False, box(20, 0, 60, 40))
    mask = rasterise_mask([crowd, dog], HEIGHT, WIDTH, crowd_as_class=as_class)
    expected = (1 if as_class else 255) * region_of(0, 0, 30, 30)
    expected[region_of(20, 0, 60, 40)] = 17
    np.testing.assert_array_equal(mask, expected)


# Where one core is all that this process may use.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_folder_holds_what_is_drawn(annotations, tmp_path, num_workers):
    directory = tmp_path / "masks"
    build(directory, annotations, num_workers=num_workers)
    names = {f"{image_id}.png" for image_id in TRAIN} | {"manifest.json"}
    assert {path.name for path in directory.iterdir()} == names
    for image_id in TRAIN:
        image = Image.open(directory / f"{image_id}.png")
        assert image.mode == "P"
        expected = rasterise_mask(annotations[image_id].objects(), HEIGHT, WIDTH)
        np.testing.assert_array_equal(np.array(image), expected)


def test_finished_only_for_the_same_annotations_and_rules(annotations, tmp_path):
    directory = tmp_path / "masks"
    assert finished_masks(directory, "abc", crowd_as_class=False) == set()
    build(directory, annotations)
    assert finished_masks(directory, "abc", crowd_as_class=False) >= set(TRAIN)
    assert finished_masks(directory, "other", crowd_as_class=False) == set()
    assert finished_masks(directory, "abc", crowd_as_class=True) == set()
    (directory / f"{TRAIN[1]}.png").unlink()
    assert TRAIN[1] not in finished_masks(directory, "abc", crowd_as_class=False)
    for text in ("", "[]", '{"rules": 0}'):
        (directory / "manifest.json").write_text(text)
        assert finished_masks(directory, "abc", crowd_as_class=False) == set()


def test_a_build_that_fails_leaves_no_manifest(annotations, tmp_path, monkeypatch):
    directory = tmp_path / "masks"
    build(directory, annotations)
    monkeypatch.setattr("wsss_zoo.data.sets.coco_masks.os.sync", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(directory, annotations, "other")
    assert not (directory / "manifest.json").exists()


def test_drawing_leaves_the_random_numbers_alone(annotations, tmp_path):
    state = torch.get_rng_state()
    build(tmp_path / "masks", annotations)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("outline", [[["x"] * 6], {"counts": 3}, {}, 7])
def test_a_damaged_outline_is_named(tmp_path, outline):
    objects = dict(OBJECTS)
    objects[TRAIN[3]] = [{**OBJECTS[TRAIN[3]][0], "segmentation": outline}]
    write_annotations(tmp_path / "a.json", TRAIN, objects)
    with pytest.raises(ValueError, match=rf"outlines of image {TRAIN[3]} are damaged"):
        build(tmp_path / "masks", read_annotations(tmp_path / "a.json"))
    assert not (tmp_path / "masks" / "manifest.json").exists()


def test_without_pycocotools(annotations, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(ImportError, match=r"pip install wsss_zoo\[coco\]"):
        build(tmp_path / "masks", annotations)
    assert not (tmp_path / "masks").exists()


def test_the_manifest_names_what_the_masks_stand_for(annotations, tmp_path):
    build(tmp_path / "masks", annotations, crowd_as_class=True)
    content = json.loads((tmp_path / "masks" / "manifest.json").read_text())
    assert content == {"annotations_sha256": "abc", "crowd_as_class": True, "rules": 1}
