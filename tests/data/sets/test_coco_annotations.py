import json

import pytest

from tests.data.coco_tree import OBJECTS, TRAIN, box, thing, write_annotations
from wsss_zoo.data.sets.coco_annotations import (
    CocoObject,
    read_annotations,
    read_tags,
    write_tags,
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
    images = read_annotations(path)
    assert list(images) == TRAIN
    assert {(image.height, image.width) for image in images.values()} == {(40, 60)}
    assert [image.tags for image in images.values()] == [
        ["cat", "cup"],
        ["person", "dog"],
        [],
        ["toothbrush"],
    ]
    objects = [image.objects() for image in images.values()]
    cup, cat = objects[0]
    assert cup == CocoObject(42, 100.0, False, box(10, 10, 20, 20))
    assert (cat.label, cat.area) == (16, 900.0)
    assert objects[1][1].is_crowd
    assert objects[2] == []
    assert objects[3][0].label == 80


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


def test_tags_return_for_their_own_annotations_only(tmp_path):
    tags = {TRAIN[1]: ["dog", "cat"], TRAIN[0]: []}
    stored = tmp_path / "cache" / "tags.json"
    assert read_tags(stored, "abc") is None
    write_tags(stored, tags, "abc")
    again = read_tags(stored, "abc")
    assert again == tags
    assert list(again) == list(tags)
    assert read_tags(stored, "other") is None
    for size in (60, 10, 0):
        stored.write_bytes(stored.read_bytes()[:size])
        assert read_tags(stored, "abc") is None
    stored.write_text("[]")
    assert read_tags(stored, "abc") is None
    for found in (3, [], {TRAIN[0]: 3}, {TRAIN[0]: ["unicorn"]}):
        stored.write_text(json.dumps({"annotations_sha256": "abc", "tags": found}))
        assert read_tags(stored, "abc") is None


def test_stored_ids_stay_in_their_folder(tmp_path):
    write_tags(tmp_path / "tags.json", {"../../x": ["cat"]}, "abc")
    assert read_tags(tmp_path / "tags.json", "abc") is None


def test_an_empty_object_list(tmp_path):
    path = tmp_path / "instances_val2014.json"
    write_annotations(path, TRAIN[:1], {TRAIN[0]: []})
    assert read_annotations(path)[TRAIN[0]].tags == []


def test_objects_keep_the_order_of_the_file(tmp_path):
    path = tmp_path / "instances_val2014.json"
    items = [thing("cat", box(0, 0, 9, 9), area) for area in (5, 1, 3)]
    write_annotations(path, TRAIN[:1], {TRAIN[0]: items})
    assert [item.area for item in read_annotations(path)[TRAIN[0]].objects()] == [5, 1, 3]
