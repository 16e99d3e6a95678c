import re
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.exports import (
    coco,
    cvat,
    labelme,
    labelme_shape,
    labelstudio,
    result,
    save_image,
    task,
    voc,
)
from wsss_zoo.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "labelling_tools.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"(?:^|`)(wsss-zoo import [^`\n]+)", PAGE, re.MULTILINE)))


@pytest.fixture
def exports(tmp_path, monkeypatch):
    """All that the page names."""
    monkeypatch.chdir(tmp_path)
    square = [[10, 10], [30, 10], [30, 30], [10, 30]]
    for folder in ("photos", "my_labelme", "my_yolo/images", "predicted/images"):
        save_image(tmp_path / folder / "a.jpg")
        save_image(tmp_path / folder / "b.jpg")
    labelme(tmp_path / "my_labelme" / "a.json", [labelme_shape("cat", square)])
    polygon = '<polygon label="cat" points="10,10;30,10;30,30;10,30" z_order="0"/>'
    cvat(tmp_path / "annotations.xml", [("a.jpg", polygon, "")])
    with zipfile.ZipFile(tmp_path / "cvat_export.zip", "w") as archive:
        archive.write(tmp_path / "annotations.xml", "annotations.xml")
    colors = np.zeros((40, 60, 3), np.uint8)
    colors[10:30, 10:30] = 9
    Image.fromarray(colors).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "cvat_masks.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "SegmentationClass/a.png")
        archive.writestr("labelmap.txt", "background:0,0,0::\ncat:9,9,9::\n")
    flat = [coordinate for point in square for coordinate in point]
    coco(tmp_path / "instances.json", [{"category_id": 1, "segmentation": [flat]}])
    line = "0 " + " ".join(f"{x / 60} {y / 40}" for x, y in square)
    for folder, end in (("my_yolo", ""), ("predicted", " 0.9")):
        (tmp_path / folder / "labels").mkdir()
        (tmp_path / folder / "labels" / "a.txt").write_text(line + end)
        (tmp_path / folder / "data.yaml").write_text("names: [cat]\ntrain: images\n")
    value = {"points": [[x / 0.6, y / 0.4] for x, y in square], "polygonlabels": ["cat"]}
    labelstudio(tmp_path / "project.json", [task([result("polygonlabels", value)])])
    objects = (
        "<object><name>cat</name><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>30</xmax>"
        "<ymax>30</ymax></bndbox></object>"
    )
    voc(tmp_path / "Annotations" / "a.xml", objects)


def test_every_command_of_the_page_runs(exports):
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, command
        root = Path("my_photos")
        assert {path.name for path in (root / "images").iterdir()} == {"a.jpg", "b.jpg"}
        if "Annotations" in command:
            lines = (root / "boxes.csv").read_text().splitlines()
            assert lines[1] == "a,cat,10.0,10.0,30.0,30.0"
        else:
            with Image.open(root / "masks" / "a.png") as mask:
                assert np.count_nonzero(np.asarray(mask)) == 400, command
        assert (root / "masks" / "b.png").exists() == ("--missing" in command)
        shutil.rmtree(root)
