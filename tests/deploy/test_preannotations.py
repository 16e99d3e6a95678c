import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.data.formats.exports import save_image
from tests.each import each
from wsss_zoo.cli import main
from wsss_zoo.deploy.preannotations import write_preannotations
from wsss_zoo.files.decoding import read_index_mask
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.pseudo_labels import write_label

NAMES = ["background", "cat", "dog", *(f"c{i:03}" for i in range(3, 254))]


def example_masks():
    """Holes with islands, parts, touching borders, one pixel, full image, 1xN, all classes."""
    generator = np.random.default_rng(0)
    nested = np.zeros((40, 60), np.uint8)
    for value, (top, bottom, left, right) in (
        *((1, (2, 38, 3, 57)), (2, (6, 34, 8, 50)), (0, (10, 30, 12, 45))),
        *((1, (14, 26, 20, 40)), (0, (16, 20, 22, 30)), (253, (16, 17, 22, 23))),
    ):
        nested[top:bottom, left:right] = value
    frame = np.full((9, 7), 2, np.uint8)
    frame[2:-2, 2:-2] = 0
    frame[4, 3] = 1
    single = np.zeros((5, 6), np.uint8)
    single[2, 3] = 1
    line = np.array([[1, 0, 1, 1, 2, 2, 0]], np.uint8)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16) % 254
    noise = generator.integers(0, 4, (17, 23)).astype(np.uint8)
    empty = np.zeros((4, 4), np.uint8)
    full = np.full((6, 5), 3, np.uint8)
    masks = {"nested": nested, "sub/frame": frame, "single": single, "line": line, "tall": line.T}
    return masks | {"every": every, "noise ä(1)": noise, "empty": empty, "full": full}


def write(path, masks, tool, confidence=None, **options):
    folder = LabelFolder(path / "out", {})
    images = {}
    for image_id, mask in masks.items():
        images[image_id] = str(save_image(path / "photos" / f"{image_id}.png", *mask.shape))
        write_label(folder.directory / "masks", image_id, np.ascontiguousarray(mask))
        if confidence is not None:
            folder.write_confidence(image_id, np.full(mask.shape, confidence, np.uint8))
    return write_preannotations(folder, images, path / "photos", NAMES, tool=tool, **options)


def import_again(path, written, tool):
    root = path / "root"
    root.mkdir()
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    if tool == "labelstudio":  # as if a person had accepted all of them
        tasks = [
            {**t, "annotations": t.pop("predictions")} for t in json.loads(written.read_text())
        ]
        written.write_text(json.dumps(tasks))
    source = written if tool != "yolo" else written / "data.yaml"
    options = ["--images", str(path / "photos"), "--format", tool]
    assert main(["import", str(source), str(root), *options]) == 0
    return root / "masks"


@each("tool", ["labelme", "cvat", "coco", "labelstudio"])
def test_masks_come_back_exactly(tmp_path, tool):
    path, masks = tmp_path / tool, example_masks()
    written = write(path, masks, tool, image_url="/data/local-files/?d=")
    found = import_again(path, written, tool)
    for image_id, mask in masks.items():
        np.testing.assert_array_equal(read_index_mask(str(found / f"{image_id}.png")), mask)


@each("tool", ["labelme", "cvat", "coco", "labelstudio", "yolo"])
def test_polygons_without_tolerance_come_back_exactly(tmp_path, tool):
    path, masks = tmp_path / tool, example_masks()
    written = write(path, masks, tool, tolerance=0)
    found = import_again(path, written, tool)
    for image_id, mask in masks.items():
        np.testing.assert_array_equal(read_index_mask(str(found / f"{image_id}.png")), mask)


@each("tool", ["labelme", "cvat", "coco", "labelstudio", "yolo"])
def test_polygons_are_close(tmp_path, tool, caplog):
    y, x = np.mgrid[:300, :400] + 0.5
    mask = (np.hypot(x - 200, y - 150) < 140).astype(np.uint8)
    mask[np.hypot(x - 180, y - 150) < 90] = 0
    mask[np.hypot(x - 180, y - 150) < 60] = 2
    path = tmp_path / tool
    written = write(path, {"a": mask}, tool, tolerance=0.5)
    assert "the lowest IoU of a region is 0.99" in caplog.text
    again = read_index_mask(str(import_again(path, written, tool) / "a.png"))
    for index in (1, 2):
        shared = ((again == index) & (mask == index)).sum()
        assert shared / ((again == index) | (mask == index)).sum() > 0.99


def test_unsure_pixels_have_no_shape(tmp_path):
    mask = np.full((4, 6), 255, np.uint8)
    mask[1:3, 2:4] = 1
    content = json.loads(write(tmp_path, {"a": mask}, "coco").read_text())
    (annotation,) = content["annotations"]
    assert annotation["bbox"] == [2, 1, 2, 2]
    assert (annotation["area"], annotation["category_id"], annotation["iscrowd"]) == (4, 1, 0)


def test_what_the_tools_ask_for(tmp_path):
    masks = {"sub/a b": np.ones((4, 6), np.uint8)}
    given = {name: tmp_path / name for name in ("labelme", "labelstudio", "cvat")}
    write(given["labelme"], masks, "labelme", confidence=204)
    content = json.loads((given["labelme"] / "out" / "labelme" / "sub" / "a b.json").read_text())
    assert content["imagePath"] == "../../../photos/sub/a b.png"
    assert content["shapes"][0]["description"] == "wsss_zoo 0.800"
    assert content["shapes"][0]["points"] == [[0, 0], [5, 3]]
    assert (content["imageData"], content["imageHeight"]) == (None, 4)
    written = write(given["labelstudio"], masks, "labelstudio", confidence=204, image_url="s3://b/")
    (task,) = json.loads(written.read_text())
    assert task["data"]["image"] == "s3://b/sub/a%20b.png"
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.8
    config = ET.parse(written.with_name("label_config.xml")).getroot()
    (control,) = config.iter("BrushLabels")
    assert prediction["result"][0]["from_name"] == control.get("name")
    assert prediction["result"][0]["to_name"] == control.get("toName") == config[0].get("name")
    assert config[0].get("value") == "$image"
    assert [label.get("value") for label in control] == NAMES[1:]
    image = next(ET.parse(write(given["cvat"], masks, "cvat")).getroot().iter("image"))
    assert (image.get("name"), image[0].get("source")) == ("sub/a b.png", "auto")


def test_models_without_background(tmp_path):
    mask = np.array([[0, 1], [255, 2]], np.uint8)
    written = write(tmp_path, {"a": mask}, "yolo", first_fg=0, tolerance=0)
    lines = (written / "labels" / "a.txt").read_text().splitlines()
    assert sorted(line[0] for line in lines) == ["0", "1", "2"]
    assert "0: background" in (written / "data.yaml").read_text()


def test_a_second_time_is_the_same(tmp_path):
    masks = example_masks()
    for tool in ("labelme", "cvat", "coco", "labelstudio", "yolo"):
        write(tmp_path, masks, tool)
        files = [p for p in (tmp_path / "out" / tool).rglob("*") if p.is_file()]
        before = {path: path.read_bytes() for path in files}
        write(tmp_path, masks, tool)
        assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize("tool", ["cvat"])
def test_names_are_escaped(tmp_path, tool):
    masks = {'a&"<b>': np.ones((2, 3), np.uint8)}
    found = import_again(tmp_path, write(tmp_path, masks, tool), tool)
    assert (found / 'a&"<b>.png').exists()


def test_predictions_that_nobody_changed_are_counted(tmp_path, capsys):
    """They would become true masks."""
    masks = {name: np.full((6, 5), 1, np.uint8) for name in ("a", "b")}
    written = write(tmp_path, masks, "labelme", confidence=200)
    corrected = json.loads((written / "b.json").read_text())
    corrected["shapes"][0]["description"] = ""
    (written / "b.json").write_text(json.dumps(corrected))
    options = ["--images", str(tmp_path / "photos"), "--rest", "background"]
    assert main(["import", str(written), str(tmp_path / "root"), *options]) == 0
    said = f"1 of 2 files have only shapes that wsss-zoo predicted, first: {written / 'a.json'}; "
    assert said in capsys.readouterr().out
