"""`wsss-zoo next` as a user calls it, on a folder and on generated data."""

import csv
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints import save_checkpoint
from tests.labeling.conftest import MASKED, NAMES, SIZE, TRAIN, VAL, train
from tests.tiny import tiny
from wsss_zoo import CAM
from wsss_zoo.cli import main
from wsss_zoo.functional import confusion_matrix, mean_iou
from wsss_zoo.labeling import forecast
from wsss_zoo.labeling.next_images import calibrate
from wsss_zoo.labeling.opened_run import open_run

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


def rows_of(folder):
    with (folder / "next.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_lists_unlabelled_images_and_writes_prelabels(trained, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["next", str(trained.run), "--count", "3", "--to", "labelme", "--out", str(out)]
    assert main(command) == 0
    listed = (out / "next.txt").read_text().split()
    assert len(set(listed)) == 3
    assert set(listed) < set(TRAIN) - set(MASKED)
    rows = rows_of(out)
    assert [row["image_id"] for row in rows] == listed
    assert all(0 <= float(row["uncertainty"]) <= 1 <= float(row["need"]) for row in rows)
    with Image.open(out / "next.png") as sheet:
        assert sheet.size[0] > 300
    for image_id in listed:
        shapes = json.loads((out / "labelme" / f"{image_id}.json").read_text())
        assert (out / "labelme" / shapes["imagePath"]).resolve().is_file()
        assert {shape["label"] for shape in shapes["shapes"]} <= set(NAMES[1:])
        with Image.open(out / "masks" / f"{image_id}.png") as mask:
            assert mask.size == (SIZE, SIZE)
    assert "pre-labels for labelme" in capsys.readouterr().out
    again = tmp_path / "again"
    checkpoint = trained.run / "checkpoints" / "last.ckpt"
    assert main(["next", str(checkpoint), "--count", "3", "--out", str(again)]) == 0
    assert (again / "next.csv").read_text() == (out / "next.csv").read_text()


def test_a_run_whose_average_of_weights_predicts(trained, tmp_path):
    run = train(trained.root, tmp_path / "run", "FixMatch", "--model.evaluate", "average")
    assert main(["next", str(run), "--count", "2", "--out", str(tmp_path / "out")]) == 0
    assert len(rows_of(tmp_path / "out")) == 2


def test_tags_are_known_where_they_are_given(trained, tmp_path):
    main(["next", str(trained.run), "--out", str(tmp_path), "--count", "4"])
    with (trained.root / "image_labels.csv").open(newline="") as file:
        tags = {row["id"]: row["classes"] for row in csv.DictReader(file)}
    shows = {row["image_id"]: row["shows"] for row in rows_of(tmp_path)}
    assert set(shows["t08"].split(";")) == set(tags["t08"].split(";"))
    main(["next", str(trained.run), "--out", str(tmp_path), "--count", "3", "--kind", "tags"])
    assert {row["image_id"] for row in rows_of(tmp_path)} == {"t09", "t10", "t11"}


def test_scribbled_images_are_not_asked_for_again(copied, tmp_path):
    (copied.root / "sparse").mkdir()
    label = np.full((SIZE, SIZE), 255, np.uint8)
    label[:4] = 0
    Image.fromarray(label).save(copied.root / "sparse" / "t09.png")
    options = ["--root", str(copied.root), "--out", str(tmp_path / "o"), "--count", "3"]
    assert main(["next", str(copied.run), "--kind", "scribbles", *options]) == 0
    assert {row["image_id"] for row in rows_of(tmp_path / "o")} == {"t08", "t10", "t11"}


def test_fewer_images_than_asked_and_newer_masks_are_said(copied, caplog):
    shutil.copy(copied.root / "masks" / "t00.png", copied.root / "masks" / "t08.png")
    newer = (copied.root / "masks" / "t08.png").stat().st_mtime
    checkpoint = copied.run / "checkpoints" / "last.ckpt"
    os.utime(checkpoint, (newer - 1, newer - 1))
    assert main(["next", str(copied.run), "--root", str(copied.root)]) == 0
    assert "only 3 images are without masks" in caplog.text
    assert "masks are newer than" in caplog.text
    assert len(rows_of(copied.run / "next")) == 3


def test_generated_images_with_a_labelled_share(tmp_path):
    run = tmp_path / "run"
    options = [*tiny(SIZE, 8), "--trainer.max_steps", "1", "--data.labeled_split", "0.5"]
    main(["fit", "--model", "Supervised", *options, "--trainer.default_root_dir", str(run)])
    assert main(["next", str(run), "--count", "2"]) == 0
    labeled = (run / "labeled_split.txt").read_text().split()
    listed = (run / "next" / "next.txt").read_text().split()
    assert len(listed) == 2
    assert not set(listed) & set(labeled)
    with pytest.raises(SystemExit):
        main(["next", str(run), "--to", "coco"])


def test_temperature_makes_held_out_masks_most_probable(trained):
    opened = open_run(trained.run)
    found = calibrate(opened)
    logs, target = [], []
    for image_id in VAL:
        probs = opened.segmenter(str(trained.root / "images" / f"{image_id}.png")).probs
        logs.append(torch.from_numpy(probs).log().flatten(1))
        target.append(torch.from_numpy(opened.data.read_mask(image_id)).long().flatten())
    logits, truth = torch.cat(logs, 1).T, torch.cat(target)
    losses = {
        t: torch.nn.functional.cross_entropy(logits / t, truth, ignore_index=255).item()
        for t in np.geomspace(0.06, 18, 120)
    }
    # It sees some of the pixels.
    nearest = torch.nn.functional.cross_entropy(logits / found, truth, ignore_index=255).item()
    assert nearest < min(losses.values()) * 1.02


def test_forecast_comes_from_a_quarter_a_half_and_all(trained, tmp_path, monkeypatch, capsys):
    lists = {}

    def stand_in(config, subsets, data, out, options):
        lists.update(subsets)
        assert options == ["--trainer.max_steps", "1"]
        return dict.fromkeys(subsets, trained.run / "checkpoints" / "last.ckpt")

    monkeypatch.setattr(forecast, "train_on_subsets", stand_in)
    options = ["--count", "4", "--forecast", "--out", str(tmp_path), "--trainer.max_steps", "1"]
    assert main(["next", str(trained.run), *options]) == 0
    assert (len(lists["quarter"]), len(lists["half"])) == (2, 4)
    assert set(lists["quarter"]) < set(lists["half"]) < set(MASKED)
    printed = capsys.readouterr().out.splitlines()
    found = [line for line in printed if "val mIoU" in line]
    assert [line.split()[0] for line in found] == ["2", "4", "8", "4"]
    # One network, three times: its val mIoU, no gain, and the error of equal scores.
    opened = open_run(trained.run)
    confusion = sum(
        confusion_matrix(
            torch.from_numpy(opened.segmenter(opened.data.read_image(i)).mask).long(),
            torch.from_numpy(opened.data.read_mask(i)).long(),
            len(NAMES),
            255,
        )
        for i in VAL
    )
    assert f"val mIoU {100 * mean_iou(confusion):.1f} ±" in found[0]
    assert found[3].startswith("4 more masks: +0.0 ±")


@pytest.mark.slow
def test_networks_of_the_forecast_are_trained(trained, tmp_path, forked, capfd):
    options = ["--forecast", "--out", str(tmp_path), "--trainer.max_steps", "1"]
    assert main(["next", str(trained.run), *options]) == 0
    assert "20 more masks: " in (printed := capfd.readouterr().out)
    assert "a guess" in printed


def problem_of(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_bad_options_are_refused(trained, capsys, tmp_path):
    run = str(trained.run)
    cases = {
        ("--count", "0"): "count is 0; give at least 1",
        ("--kind", "tags", "--to", "coco"): "which takes masks, but kind is tags",
        ("--kind", "tags", "--forecast"): "a forecast is of masks",
        ("--trainer.max_steps", "3"): "add --forecast",
        ("--counts", "3"): "unrecognized argument --counts",
        ("--root", str(tmp_path)): "classes.txt is missing",
        ("--out", f"{run}/config.yaml"): "cannot be written",
    }
    for options, message in cases.items():
        assert message in problem_of(["next", run, *options], capsys), options


def test_what_is_no_run_is_refused(trained, capsys, tmp_path):
    assert "does not exist" in problem_of(["next", str(tmp_path / "none")], capsys)
    assert "is a data set, not a run" in problem_of(["next", str(trained.root)], capsys)
    assert f"runs in it: {trained.run}" in problem_of(["next", str(trained.run.parent)], capsys)
    (tmp_path / "run").mkdir()
    shutil.copy(trained.run / "config.yaml", tmp_path / "run")
    assert "has no checkpoints/last.ckpt" in problem_of(["next", str(tmp_path / "run")], capsys)
    (tmp_path / "run" / "config.yaml").write_text("a: [")
    (tmp_path / "run" / "checkpoints").mkdir()
    shutil.copy(trained.run / "checkpoints/last.ckpt", tmp_path / "run" / "checkpoints")
    assert "is not YAML" in problem_of(["next", str(tmp_path / "run")], capsys)
    (tmp_path / "run" / "config.yaml").write_text("a: 1")
    assert "names no data set" in problem_of(["next", str(tmp_path / "run")], capsys)


def test_run_of_another_data_set_is_refused(copied, capsys):
    options = ["next", str(copied.run), "--root", str(copied.root)]
    (copied.run / "labeled_split.txt").write_text("t00\nelsewhere\n")
    assert "1 of 2 images that the data set has not, first: elsewhere" in problem_of(
        options, capsys
    )
    names = (copied.root / "classes.txt").read_text()
    (copied.root / "classes.txt").write_text(names.replace(NAMES[-1], "star"))
    assert "it is a run of another data set" in problem_of(options, capsys)


def test_nothing_left_and_too_few_for_a_forecast_are_said(copied, capsys):
    options = ["next", str(copied.run), "--root", str(copied.root)]
    for image_id in MASKED[4:]:
        (copied.root / "masks" / f"{image_id}.png").unlink()
    assert "needs 8 training masks" in problem_of([*options, "--forecast"], capsys)
    for image_id in TRAIN:
        shutil.copy(copied.root / "masks" / "v0.png", copied.root / "masks" / f"{image_id}.png")
    assert "all 12 training images have masks" in problem_of(options, capsys)


def test_run_that_makes_no_masks_is_refused(copied, capsys):
    path = copied.run / "checkpoints" / "last.ckpt"
    save_checkpoint(path, CAM(len(NAMES), backbone="test_resnet"), NAMES)
    assert "a segmenter is needed" in problem_of(["next", str(copied.run)], capsys)


def test_class_that_a_run_names_is_not_imported(copied, capsys):
    path = copied.run / "config.yaml"
    text = path.read_text().replace("wsss_zoo.Supervised", "antigravity.Method")
    path.write_text(text.replace("class_path: Supervised", "class_path: antigravity.Method"))
    assert "antigravity" in path.read_text()
    options = ["next", str(copied.run), "--root", str(copied.root), "--forecast"]
    assert "nothing is imported" in problem_of(options, capsys)
    assert "antigravity" not in sys.modules
