"""`wsss-zoo audit` as a user calls it."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wsss_zoo
from tests.checkpoints import save_checkpoint
from tests.labeling.conftest import MASKED, NAMES, OPTIONS, TRAIN, VAL, write_folder
from wsss_zoo import CAM
from wsss_zoo.cli import main
from wsss_zoo.labeling import audit, mask_faults
from wsss_zoo.pipeline import command as pipeline

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
FOLDER_OPTIONS = [*OPTIONS, "--model.weights", "null", "--model.freeze_backbone_bn", "false"]


def rows_of(folder):
    with (folder / "audit.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def problem_of(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def untrained(monkeypatch, trained):
    """In place of the trainings: one network for all folds; gives their lists."""
    lists = {}

    def stand_in(config, subsets, data, out, options=()):
        lists.update(subsets)
        path = trained.run / "checkpoints" / "last.ckpt"
        if config["model"]["class_path"] == "CAM":
            torch.manual_seed(0)
            method = CAM(len(NAMES), backbone="test_resnet")
            path = Path(save_checkpoint(out / "cam.ckpt", method, NAMES))
        return dict.fromkeys(subsets, path)

    monkeypatch.setattr(audit, "train_on_subsets", stand_in)
    return lists


def test_masks_and_tags_of_a_folder_are_ranked(trained, tmp_path, untrained, capsys):
    out = tmp_path / "out"
    command = ["audit", str(trained.root), "--folds", "2", "--count", "3", "--out", str(out)]
    assert main(command) == 0
    rows = rows_of(out)
    for kind in ("class", "object", "outline"):
        assert {row["image_id"] for row in rows if row["kind"] == kind} == {*MASKED, *VAL}
    assert {row["image_id"] for row in rows if row["kind"] == "tag"} == {"t00", "t01", "t08"}
    lists = [set(ids) for ids in untrained.values()]
    assert set.union(*lists) == {*MASKED, *VAL}
    assert not set.intersection(*lists)
    suspects = (out / "suspects.txt").read_text().split()
    assert len(suspects) == 3
    assert set((out / "trusted.txt").read_text().split()) == set(TRAIN) - set(suspects)
    with Image.open(out / "audit.png") as sheet:
        assert sheet.size[1] > 100
    assert "11 masks and the tags of 3 images were judged" in capsys.readouterr().out


def test_scores_are_those_of_the_functions(trained, tmp_path, untrained):
    main(["audit", str(trained.root), "--folds", "2", "--out", str(tmp_path)])
    segmenter = wsss_zoo.load(trained.run / "checkpoints" / "last.ckpt", device="cpu")
    found = {(row["image_id"], row["kind"]): float(row["score"]) for row in rows_of(tmp_path)}
    for image_id in MASKED[:3]:
        probs = segmenter(trained.root / "images" / f"{image_id}.png").probs
        mask = np.array(Image.open(trained.root / "masks" / f"{image_id}.png"))
        for kind, fault in mask_faults(probs, mask).items():
            assert found[image_id, kind] == pytest.approx(fault.score, abs=1e-4)


def test_tags_alone_are_judged_by_a_classifier(tmp_path, untrained, capsys):
    root = write_folder(tmp_path / "photos", masked=[], tagged=tuple(TRAIN))
    shutil.rmtree(root / "masks")
    out = tmp_path / "photos_audit"
    assert main(["audit", str(root), "--folds", "2", "--count", "4"]) == 0
    rows = rows_of(out)
    assert {row["kind"] for row in rows} == {"tag"}
    assert sorted(row["image_id"] for row in rows) == TRAIN
    assert "0 masks and the tags of 12 images" in capsys.readouterr().out
    assert (out / "audit.png").is_file()


def test_run_of_a_tag_method_is_judged_by_its_tags(copied, untrained):
    path = copied.run / "config.yaml"
    path.write_text(path.read_text().replace("wsss_zoo.Supervised", "CAM").replace(
        "class_path: Supervised", "class_path: CAM"))  # fmt: skip
    options = ["--folds", "2", "--root", str(copied.root)]
    assert main(["audit", str(copied.run), *options]) == 0
    assert {row["image_id"] for row in rows_of(copied.run / "audit")} == {"t00", "t01", "t08"}


@pytest.mark.slow
def test_folds_are_trained_once_and_again_after_a_correction(copied, tmp_path, forked, monkeypatch):
    out = tmp_path / "out"
    command = ["audit", str(copied.root), "--folds", "2", "--out", str(out), *FOLDER_OPTIONS]
    assert main(command) == 0
    rows = rows_of(out)
    calls = []
    monkeypatch.setattr(pipeline, "_call", lambda *given: calls.append(given) or 3)
    assert main(command) == 0
    assert not calls
    assert rows_of(out) == rows
    shutil.copy(copied.root / "masks" / "t01.png", copied.root / "masks" / "t00.png")
    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        main(command)
    assert len(calls) == 1


@pytest.mark.slow
def test_classifiers_of_tags_are_trained(tmp_path, forked):
    root = write_folder(tmp_path / "photos", masked=[], tagged=tuple(TRAIN))
    shutil.rmtree(root / "masks")
    assert main(["audit", str(root), "--folds", "2", *FOLDER_OPTIONS]) == 0
    assert len(rows_of(tmp_path / "photos_audit")) == len(TRAIN)


def test_run_is_repeated_without_what_has_seen_its_labels(copied, monkeypatch):
    path = copied.run / "config.yaml"
    text = path.read_text().replace("Supervised", "FixMatch")
    path.write_text(text.replace("init_from: null", "init_from: start.ckpt"))
    assert "start.ckpt" in path.read_text()
    called = []
    monkeypatch.setattr(pipeline, "_call", lambda *given: called.append(given[2].settings) or 3)
    with pytest.raises(RuntimeError, match="exit code 3"):
        main(["audit", str(copied.run), "--folds", "2", "--root", str(copied.root)])
    settings = called[0]
    assert settings["model"]["class_path"].endswith("FixMatch")
    assert "init_from" not in settings["model"]["init_args"]
    data = settings["data"]["init_args"]
    assert data["labeled_split"].startswith(str(copied.run / "audit" / "lists"))
    assert (data["val_split"], data["train_split"]) == (None, "train")
    assert settings["trainer"]["max_steps"] == 2


def test_bad_input_is_refused(trained, tmp_path, capsys):
    root = str(trained.root)
    cases = {
        ("--folds", "1"): "folds is 1, and 11 images have masks",
        ("--folds", "12"): "folds is 12, and 11 images have masks",
        ("--count", "0"): "count is 0",
        ("--root", root): "is itself the data set",
        ("--step", "3"): "unrecognized argument --step",
        ("--data.crop", "3"): "crop",
        ("--data", "VOC2012"): "follow from the run or the folder",
        ("--data.train_split", "val"): "follow from the run or the folder",
        ("--out", f"{root}/classes.txt"): "cannot be written",
    }
    for options, message in cases.items():
        assert message in problem_of(["audit", root, *options], capsys), options
    assert "does not exist" in problem_of(["audit", str(tmp_path / "none")], capsys)
    assert "is no run" in problem_of(["audit", str(tmp_path)], capsys)


def test_nothing_to_judge_is_said(tmp_path, capsys):
    root = write_folder(tmp_path / "photos", masked=[])
    for image_id in VAL:
        (root / "masks" / f"{image_id}.png").unlink()
    assert "there is nothing to audit" in problem_of(["audit", str(root)], capsys)


def test_methods_whose_labels_cannot_be_held_out_are_refused(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    path = run / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("Supervised", "SimFormer"))
    assert "cannot be held out image by image" in problem_of(["audit", str(run)], capsys)
    path.write_text(text.replace("pseudo_label_dir: null", "pseudo_label_dir: labels"))
    assert "learned from pseudo-labels in labels" in problem_of(["audit", str(run)], capsys)


def test_broken_mask_is_an_error_before_training(copied, capsys):
    mask = np.full((5, 5), 0, np.uint8)
    Image.fromarray(mask).save(copied.root / "masks" / "t03.png")
    assert "t03" in problem_of(["audit", str(copied.root)], capsys)
