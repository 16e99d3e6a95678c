"""What `inspect` says of sparse labels and of black and white masks."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_image, save_mask
from wsss_zoo.cli import main
from wsss_zoo.data import Folder
from wsss_zoo.inspection.inspection import inspect_data
from wsss_zoo.inspection.oddities import find_oddities


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\n")
    for number in range(4):
        save_image(tmp_path / "images" / f"i{number}.png", seed=number)
    shapes = [
        {"class": "cat", "stroke": [[5, 10], [50, 10]]},
        {"class": "dog", "point": [20.5, 10.5]},
        {"class": "dog", "polygon": [[5, 20], [15, 20], [15, 30], [5, 30]]},
    ]
    text = json.dumps({"i0": shapes, "i1": [{"class": "dog", "point": [99, 9]}]})
    (tmp_path / "shapes.json").write_text(text)
    (tmp_path / "boxes.csv").write_text("image_id,class,x0,y0,x1,y1\ni2,cat,1,1,9,9\n")
    save_mask(tmp_path / "sparse" / "i3.png", [1])
    (tmp_path / "sparse" / "notes.txt").write_text("")
    return tmp_path


def test_shapes_and_pixels_are_counted(root):
    found = inspect_data(Folder(str(root)), lambda records, _: records)
    sparse = found.sparse
    assert sparse.images == {"i0", "i1", "i2", "i3"}
    assert sparse.shapes == {
        ("cat", "stroke"): 1,
        ("dog", "point"): 2,
        ("dog", "polygon"): 1,
        ("cat", "box"): 1,
    }
    assert sparse.pixels[2] == 100 + 13 - sparse.contradictions["i0"]
    assert sparse.pixels[0] > 0
    assert [error for error in found.errors if "the point has no pixel" in error]
    assert found.unread == [str(root / "sparse" / "notes.txt")]


def test_the_command_prints_them(root, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    options = ["--data", "Folder", "--data.root", str(root), "--num_images", "0"]
    assert main(["inspect", *options]) == 1
    printed = capsys.readouterr().out
    assert "sparse labels of 4 images" in printed
    assert "with sparse labels" in printed
    assert "occur nowhere" not in printed
    assert "strokes or points of two classes on a pixel, which is ignored: 1" in printed
    assert "image 'i1', shape 1: the point has no pixel of the image" in printed


def test_what_training_refuses_and_cannot_read_are_errors(root, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(root)
    (root / "image_labels.csv").write_text("id,classes\ni0,cat\n")
    with (root / "boxes.csv").open("a") as file:
        file.write("i2,background,2,2,9,9\n")
    save_mask(root / "sparse" / "i3.png", [7])
    assert main(["inspect", "--data", "Folder", "--data.root", str(root)]) == 1
    printed = capsys.readouterr().out
    assert "image 'i0' has a sparse label of dog, but its tags are cat" in printed
    assert "image 'i2' has a box of the background" in printed
    assert "holds class index 7" in printed
    assert (root / "inspect.png").exists()


def test_boxes_show_background(root, capsys):
    for path in (root / "shapes.json", root / "sparse" / "i3.png"):
        path.unlink()
    found = inspect_data(Folder(str(root)), lambda records, _: records)
    assert found.sparse.pixels[0] == 40 * 60 - 64
    assert not find_oddities(found).get("sparse labels without background")
    found = inspect_data(Folder(str(root), complete_boxes=False), lambda records, _: records)
    assert found.sparse.pixels[0] == 0


def black_and_white(root):
    for path in (root / "shapes.json", root / "boxes.csv", root / "sparse" / "i3.png"):
        path.unlink()
    (root / "classes.txt").write_text("background\ncat\n")
    (root / "masks").mkdir()
    for number in range(4):
        mask = np.zeros((40, 60), np.uint8)
        mask[number : number + 10, 5:30] = 255
        Image.fromarray(mask).save(root / "masks" / f"i{number}.png")


def test_black_and_white_masks_are_told_at_fit_and_can_be_read(root, caplog):
    black_and_white(root)
    options = {"val_split": None, "val_fraction": 0, "crop_size": 16, "num_workers": 0}
    Folder(str(root), **options).setup("fit")
    assert "has a class besides index 0" in caplog.text
    assert "--data.binary_masks true" in caplog.text
    caplog.clear()
    data = Folder(str(root), binary_masks=True, **options)
    data.setup("fit")
    assert not caplog.text
    assert np.bincount(data.read_mask("i1").ravel()).tolist() == [2150, 250]
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    with pytest.raises(ValueError, match=r"two classes, black and white, but .* has 3 classes"):
        Folder(str(root), binary_masks=True, **options).setup("fit")
    (root / "classes.txt").write_text("background 0 0 0\ncat 255 255 255\n")
    with pytest.raises(ValueError, match="has colours; list two names without colours"):
        Folder(str(root), binary_masks=True, **options).setup("fit")


def test_other_values_of_black_and_white_masks_are_errors(root):
    black_and_white(root)
    mask = np.zeros((40, 60), np.uint8)
    mask[0, :5] = 128
    Image.fromarray(mask).save(root / "masks" / "i0.png")
    data = Folder(str(root), binary_masks=True, val_split=None, val_fraction=0)
    with pytest.raises(ValueError, match="holds class index 128"):
        data.setup("fit")
