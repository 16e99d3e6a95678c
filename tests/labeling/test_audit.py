"""`wsss-zoo audit` as a user calls it."""

import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.labeling.conftest import MASKED, OPTIONS, TRAIN, VAL, train, write_folder
from wsss_zoo.cli import main
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


def test_folder_is_judged_by_folds(trained, tmp_path, forked, capfd, monkeypatch):
    out = tmp_path / "out"
    command = ["audit", str(trained.root), "--folds", "2", "--count", "3", "--out", str(out)]
    assert main([*command, *FOLDER_OPTIONS]) == 0
    rows = rows_of(out)
    for kind in ("class", "object", "outline"):
        assert {row["image_id"] for row in rows if row["kind"] == kind} == {*MASKED, *VAL}
    assert {row["image_id"] for row in rows if row["kind"] == "tag"} == {"t00", "t01", "t08"}
    lists = [set(path.read_text().split()) for path in sorted((out / "lists").iterdir())]
    assert set.union(*lists) == {*MASKED, *VAL}
    assert not set.intersection(*lists)
    suspects = (out / "suspects.txt").read_text().split()
    assert len(suspects) == 3
    assert set((out / "trusted.txt").read_text().split()) == set(TRAIN) - set(suspects)
    with Image.open(out / "audit.png") as sheet:
        assert sheet.size[1] > 100
    printed = capfd.readouterr().out
    assert "11 masks and the tags of 3 images were judged" in printed
    # Again nothing is trained; after a correction everything is.
    calls = []
    monkeypatch.setattr(pipeline, "_call", lambda *given: calls.append(given) or 3)
    assert main([*command, *FOLDER_OPTIONS]) == 0
    assert not calls
    assert rows_of(out) == rows
    mask = trained.root / "masks" / "t00.png"
    kept = mask.stat()
    os.utime(mask, ns=(kept.st_atime_ns, kept.st_mtime_ns + 10**9))
    try:
        with pytest.raises(RuntimeError, match="ended with exit code 3"):
            main([*command, *FOLDER_OPTIONS])
    finally:
        os.utime(mask, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert len(calls) == 1


def test_run_is_repeated_without_what_has_seen_its_labels(trained, tmp_path, monkeypatch, capsys):
    start = str(trained.run / "checkpoints" / "last.ckpt")
    run = train(trained.root, tmp_path / "run", "FixMatch", "--model.init_from", start,
                "--data.unlabeled_batch_size", "1")  # fmt: skip
    called = []

    def call(command, recipe, step, lock):
        called.append(step.settings)
        return 3

    monkeypatch.setattr(pipeline, "_call", call)
    with pytest.raises(RuntimeError, match="exit code 3"):
        main(["audit", str(run), "--folds", "2"])
    settings = called[0]
    assert settings["model"]["class_path"].endswith("FixMatch")
    assert "init_from" not in settings["model"]["init_args"]
    data = settings["data"]["init_args"]
    assert data["labeled_split"].startswith(str(run / "audit" / "lists"))
    assert (data["val_split"], data["train_split"]) == (None, "train")
    assert settings["trainer"]["max_steps"] == 2


def test_tags_alone_are_judged_by_a_classifier(tmp_path, forked, capfd):
    root = write_folder(tmp_path / "photos", masked=[], tagged=tuple(TRAIN))
    shutil.rmtree(root / "masks")
    out = tmp_path / "photos_audit"
    assert main(["audit", str(root), "--folds", "2", "--count", "4", *FOLDER_OPTIONS]) == 0
    rows = rows_of(out)
    assert {row["kind"] for row in rows} == {"tag"}
    assert sorted(row["image_id"] for row in rows) == TRAIN
    assert "0 masks and the tags of 12 images" in capfd.readouterr().out
    assert (out / "audit.png").is_file()


def test_bad_input_is_refused(trained, tmp_path, capsys):
    root = str(trained.root)
    cases = {
        ("--folds", "1"): "folds is 1, and 11 images have masks",
        ("--folds", "12"): "folds is 12, and 11 images have masks",
        ("--count", "0"): "count is 0",
        ("--root", root): "is itself the data set",
        ("--step", "3"): "unrecognized argument --step",
        ("--data.crop", "3"): "crop",
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
