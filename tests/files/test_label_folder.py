import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import read_label, write_label

IDENTITY = {"method": "A", "class_names": ["background", "cat"], "options": {"tile": 8, "x": None}}
MASK = np.array([[0, 1, 255]], dtype=np.uint8)
PICTURE = np.zeros((1, 3, 3), dtype=np.uint8)


@pytest.fixture
def images(tmp_path):
    """Three images, an hour old."""
    files = {}
    for name in ("a", "b", "sub/c"):
        path = tmp_path / "in" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - 3600,) * 2)
        files[name] = str(path)
    return files


@pytest.fixture
def folder(tmp_path):
    return LabelFolder(tmp_path / "out", IDENTITY)


def manifest(folder):
    return json.loads((folder.directory / "manifest.json").read_text())


def test_from_nothing_to_finished(folder, images):
    assert folder.begin(images, overwrite=False) == set()
    assert not (folder.directory / "manifest.json").exists()
    for image_id in images:
        assert not folder.has(image_id)
        folder.write(image_id, MASK, PICTURE)
    folder.write_legend(Image.new("RGB", (4, 4)), "cat 128 0 0\n")
    assert folder.finish(images, ["d is broken"]) == 3
    np.testing.assert_array_equal(read_label(folder.directory / "masks", "sub/c"), MASK)
    files = {str(p.relative_to(folder.directory)) for p in folder.directory.rglob("*.*")}
    assert files == {
        *("masks/a.png", "masks/b.png", "masks/sub/c.png", "legend.png", "classes.txt"),
        *("overlays/a.jpg", "overlays/b.jpg", "overlays/sub/c.jpg", "manifest.json"),
    }
    written = manifest(folder)
    assert written["count"] == 3
    assert written["images"] == images
    assert written["problems"] == ["d is broken"]
    assert written["options"] == {"tile": 8, "x": None}


def test_masks_of_failed_images_are_not_counted(folder, images):
    folder.begin(images, overwrite=False)
    folder.write("b", MASK, None)
    assert folder.finish(images, []) == 1
    assert list(manifest(folder)["images"]) == ["b"]
    assert not (folder.directory / "overlays").exists()


def test_what_is_done_is_not_done_again(folder, images):
    folder.begin(images, overwrite=False)
    folder.write("a", MASK, PICTURE)
    (folder.directory / "masks" / ".b.png.0.tmp").touch()
    again = LabelFolder(folder.directory, IDENTITY)
    assert again.begin(images, overwrite=False) == {"a"}
    assert not list(folder.directory.rglob("*.tmp"))
    again.finish(images, [])
    # Finished ones go on too, when images came or were unreadable before.
    assert LabelFolder(folder.directory, IDENTITY).begin(images, overwrite=False) == {"a"}
    assert not (folder.directory / "manifest.json").exists()


def test_changed_image_is_done_again(folder, images):
    folder.begin(images, overwrite=False)
    for image_id in images:
        folder.write(image_id, MASK, None)
        mask = folder.directory / "masks" / f"{image_id}.png"
        os.utime(mask, (time.time() - 60,) * 2)
    os.utime(images["a"])
    os.utime(images["b"], (time.time() + 3600,) * 2)
    assert folder.begin(images, overwrite=False) == {"b", "sub/c"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "B"}, r'method "B", there "A"'),
        ({"options": {"tile": 9, "x": None}}, "tile 9, there 8"),
        ({"options": {"tile": 8, "x": None, "new": 1}}, "new 1, there none"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_no_mixture(folder, images, change, message, finished):
    folder.begin(images, overwrite=False)
    folder.write("a", MASK, PICTURE)
    if finished:
        folder.finish(images, [])
    other = LabelFolder(folder.directory, IDENTITY | change)
    with pytest.raises(ValueError, match=message):
        other.begin(images, overwrite=False)
    assert folder.has("a")
    assert other.begin(images, overwrite=True) == set()
    assert not list(folder.directory.rglob("*a.*"))
    with pytest.raises(ValueError, match="another checkpoint or of other options"):
        folder.begin(images, overwrite=False)


def test_nothing_of_others_is_touched(folder, images, tmp_path):
    folder.directory.mkdir()
    write_label(folder.directory, "a", MASK)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="was not written by 'wsss-zoo label'; choose"):
            folder.begin(images, overwrite=overwrite)
    # A folder of 'wsss-zoo predict' has a manifest of the same name.
    write_manifest(folder.directory, Manifest("A", ["background"], 1, "", "", {}, "train"))
    with pytest.raises(ValueError, match="was not written by 'wsss-zoo label'; choose"):
        folder.begin(images, overwrite=True)
    assert (folder.directory / "a.png").exists()
    with pytest.raises(ValueError, match="is a file; choose another"):
        LabelFolder(tmp_path / "in" / "a.jpg", IDENTITY).begin(images, overwrite=True)


def test_damaged_manifest(folder, images):
    folder.begin(images, overwrite=False)
    (folder.directory / "manifest.partial.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        folder.begin(images, overwrite=False)


def test_picture_too_wide_for_jpeg(folder, images):
    folder.begin(images, overwrite=False)
    wide = np.zeros((1, 65_501, 3), dtype=np.uint8)
    folder.write("a", wide[..., 0].copy(), wide)
    with Image.open(folder.directory / "overlays" / "a.png") as picture:
        assert picture.size == (65_501, 1)
