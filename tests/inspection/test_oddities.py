import numpy as np

from wsss_zoo.inspection.inspection import ImageRecord, Inspection
from wsss_zoo.inspection.oddities import find_oddities


def pixels(**counts):
    found = np.zeros(256, dtype=np.int64)
    for value, count in counts.items():
        found[int(value[1:])] = count
    return found


def record(name, values=None, size=(40, 60), **options):
    return ImageRecord(name, size=size, pixels=values, digest=name.encode(), **options)


def inspection(records, splits=None, tags=None, first_fg=1, unread=()):
    by_id = {found.image_id: found for found in records}
    splits = splits or {"train": list(by_id)}
    held_out = [name for name in splits if name != "train"]
    names = ["background", "cat", "dog"][1 - first_fg :]
    return Inspection(
        names, first_fg, splits, "train", held_out, by_id, tags or {}, [], list(unread)
    )


def test_nothing_is_odd_about_sound_data():
    records = [record("a", pixels(v0=9, v1=5, v255=2)), record("b"), record("c")]
    assert find_oddities(inspection(records, tags={"b": ["dog"]})) == {}


def test_masks_without_classes():
    records = [
        record("a", pixels(v255=9)),
        record("b", pixels(v0=9)),
        record("c", pixels(v0=9, v255=3)),
        record("d", pixels(v0=9, v1=1, v2=1)),
    ]
    assert find_oddities(inspection(records)) == {
        "masks in which everything is ignored (255)": ["a"],
        "masks of background only": ["b"],
        "masks of background and ignored pixels (255) only": ["c"],
    }


def test_white_for_foreground_gets_a_hint():
    records = [record(name, pixels(v0=9, v255=3)) for name in "ab"]
    odd = find_oddities(inspection(records, tags={"a": ["cat", "dog"]}))
    assert "'cat 255 255 255'" in odd["no mask has any foreground"][0]


def test_masks_without_a_background_class():
    records = [record("a", pixels(v0=9, v1=3)), record("b", pixels(v255=9))]
    odd = find_oddities(inspection(records, first_fg=0))
    assert odd == {"masks in which everything is ignored (255)": ["b"]}


def test_odd_images():
    tags = {"a": ["cat", "dog"]}
    records = [record("a", size=(31, 400)), record("b", is_flat=True), record("c", is_turned=True)]
    assert find_oddities(inspection(records, tags=tags)) == {
        "images with a side below 32 pixels": ["a"],
        "images of a single colour": ["b"],
        "images turned by their EXIF data; see that their masks are upright": ["c"],
    }


def test_classes_that_training_never_sees():
    records = [record("a", pixels(v0=9, v1=5)), record("b", pixels(v2=5))]
    odd = find_oddities(inspection(records, {"train": ["a"], "val": ["b"]}))
    assert odd == {"classes that occur nowhere in train": ["dog"]}


def test_masks_without_background_cannot_count_false_objects():
    records = [record("a", pixels(v1=5)), record("b", pixels(v2=5))]
    (line,) = find_oddities(inspection(records))["masks without background"]
    assert "none of 2 masks shows any" in line
    assert "import with --rest background" in line
    records = [record("a", pixels(v0=1, v1=5)), record("b", pixels(v2=5))]
    assert "masks without background" not in find_oddities(inspection(records))


def test_images_that_are_there_twice():
    tags = {"a": ["cat", "dog"]}
    records = [
        ImageRecord(name, size=(40, 60), digest=digest)
        for name, digest in {"a": b"1", "b": b"1", "c": b"2", "d": b"1", "e": b"2"}.items()
    ]
    splits = {"train": ["a", "b"], "val": ["b", "c", "e"], "test": ["d"]}
    assert find_oddities(inspection(records, splits, tags)) == {
        "images on both lists, train and val": ["b"],
        "equal images, in train and held out": ["a = b = d"],
        "equal images": ["c = e"],
    }


def test_images_that_cannot_be_read_are_not_equal():
    records = [ImageRecord("a", ["bad"]), ImageRecord("b", ["bad"])]
    assert find_oddities(inspection(records, tags={"a": ["cat", "dog"]})) == {}


def test_files_that_are_not_read():
    found = inspection([], unread=["mask"])
    assert find_oddities(found) == {"files and folders that are not read": ["mask"]}


def test_tags_that_nearly_all_training_images_have():
    records = [record(str(i)) for i in range(20)]
    tags = {str(i): ["cat", "dog"] if i else ["dog"] for i in range(20)}
    odd = find_oddities(inspection(records, tags=tags))
    assert [v for k, v in odd.items() if k.startswith("tags that say little: ")] == [
        ["'cat' is in 95 %", "'dog' is in 100 %"]
    ]
