import csv
import io
import json
import os
import re
import shlex
import signal
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints import NAMES, save_checkpoint, with_opinions
from wsss_zoo import CAM, Supervised
from wsss_zoo.arguments.command_parser import parse_options
from wsss_zoo.cli import main
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.data.reading.color_masks import ColorTable
from wsss_zoo.deploy.label import label as deploy_label
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.pseudo_labels import read_label, voc_palette
from wsss_zoo.modules import Evaluation


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    kind = {"backbone": "test_resnet", "architecture": "largefov", "output_stride": 8}
    return with_opinions(Supervised(3, **kind)).eval()


@pytest.fixture(scope="module")
def checkpoint(method, tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("run") / "last.ckpt", method, NAMES)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Five images and a text; they are an hour old."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    folder = tmp_path / "my photos"
    for name, size in (("a.png", (40, 30)), ("sub/é.jpg", (33, 47)), ("b.png", (9, 50))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(folder / "a.png").save(folder / "turned.jpg", exif=turned)
    Image.open(folder / "a.png").convert("L").save(folder / "grey.gif")
    (folder / "notes.txt").touch()
    for path in folder.rglob("*.*"):
        os.utime(path, (time.time() - 3600,) * 2)
    return folder


def label(folder, checkpoint, *options):
    fixed = ["--num_workers", "0", "--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    return main(["label", str(folder), "--ckpt_path", checkpoint, *fixed, *options])


def mask(out, image_id):
    return read_label(out / "masks", image_id)


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "masks").rglob("*.png")}


def test_a_folder(photos, checkpoint, method, tmp_path, capsys):
    assert label(photos, checkpoint) == 0
    out = tmp_path / "my photos_masks"
    assert f"{out}: masks of 5 images; left out as no images: 1 .txt" in capsys.readouterr().out
    written = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    ids = ("a", "b", "sub/é", "turned", "grey")
    assert written == {
        *(f"masks/{image_id}.png" for image_id in ids),
        *(f"overlays/{image_id}.jpg" for image_id in ids),
        *("legend.png", "classes.txt", "manifest.json"),
    }
    assert (out / "classes.txt").read_text() == "background 0 0 0\ncat 128 0 0\ndog 0 128 0\n"
    with Image.open(out / "masks" / "a.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:9] == voc_palette()[:3].ravel().tolist()
    # Both files are what `Folder` reads.
    colors = ColorTable(read_class_file(out / "classes.txt").colors)
    np.testing.assert_array_equal(colors.read(str(out / "masks" / "b.png")), mask(out, "b"))
    pixels = torch.from_numpy(np.asarray(Image.open(photos / "b.png")).copy())
    with torch.no_grad():
        probs = Evaluation()(method, pixels.permute(2, 0, 1)[None] / 255)
    assert len(probs.argmax(1).unique()) > 1
    np.testing.assert_array_equal(mask(out, "b"), probs.argmax(1)[0])
    assert mask(out, "turned").shape == (30, 40)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["count"] == 5
    assert manifest["images"]["sub/é"] == "sub/é.jpg"
    assert manifest["method"] == "Supervised"


def test_broken_images_do_not_stop_the_rest(photos, checkpoint, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes((photos / "sub" / "é.jpg").read_bytes()[:600])
    (photos / "empty.png").touch()
    (photos / "link.png").symlink_to("nowhere.png")
    out = tmp_path / "o"
    assert label(photos, checkpoint, "--out", str(out)) == 1
    printed = capsys.readouterr()
    assert "masks of 5 images; 3 problems" in printed.out
    errors = printed.err.splitlines()
    for part in (
        "broken.jpg cannot be decoded (",
        "empty.png cannot be decoded (the file is empty",
    ):
        assert any(part in line for line in errors), part
    assert any("link.png is a broken link" in line for line in errors)
    assert len(json.loads((out / "manifest.json").read_text())["problems"]) == 3
    # Mended, and only that is left to do.
    (photos / "link.png").unlink()
    (photos / "empty.png").unlink()
    Image.open(photos / "a.png").save(photos / "broken.jpg")
    before = times(out)
    assert label(photos, checkpoint, "--out", str(out)) == 0
    assert "masks of 6 images; 5 of them were there before" in capsys.readouterr().out
    assert times(out).items() > before.items()


def test_killed_run_goes_on(photos, checkpoint, tmp_path, monkeypatch, capsys):
    out, write = tmp_path / "my photos_masks", LabelFolder.write

    def killed(folder, image_id, *arrays):
        write(folder, image_id, *arrays)
        if len(times(out)) == 2:
            raise ConnectionError("kill")

    monkeypatch.setattr(LabelFolder, "write", killed)
    with pytest.raises(ConnectionError):
        label(photos, checkpoint)
    assert not (out / "manifest.json").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    before = times(out)
    assert len(before) == 2
    assert label("my photos", checkpoint) == 0
    assert times(out).items() > before.items()
    assert len(times(out)) == 5
    after = times(out)
    assert label(photos, checkpoint) == 0
    assert times(out) == after
    assert "masks of 5 images; 5 of them were there before" in capsys.readouterr().out


def test_sigterm(photos, checkpoint, tmp_path, monkeypatch, capsys):
    write = LabelFolder.write

    def terminated(folder, *arguments):
        write(folder, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(LabelFolder, "write", terminated)
    assert label(photos, checkpoint) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM, not finished" in capsys.readouterr().err
    assert len(times(tmp_path / "my photos_masks")) == 1


def test_other_options_are_not_mixed(photos, checkpoint, method, tmp_path):
    assert label(photos, checkpoint, "--opacity", "0") == 0
    out = tmp_path / "my photos_masks"
    assert not (out / "overlays").exists()
    with pytest.raises(ValueError, match=r"flip true, there false\); choose another folder"):
        label(photos, checkpoint, "--opacity", "0", "--evaluation.flip", "true")
    other = save_checkpoint(tmp_path / "b.ckpt", method, [*NAMES[:2], "fox"])
    with pytest.raises(ValueError, match=r"class_names .*checkpoint_sha256"):
        label(photos, other, "--opacity", "0")
    assert label(photos, other, "--overwrite", "true", "--conf_thresh", "0.9") == 0
    assert (mask(out, "a") == 255).any()
    assert "fox 0 128 0\nignore 224 224 192\n" in (out / "classes.txt").read_text()


def test_large_images_in_tiles(photos, checkpoint, method, tmp_path):
    tiles = ["--max_pixels", "1000", "--tile", "24"]
    assert label(photos, checkpoint, *tiles) == 0
    out = tmp_path / "my photos_masks"
    assert mask(out, "a").shape == (40, 30)
    pixels = torch.from_numpy(np.asarray(Image.open(photos / "a.png")).copy())
    with torch.no_grad():
        # 40 = 24 + 16
        probs = Evaluation(window=24)(method, pixels.permute(2, 0, 1)[None] / 255)
    sure = probs.topk(2, dim=1).values.diff(dim=1).abs()[0, 0] > 1e-5
    np.testing.assert_array_equal(mask(out, "a")[sure], probs.argmax(1)[0][sure])


def test_giant_claims_do_not_stop_the_rest(photos, checkpoint, tmp_path, capsys):
    giant = io.BytesIO()
    Image.new("RGB", (2, 2)).save(giant, "BMP")
    content = bytearray(giant.getvalue()[:54])
    struct.pack_into("<ii", content, 18, 3_000_000, 2_000_000)
    (photos / "giant.bmp").write_bytes(content)
    assert label(photos, checkpoint, "--out", str(tmp_path / "o")) == 1
    printed = capsys.readouterr()
    assert "masks of 5 images; 1 problems" in printed.out
    assert "giant.bmp cannot be decoded (its header claims 3000000x2000000 pixels" in printed.err
    assert (tmp_path / "o" / "manifest.json").exists()


def test_names_that_are_not_known(photos, method, tmp_path, caplog):
    checkpoint = save_checkpoint(tmp_path / "old.ckpt", method)
    assert label(photos, checkpoint) == 0
    assert "has no class names; give them with --classes" in caplog.text
    assert "class 1 128 0 0" in (tmp_path / "my photos_masks" / "classes.txt").read_text()


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("nowhere", [], "folder nowhere is missing"),
        ("my photos/a.png", [], "is a file; give the folder that it is in"),
        ("none", [], "there are no images that can be read in none"),
        ("my photos", ["--out", "my photos"], "is the folder of the images; choose another"),
        ("my photos", ["--opacity", "1.5"], "opacity is 1.5; give a number in [0, 1]"),
        ("my photos", ["--conf_thresh=-1"], "conf_thresh is -1"),
        ("my photos", ["--tile", "0"], "tile is 0; give a number >= 1"),
        ("my photos", ["--evaluation.window", "0"], "window is 0; give a side >= 1 pixel"),
        ("my photos", ["--classes", "gone.txt"], "gone.txt"),
        ("my photos", ["--ckpt_path", "gone.ckpt"], "gone.ckpt: there is no such file"),
        ("my photos", ["--color", "red"], "--color"),
        ("my photos", ["--out", "my photos/a.png/out"], "out cannot be written: "),
        ("my photos", ["--value_range", "[1]"], "value_range is [1.0]; give the values of black"),
        ("my photos", ["--bands", "[1, 2]"], "bands is [1, 2]; give the numbers"),
        ("phone", [], "read in phone; HEIC files are read once 'pip install wsss_zoo[heif]'"),
    ],
)
def test_wrong_arguments(photos, checkpoint, folder, options, message, capsys):
    (photos.parent / "none").mkdir()
    (photos.parent / "none" / "notes.txt").touch()
    (photos.parent / "phone").mkdir()
    (photos.parent / "phone" / "a.HEIC").touch()
    with pytest.raises(SystemExit) as caught:
        label(folder, checkpoint, *options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not (photos.parent / "my photos_masks").exists()


def test_classifier(photos, tmp_path, capsys):
    checkpoint = save_checkpoint(tmp_path / "a.ckpt", CAM(3, backbone="test_resnet"), NAMES)
    with pytest.raises(SystemExit):
        label(photos, checkpoint)
    assert "holds CAM, which shows where tagged classes are" in capsys.readouterr().err


def test_preannotations_for_a_tool(photos, checkpoint, tmp_path, capsys):
    """Of what is there already; their confidence is known where they are made with it."""
    out = tmp_path / "my photos_masks"
    assert label(photos, checkpoint, "--to", "cvat") == 0
    assert (
        f"pre-annotations for cvat: {out / 'cvat' / 'annotations.xml'}" in capsys.readouterr().out
    )
    before = times(out)
    assert label(photos, checkpoint, "--to", "labelme") == 0
    assert times(out) == before
    content = json.loads((out / "labelme" / "sub" / "é.json").read_text())
    assert content["imagePath"] == "../../../my photos/sub/é.jpg"
    for shape in content["shapes"]:
        assert 1 / 3 <= float(shape["description"].removeprefix("wsss_zoo ")) <= 1
    # What a tool gives back is what was labelled.
    root = tmp_path / "again"
    root.mkdir()
    (root / "classes.txt").write_text("\n".join(NAMES))
    options = ["--images", str(photos)]
    assert main(["import", str(out / "cvat"), str(root), *options]) == 0
    for image_id in ("a", "b", "sub/é", "turned", "grey"):
        np.testing.assert_array_equal(read_label(root / "masks", image_id), mask(out, image_id))
    with pytest.raises(SystemExit):
        label(photos, checkpoint, "--to", "cvat", "--polygons", "-1")
    assert "polygons is -1" in capsys.readouterr().err


def test_commands_of_the_page_about_labelling_tools():
    page = (Path(__file__).parents[2] / "docs" / "labelling_tools.md").read_text(encoding="utf-8")
    commands = re.findall(r"^wsss-zoo (label .+)$", page, re.MULTILINE)
    tools = [parse_options("label", deploy_label, shlex.split(c)[1:])["to"] for c in commands]
    assert tools == ["labelme", "cvat", "coco", "yolo", "labelstudio"]


def test_files_of_several_frames_are_named(photos, checkpoint, tmp_path, capsys):
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    assert label(photos, checkpoint, "--out", str(tmp_path / "out")) == 0
    said = "images of several frames, of which the first is read: 1, first: my photos/moving.gif"
    assert said in capsys.readouterr().err.replace(f"{tmp_path}/", "")


def test_areas_of_the_classes(photos, checkpoint, tmp_path):
    assert label(photos, checkpoint, "--areas", "--conf_thresh", "0.4") == 0
    out = tmp_path / "my photos_masks"
    header, *rows = csv.reader((out / "areas.csv").read_text(encoding="utf-8").splitlines())
    assert header == ["image", "pixels", *NAMES, "ignored"]
    images = json.loads((out / "manifest.json").read_text())["images"]
    assert [row[0] for row in rows] == list(images.values())
    for image_id, (_, pixels, *areas) in zip(images, rows, strict=True):
        values = mask(out, image_id)
        expected = [np.count_nonzero(values == index) for index in (0, 1, 2, 255)]
        assert [int(area) for area in areas] == expected
        assert int(pixels) == sum(expected) == values.size
