import csv
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.graph_folders import grid_graph
from tests.each import each
from tests.report.page.test_examples import write_sheet
from tests.report.run_folders import write_run
from tests.security.hostile import BAD_IDS
from wsss_zoo import Folder
from wsss_zoo.callbacks import NoiseDetector
from wsss_zoo.callbacks.regions.given_labels import open_labels
from wsss_zoo.cli import main
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.data.reading.splits import read_split
from wsss_zoo.data.reading.tag_files import read_tag_file
from wsss_zoo.data.sets.coco_annotations import read_annotations, read_tags, write_tags
from wsss_zoo.drawing.pictures import PANELS
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.pseudo_labels import read_cam, read_label, write_cam, write_label
from wsss_zoo.files.region_graphs import has_graph, read_graph, write_graph
from wsss_zoo.modules import ProbabilityEnsemble
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.page.examples import collect_examples

LABEL = np.zeros((4, 5), dtype=np.uint8)
CAM = np.zeros((1, 4, 5), dtype=np.float32)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def noise_pixels(folder, image_id):
    detector = NoiseDetector()
    detector._directory = folder
    return detector._pixels_of(image_id)


WRITERS = {
    "label map": lambda folder, name: write_label(folder, name, LABEL),
    "CAM": lambda folder, name: write_cam(folder, name, CAM, np.zeros(1, dtype=np.int64)),
    "graph": lambda folder, name: write_graph(folder, name, grid_graph()),
    "mask": lambda folder, name: LabelFolder(folder, {}).write(name, LABEL, None),
    "overlay": lambda folder, name: LabelFolder(folder, {}).write(
        name, LABEL, np.zeros((4, 5, 3), dtype=np.uint8)
    ),
    "losses": noise_pixels,
}
READERS = {
    "label map": read_label,
    "CAM": read_cam,
    "graph": read_graph,
    "presence of a graph": has_graph,
    "given labels": lambda folder, name: open_labels(str(folder), ["a"], [name], "--labels"),
}


@pytest.mark.parametrize("kind", WRITERS)
@each("image_id", BAD_IDS)
def test_writers(kind, image_id, tmp_path):
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(ValueError, match=re.escape(repr(image_id))):
        WRITERS[kind](folder, image_id)
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("kind", READERS)
@each("image_id", BAD_IDS)
def test_readers(kind, image_id, tmp_path):
    # What the id leads to exists.
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True, exist_ok=True)
    write_label(tmp_path / "a", "x", LABEL)
    with pytest.raises(ValueError, match=re.escape(repr(image_id))):
        READERS[kind](folder, image_id)


# A list has one id a line, an empty line none.
@each("image_id", [name for name in BAD_IDS if name and "\n" not in name])
def test_lists(image_id, tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(f"good\n{image_id}\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}: id {image_id!r}")):
        read_split(path)


@each("image_id", BAD_IDS)
def test_tag_files(image_id, tmp_path):
    path = tmp_path / "image_labels.json"
    path.write_text(json.dumps({"good": ["cat"], image_id: ["cat"]}))
    with pytest.raises(ValueError, match=re.escape(f"{path}: id {image_id!r}")):
        read_tag_file(path)
    path = tmp_path / "image_labels.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["image_id", "classes"], ["good", "cat"], [image_id, "cat"]])
    with pytest.raises(ValueError, match=re.escape(f"{path}: id {image_id!r}")):
        read_tag_file(path)


@each("image_id", BAD_IDS)
def test_coco(image_id, tmp_path, monkeypatch):
    from wsss_zoo.data.sets.class_names.coco import COCO_THINGS

    path = tmp_path / "instances.json"
    categories = [{"id": number, "name": name} for number, name in enumerate(COCO_THINGS)]
    image = {"id": 1, "file_name": f"{image_id}.jpg", "height": 4, "width": 5}
    content = {"images": [image], "annotations": [], "categories": categories}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is no image of COCO 2014"):
        read_annotations(path)
    # Stored tags of such a file, as if another program had written them.
    write_tags(tmp_path / "tags.json", {image_id: ["person"]}, "digest")
    assert read_tags(tmp_path / "tags.json", "digest") is None


@each("name", ["../ensemble-00000001-0123456789abcdef.bin", "/etc/passwd"])
def test_files_of_ensembles(name):
    state = {"image_ids": ["a"], "cells": 4, "file": name}
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        ProbabilityEnsemble(3, 4, 0.6).load_state_dict(state, torch.device("cpu"))


@pytest.mark.parametrize("stage", ["..", "", ".", "a/../..", "/etc", "a\0b"])
def test_stages_of_a_pipeline(stage, tmp_path):
    root = tmp_path / "all" / "pipeline"
    write_run(tmp_path / "all" / "outside")
    write_run(root / "good")
    steps = {name: {"seconds": 1.0} for name in ("good", stage)}
    (root / "summary.json").write_text(json.dumps({"recipe": "r", "steps": steps}))
    folders = [run.folder for run in find_runs([root]).runs]
    assert folders == [root / "good"]


@each("image_id", BAD_IDS)
def test_panels_of_a_picture(image_id, tmp_path):
    """Their ids are shown, and no file is read by them."""
    run = write_run(tmp_path / "a")
    write_sheet(run, 1, ids=(image_id,))
    found = collect_examples(compare(find_runs([tmp_path])))
    assert [example.image_id for example in found.images] == [image_id]


@each("box", [[0, 0, 10**9, 10**9], [-5, 0, 5, 5], [5, 5, 5, 9], [1], "abcd"])
def test_panels_outside_of_the_picture(box, tmp_path):
    run = write_run(tmp_path / "a")
    write_sheet(run, 1)
    path = run / "pictures" / "val_epoch000.png"
    with Image.open(path) as sheet:
        sheet.load()
        content = json.loads(sheet.info[PANELS])
    for panel in content["panels"]:
        panel["box"] = box
    sheet.info[PANELS] = json.dumps(content)
    from wsss_zoo.drawing.pictures import save_sheet

    save_sheet(sheet, path)
    found = collect_examples(compare(find_runs([tmp_path])))
    assert found.images == []
    assert "its pictures cannot be read" in found.notes[0]


def folder_of_images(root, names, classes="background\ncat\n"):
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "classes.txt").write_text(classes)
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / "images" / f"{name}.png")
        Image.new("L", (8, 8), 1).save(root / "masks" / f"{name}.png")
    return root


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\\b", "\x07"])
def test_names_of_files(name, tmp_path, capsys):
    root = folder_of_images(tmp_path / "data", ["good", name])
    with pytest.raises(ValueError, match="so it is no image id; rename the file") as error:
        Folder(str(root)).setup("fit")
    assert str(error.value).isprintable()
    assert main(["inspect", "--data", "Folder", "--data.root", str(root), "--num_images", "0"]) == 1
    said = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in said)


@each("name", ["a\x1b[31mb", "a\0b", "a\x07"])
def test_names_of_classes_that_steer_a_terminal(name, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text(f"cat\n{name}\n")
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        read_class_file(path)


@pytest.mark.parametrize("name", ["[red]cat[/red]", "[/]", "[link=x]cat", ":cat:", "[bold"])
def test_names_of_classes_are_no_markup(name, tmp_path, capsys):
    root = folder_of_images(tmp_path / "data", ["one", "two"], f"background\n{name}\n")
    (root / "image_labels.json").write_text(json.dumps({"one": [name], "two": []}))
    assert main(["inspect", "--data", "Folder", "--data.root", str(root), "--num_images", "0"]) == 0
    assert name in capsys.readouterr().out
    from wsss_zoo.drawing.class_table import print_class_table

    print_class_table("title", {"IoU": {name: 0.5}}, {name: 1.0})
    assert capsys.readouterr().out.count(name) == 2
