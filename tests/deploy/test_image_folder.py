from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wsss_zoo.deploy.image_folder import ImageFolder, ImagesToLabel, read_any_size


def save(path, size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


def found(folder, out="out"):
    return ImageFolder(folder, folder.parent / out)


def test_images_of_sub_folders_and_any_suffix(tmp_path):
    root = tmp_path / "a b"
    for name in ("1.JPG", "ü/2 3.png", "ü/v/4.tif", ".hidden.png", ".git/5.png"):
        save(root / name)
    (root / "notes.txt").touch()
    listed = found(root)
    assert list(listed.files) == ["1", "ü/2 3", "ü/v/4"]
    assert listed.files["1"] == str(root / "1.JPG")
    assert listed.others == [str(root / "notes.txt")]
    assert listed.problems == []


def test_ids_that_differ_in_the_suffix_only(tmp_path):
    """Which mask is whose must not change when another file comes."""
    for name in ("a.jpg", "a.png", "b.png"):
        save(tmp_path / "in" / name)
    assert list(found(tmp_path / "in").files) == ["a.jpg", "a.png", "b"]
    (tmp_path / "in" / "a.jpg").unlink()
    assert list(found(tmp_path / "in").files) == ["a", "b"]


def test_names_that_cannot_be_told_apart(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        save(tmp_path / "in" / name)
    listed = found(tmp_path / "in")
    assert list(listed.files) == ["a.jpg", "a.png"]
    (problem,) = listed.problems
    assert "'a.jpg.png' has a name that" not in problem
    assert "a.jpg.png' has a name that gives its mask the name of that of" in problem


def test_what_is_wrong_is_named_and_does_not_stop_the_rest(tmp_path):
    root = tmp_path / "in"
    save(root / "good.png")
    save(root / "back\\slash.png")
    (root / "link.png").symlink_to("nowhere.png")
    (root / "loop").symlink_to(root)
    listed = found(root)
    assert list(listed.files) == ["good"]
    assert len(listed.problems) == 3
    for part in ("link.png is a broken link", "leads back", "has a backslash"):
        assert any(part in problem for problem in listed.problems), part


def test_links_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    root = tmp_path / "in"
    root.mkdir()
    (root / "sub").symlink_to(tmp_path / "elsewhere")
    assert list(found(root).files) == ["sub/a"]


def test_results_inside_the_folder_are_no_images(tmp_path, monkeypatch):
    for name in ("a.png", "out/masks/a.png", "outer/b.png"):
        save(tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "in", (tmp_path / "in").relative_to(tmp_path)):
        assert list(ImageFolder(folder, folder / "out").files) == ["a", "outer/b"]


@pytest.mark.parametrize(("name", "message"), [("x", "x is missing"), ("a.png", "is a file; give")])
def test_no_folder(tmp_path, name, message):
    save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        found(tmp_path / name)


def test_samples(tmp_path):
    files = {"small": save(tmp_path / "s.png"), "large": save(tmp_path / "l.png", (5, 4))}
    files["broken"] = tmp_path / "b.png"
    files["broken"].write_bytes(b"no")
    files["gone"] = tmp_path / "g.png"
    files = {image_id: str(path) for image_id, path in files.items()}
    images = ImagesToLabel(files, max_pixels=12)
    assert len(images) == 4
    samples = [images[index, 7] for index in range(4)]
    assert [sample["image_id"] for sample in samples] == list(files)
    assert [sample["path"] for sample in samples] == list(files.values())
    np.testing.assert_array_equal(samples[0]["image"], np.full((3, 4, 3), (255, 0, 0)))
    assert [sample["image"] is None for sample in samples] == [False, True, True, True]


def test_more_pixels_than_pillow_likes(tmp_path, monkeypatch):
    path = str(save(tmp_path / "a.png", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_any_size(path).shape == (30, 40, 3)
    assert ImagesToLabel({"a": path}, 10)[0]["image"] is None
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(OSError, match=r"gone\.png is missing"):
        read_any_size(str(tmp_path / "gone.png"))
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("num_workers", [0, 1])
def test_each_image_on_one_rank(tmp_path, num_workers):
    for name in "abcdefg":
        save(tmp_path / "in" / f"{name}.png")
    given = []
    for rank in range(3):
        data = ImageFolder(tmp_path / "in", tmp_path / "out", num_workers=num_workers)
        data.trainer = SimpleNamespace(world_size=3, global_rank=rank)
        data.resumed_by = [lambda: {"b"}]
        given += [sample["image_id"] for sample in data.predict_dataloader()]
    assert sorted(given) == list("acdefg")
    assert data.predict_ids() == list("abcdefg")
    assert data.relative_paths()["a"] == "a.png"
