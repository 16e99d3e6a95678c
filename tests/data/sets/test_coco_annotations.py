import json

import numpy as np
import pytest

from tests.data.coco_tree import OBJECTS, TRAIN, box, thing, write_annotations
from wsss_zoo.data.sets.class_names.coco import COCO_THINGS
from wsss_zoo.data.sets.coco_annotations import (
    CocoObject,
    read_annotations,
    read_index,
    write_index,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "annotations" / "instances_train2014.json"
    write_annotations(path, TRAIN, OBJECTS)
    return path


def edit(path, action):
    content = json.loads(path.read_text())
    action(content)
    path.write_text(json.dumps(content))


def test_reads_images_and_objects(path):
    annotations = read_annotations(path)
    index = annotations.index
    assert index.ids == TRAIN
    assert index.sizes.tolist() == [[40, 60]] * 4
    found = [[COCO_THINGS[label] for label in np.flatnonzero(row)] for row in index.tags]
    assert found == [["cat", "cup"], ["person", "dog"], [], ["toothbrush"]]
    cup, cat = annotations.objects(0)
    assert cup == CocoObject(42, 100.0, False, box(10, 10, 20, 20))
    assert (cat.label, cat.area) == (16, 900.0)
    assert annotations.objects(1)[1].is_crowd
    assert annotations.objects(2) == []
    assert annotations.objects(3)[0].label == 80


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda c: c.pop("annotations"), "KeyError: 'annotations'"),
        (lambda c: c["categories"].pop(), "its 79 categories are not COCO's 80"),
        (lambda c: c["categories"][0].update(name="human"), "80 categories are not COCO's 80"),
        (lambda c: c["images"][0].update(file_name="../../x.jpg"), r"'\.\./\.\./x\.jpg' is no im"),
        (lambda c: c["images"].pop(), "KeyError: 34"),
        (lambda c: c.update(images=3), "TypeError"),
    ],
)
def test_damaged_files_are_refused_by_name(path, action, message):
    edit(path, action)
    with pytest.raises(
        ValueError, match=rf"instances_train2014\.json is no COCO 2014 .* \(.*{message}"
    ):
        read_annotations(path)


def test_a_cut_off_file(path):
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"instances_train2014\.json is no COCO 2014"):
        read_annotations(path)


def test_the_index_returns_for_its_own_annotations_only(path, tmp_path):
    index, stored = read_annotations(path).index, tmp_path / "cache" / "index.npz"
    assert read_index(stored, "abc") is None
    write_index(stored, index, "abc")
    again = read_index(stored, "abc")
    assert again.ids == index.ids
    np.testing.assert_array_equal(again.sizes, index.sizes)
    np.testing.assert_array_equal(again.tags, index.tags)
    assert read_index(stored, "other") is None
    for size in (0, 10, 200):
        stored.write_bytes(stored.read_bytes()[:size])
        assert read_index(stored, "abc") is None


def test_an_empty_object_list(tmp_path):
    path = tmp_path / "instances_val2014.json"
    write_annotations(path, TRAIN[:1], {TRAIN[0]: []})
    assert read_annotations(path).index.tags.sum() == 0


def test_objects_keep_the_order_of_the_file(tmp_path):
    path = tmp_path / "instances_val2014.json"
    items = [thing("cat", box(0, 0, 9, 9), area) for area in (5, 1, 3)]
    write_annotations(path, TRAIN[:1], {TRAIN[0]: items})
    assert [item.area for item in read_annotations(path).objects(0)] == [5, 1, 3]
