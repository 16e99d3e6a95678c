import json

import pytest

from tests.each import each
from tests.report.run_folders import NAMES, write_run
from wsss_zoo.files.atomic import read_json
from wsss_zoo.report.runs import read_run


def test_a_finished_run(tmp_path):
    run = read_run(write_run(tmp_path / "r", "FixMatch", 3, 0.6, conf_thresh=0.9))
    assert (run.method, run.seed, run.finished, run.problems) == ("FixMatch", 3, True, [])
    assert run.settings["model.conf_thresh"] == "0.9"
    assert run.class_names == NAMES
    assert run.confusion.shape == (3, 3)
    # What validate measured, not the last row of the training.
    assert run.number("val/miou") == 0.6
    assert run.curves["val/miou"].values.tolist() == [0.5]


def test_without_validate_the_last_row_counts(tmp_path):
    run = read_run(write_run(tmp_path / "r", miou=0.6, results=False))
    assert run.number("val/miou") == pytest.approx(0.5)
    assert run.number("val/map") is None


def test_a_run_that_was_stopped(tmp_path):
    run = read_run(write_run(tmp_path / "r", steps=20, results=False))
    assert not run.finished
    assert run.problems == ["not finished: its last row is of step 20 of 40"]
    assert run.number("val/miou") is None
    assert run.metrics["val/miou"] == pytest.approx(0.4)


def test_a_stopped_run_that_was_measured_counts(tmp_path):
    run = read_run(write_run(tmp_path / "r", steps=20, miou=0.6))
    assert run.number("val/miou") == 0.6
    assert run.number("train/loss") is None
    assert "not finished" in run.problems[0]


@pytest.mark.parametrize(("epochs", "finished"), [(3, True), (4, False)])
def test_epochs(tmp_path, epochs, finished):
    trainer = {"max_steps": -1, "max_epochs": epochs, "log_every_n_steps": 1}
    folder = write_run(tmp_path / "r", results=False, trainer=trainer)
    rows = "".join(f"{step // 10},{step},1\n" for step in range(30))
    (folder / "metrics.csv").write_text("epoch,step,train/loss\n" + rows)
    # One epoch may still end without a row of its own.
    run = read_run(folder)
    assert run.finished or not finished
    (folder / "metrics.csv").write_text("epoch,step,train/loss\n" + rows[: len(rows) // 3])
    assert not read_run(folder).finished


@pytest.mark.parametrize(("every", "seen", "finished"), [(1, 4, True), (1, 3, False), (2, 3, True)])
def test_validations_tell_where_short_epochs_ended(tmp_path, every, seen, finished):
    trainer = {"max_steps": -1, "max_epochs": 4, "check_val_every_n_epoch": every}
    folder = write_run(tmp_path / "r", results=False, trainer=trainer)
    # Two steps in an epoch, a row of the training every ten.
    rows = "".join(f"{epoch},{2 * epoch + 1},,0.5\n" for epoch in range(seen))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/miou\n" + rows)
    assert read_run(folder).finished == finished


def test_a_run_without_metrics(tmp_path):
    folder = write_run(tmp_path / "r", results=False)
    (folder / "metrics.csv").unlink()
    run = read_run(folder)
    assert "no metrics" in run.problems[0]
    assert not run.finished
    (folder / "pseudo_labels").mkdir()
    (folder / "pseudo_labels" / "manifest.json").write_text("{}")
    assert read_run(folder).problems == ["no metrics: it only wrote label maps"]


@each("text", ["model: [", "- 1", "", "\x00", "a: &a [*a]", "a: &a {b: *a}", "? [1]\n: 2"])
def test_a_damaged_configuration(tmp_path, text):
    folder = write_run(tmp_path / "r")
    (folder / "config.yaml").write_text(text)
    run = read_run(folder)
    assert run.seed is None
    assert run.method in ("Supervised", "unknown method")
    assert "config.yaml" in run.problems[0]
    assert run.number("val/miou") == 0.5


@each("text", ["{", "[]", "3", '{"metrics": 3}', "\x00"])
def test_damaged_results(tmp_path, text):
    folder = write_run(tmp_path / "r")
    (folder / "val_results.json").write_text(text)
    run = read_run(folder)
    assert run.problems == ["val_results.json is damaged; it is left out"]
    assert run.number("val/miou") == pytest.approx(0.4)


@each("confusion", [[[1, 2]], "x", [[1], [2, 3]], [["a"]], None, []])
def test_a_damaged_confusion_matrix(tmp_path, confusion):
    folder = write_run(tmp_path / "r")
    content = read_json(folder / "val_results.json") | {"confusion": confusion}
    (folder / "val_results.json").write_text(json.dumps(content))
    run = read_run(folder)
    assert run.confusion is None
    assert "confusion matrix" in run.problems[0]


def test_numbers_that_are_not_finite(tmp_path):
    folder = write_run(tmp_path / "r")
    content = read_json(folder / "val_results.json")
    content["metrics"]["val/miou"] = float("nan")
    (folder / "val_results.json").write_text(json.dumps(content))
    run = read_run(folder)
    assert run.number("val/miou") is None
    assert run.problems == ["not a finite number: val/miou"]


def test_how_it_was_measured_is_what_validate_was_told(tmp_path):
    folder = write_run(tmp_path / "r")
    (folder / "config_validate.yaml").write_text("evaluation: {crf: true}\nmodel: 3\n")
    assert read_run(folder).settings["evaluation.crf"] == "true"


def test_classes_of_label_maps(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,pseudo/iou/cat\n0,0.5\n")
    assert read_run(tmp_path).class_names == ["cat"]
    (tmp_path / "manifest.json").write_text(json.dumps({"class_names": ["background", "cat"]}))
    assert read_run(tmp_path).class_names == ["background", "cat"]


def test_cam_miou_at_fixed_thresholds(tmp_path):
    sweep = {"thresholds": [0.0, 0.05, 0.3, 0.4], "miou": [0.1, 0.2, 0.3, 0.4]}
    (tmp_path / "quality.json").write_text(json.dumps({"metrics": {}, "sweep": sweep}))
    metrics = read_run(tmp_path).metrics
    assert metrics == {f"pseudo/cam_miou_at_{t}": t or 0.1 for t in (0.0, 0.3, 0.4)}
