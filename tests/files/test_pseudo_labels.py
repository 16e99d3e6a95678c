import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.each import each
from wsss_zoo.files.atomic import TEMPORARY, write_json
from wsss_zoo.files.manifests import HEADER, MANIFEST, Manifest, sha256_file, write_manifest
from wsss_zoo.files.pseudo_labels import (
    QUALITY,
    begin_folder,
    cam_path,
    label_path,
    read_cam,
    read_label,
    read_manifest,
    voc_palette,
    write_cam,
    write_label,
)

NAMES = ["background", "cat", "dog"]
MANIFEST_2 = Manifest(
    "CAM", NAMES, 2, "c0", "w0", {"bg_threshold": 0.15, "save_cams": False}, "train"
)
UNSAFE_IDS = ["", ".", "..", "../x", "a/../b", "/x", "a//b", "a/", "a\\b", "a\0b"]


def label_of(value: int) -> np.ndarray:
    label = np.full((5, 7), value, dtype=np.uint8)
    label[0] = 255
    return label


def write_two(directory: Path) -> None:
    write_label(directory, "a", label_of(1))
    write_label(directory, "b", label_of(2))


def test_palette_is_that_of_pascal_voc():
    # From the VOC 2012 development kit's colour map, classes 0..20.
    expected = [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128),
        (0, 128, 128), (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0),
        (64, 0, 128), (192, 0, 128), (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0),
        (0, 192, 0), (128, 192, 0), (0, 64, 128),
    ]  # fmt: skip
    assert voc_palette()[:21].tolist() == [list(color) for color in expected]
    assert len({tuple(color) for color in voc_palette().tolist()}) == 256


@each("image_id", ["2007_000032", "sub/folder/x", "name.jpg", "ä b"])
def test_label_is_read_as_written(tmp_path, image_id):
    label = np.random.default_rng(0).integers(0, 256, (9, 13), dtype=np.uint8)
    write_label(tmp_path, image_id, label)
    np.testing.assert_array_equal(read_label(tmp_path, image_id), label)
    with Image.open(tmp_path / f"{image_id}.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]


@each("label", [np.zeros((3, 4)), np.zeros((1, 3, 4), np.uint8)])
def test_label_of_wrong_type_or_shape_is_refused(tmp_path, label):
    with pytest.raises(ValueError, match="label map of x"):
        write_label(tmp_path, "x", label)


@each("image_id", UNSAFE_IDS)
def test_ids_cannot_leave_the_folder(tmp_path, image_id):
    for call in (
        lambda: label_path(tmp_path, image_id),
        lambda: cam_path(tmp_path, image_id),
        lambda: write_label(tmp_path, image_id, label_of(0)),
        lambda: read_cam(tmp_path, image_id),
    ):
        with pytest.raises(ValueError, match="would lead out of its folder"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_label(tmp_path, "a", label_of(1))

    def no_power(descriptor):
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", no_power)
    for image_id in ("a", "b"):
        with pytest.raises(OSError, match="power cut"):
            write_label(tmp_path, image_id, label_of(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(read_label(tmp_path, "a"), label_of(1))


def test_missing_and_corrupt_labels_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_label(tmp_path, "gone")
    write_label(tmp_path, "cut", label_of(1))
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"cut\.png"):
        read_label(tmp_path, "cut")


def test_cam_is_rounded_to_bytes_and_its_file_is_reproducible(tmp_path):
    cam = np.random.default_rng(0).random((2, 6, 5), dtype=np.float32)
    classes = np.array([3, 17])
    write_cam(tmp_path, "x/y", cam, classes)
    values, found = read_cam(tmp_path, "x/y")
    assert values.dtype == np.uint8
    assert found.dtype == np.int64
    assert found.tolist() == [3, 17]
    assert np.abs(values / 255 - cam).max() <= 0.5 / 255 + 1e-6
    first = cam_path(tmp_path, "x/y").read_bytes()
    write_cam(tmp_path, "x/y", cam, classes)
    assert cam_path(tmp_path, "x/y").read_bytes() == first


def test_cam_of_an_image_without_classes(tmp_path):
    write_cam(tmp_path, "x", np.zeros((0, 4, 6)), np.zeros(0, np.int64))
    values, classes = read_cam(tmp_path, "x")
    assert values.shape == (0, 4, 6)
    assert classes.shape == (0,)


@each(("shape", "count"), [((2, 3), 2), ((2, 3, 4), 3)])
def test_cam_of_wrong_shape_is_refused(tmp_path, shape, count):
    with pytest.raises(ValueError, match="CAM of x has shape"):
        write_cam(tmp_path, "x", np.zeros(shape), np.arange(count))


def test_missing_and_corrupt_cams_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.npz is missing.*save_cams"):
        read_cam(tmp_path, "x")
    write_cam(tmp_path, "x", np.zeros((1, 3, 4)), np.arange(1))
    cam_path(tmp_path, "x").write_bytes(cam_path(tmp_path, "x").read_bytes()[:50])
    with pytest.raises(OSError, match=r"x\.npz cannot be read"):
        read_cam(tmp_path, "x")


def test_cams_with_pickles_are_not_loaded(tmp_path):
    cam_path(tmp_path, "x").parent.mkdir()
    np.savez(cam_path(tmp_path, "x"), cam=np.array([{}], dtype=object), classes=np.arange(1))
    with pytest.raises(OSError, match="cannot be read"):
        read_cam(tmp_path, "x")


def test_manifest_is_read_as_written(tmp_path):
    begin_folder(tmp_path, MANIFEST_2, ["a", "b"])
    assert (tmp_path / HEADER).exists()
    write_two(tmp_path)
    write_manifest(tmp_path, MANIFEST_2)
    assert read_manifest(tmp_path, NAMES) == MANIFEST_2
    assert not (tmp_path / HEADER).exists()


def test_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json.*wsss-zoo predict"):
        read_manifest(tmp_path, NAMES)
    begin_folder(tmp_path, MANIFEST_2, ["a", "b"])
    write_two(tmp_path)
    with pytest.raises(FileNotFoundError, match="a run began it"):
        read_manifest(tmp_path, NAMES)


def test_manifest_with_other_classes_or_count_is_refused(tmp_path):
    write_two(tmp_path)
    write_manifest(tmp_path, MANIFEST_2)
    with pytest.raises(ValueError, match="for the classes"):
        read_manifest(tmp_path, ["background", "dog", "cat"])
    label_path(tmp_path, "b").unlink()
    with pytest.raises(ValueError, match="holds 1 label maps"):
        read_manifest(tmp_path, NAMES)


@each("text", ["{", "[]", '{"method": "CAM"}', '{"other": 1}'])
def test_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match="is no manifest"):
        read_manifest(tmp_path, NAMES)


def test_begun_folder_gives_what_is_done(tmp_path):
    assert begin_folder(tmp_path, MANIFEST_2, ["a", "b"]) == set()
    write_label(tmp_path, "b", label_of(1))
    (tmp_path / f".a.png.123{TEMPORARY}").write_bytes(b"half")
    assert begin_folder(tmp_path, MANIFEST_2, ["a", "b"]) == {"b"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", HEADER]


def test_with_cams_an_image_needs_both_files(tmp_path):
    manifest = replace(MANIFEST_2, options={"save_cams": True})
    begin_folder(tmp_path, manifest, ["a", "b"])
    write_two(tmp_path)
    write_cam(tmp_path, "a", np.zeros((1, 5, 7)), np.arange(1))
    assert begin_folder(tmp_path, manifest, ["a", "b"]) == {"a"}


def test_finished_folder_stays_finished(tmp_path):
    write_two(tmp_path)
    write_manifest(tmp_path, MANIFEST_2)
    assert begin_folder(tmp_path, MANIFEST_2, ["a", "b"]) == {"a", "b"}
    assert not (tmp_path / HEADER).exists()


def test_finished_folder_with_a_lost_file_is_begun_again(tmp_path):
    write_two(tmp_path)
    write_manifest(tmp_path, MANIFEST_2)
    label_path(tmp_path, "a").unlink()
    assert begin_folder(tmp_path, MANIFEST_2, ["a", "b"]) == {"b"}
    assert (tmp_path / HEADER).exists()
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "CPS"), ("checkpoint_hash", "w1"), ("options", {}), ("split", "val"), ("count", 3)],
)
def test_folder_of_another_run_is_refused(tmp_path, finished, name, value):
    begin_folder(tmp_path, MANIFEST_2, ["a", "b"])
    write_two(tmp_path)
    if finished:
        write_manifest(tmp_path, MANIFEST_2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=rf"another run \({name} differ\).*overwrite"):
        begin_folder(tmp_path, replace(MANIFEST_2, **{name: value}), ["a", "b"])
    assert sorted(tmp_path.iterdir()) == before


def test_overwrite_deletes_pseudo_labels_and_nothing_else(tmp_path):
    write_two(tmp_path)
    write_label(tmp_path, "sub/c", label_of(1))
    write_cam(tmp_path, "a", np.zeros((1, 5, 7)), np.arange(1))
    write_json(tmp_path / QUALITY, {})
    (tmp_path / "notes.txt").write_text("mine")
    write_manifest(tmp_path, MANIFEST_2)
    other = replace(MANIFEST_2, method="CPS")
    assert begin_folder(tmp_path, other, ["a", "b"], overwrite=True) == set()
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"notes.txt", HEADER}
    assert json.loads((tmp_path / HEADER).read_text())["method"] == "CPS"


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_with_other_things_is_never_taken(tmp_path, overwrite):
    (tmp_path / "photo.png").write_bytes(b"holiday")
    with pytest.raises(ValueError, match="no folder of pseudo-labels"):
        begin_folder(tmp_path, MANIFEST_2, ["a", "b"], overwrite=overwrite)
    assert (tmp_path / "photo.png").read_bytes() == b"holiday"


def test_json_refuses_what_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_sha256_reads_the_whole_file(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(content)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(content).hexdigest()
