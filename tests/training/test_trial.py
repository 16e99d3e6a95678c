"""Forecasts from a few steps."""

import os

import pytest
import yaml

from tests.each import each
from wsss_zoo.files.atomic import write_json
from wsss_zoo.files.durations import parse_duration
from wsss_zoo.training import trial
from wsss_zoo.training.trial import (
    OutOfMemoryError,
    StepCost,
    TooLittleTimeError,
    fit_to_time,
    forecast,
    try_recipe,
)

CONTENT = {
    "common": {"data": {"class_path": "Folder", "init_args": {"root": "x"}}, "trainer": {}},
    "steps": {
        "cam": {"command": "fit", "trainer": {"max_steps": 100, "val_check_interval": 25}},
        "labels": {"command": "predict", "from": "cam"},
        "segmenter": {
            "command": "fit",
            "trainer": {
                "max_steps": 400,
                "val_check_interval": 200,
                "accumulate_grad_batches": 2,
            },
            "data": {"init_args": {"pseudo_label_dir": "{labels}/pseudo_labels"}},
        },
        "pictures": {
            "command": "predict",
            "from": "segmenter",
            "data": {"init_args": {"predict_limit": 8}},
        },
    },
}
COSTS = {
    "cam": StepCost(start=10, batch=0.5, image=0.2),
    "labels": StepCost(start=10, image=1.0),
    "segmenter": StepCost(start=10, batch=0.25, image=0.1),
    "pictures": StepCost(start=10, image=0.1),
}


def test_a_forecast_adds_up():
    fixed, variable = forecast(CONTENT, COSTS, train_images=30, val_images=5)
    # Batches: 100 and 2 x 400. Four validations of 5 images each.
    assert variable == pytest.approx(100 * 0.5 + 800 * 0.25)
    assert fixed == pytest.approx(40 + 30 * 1.0 + 8 * 0.1 + 4 * 5 * (0.2 + 0.1))


def test_enough_time_changes_nothing():
    assert fit_to_time(CONTENT, 40, 250, 300) == (CONTENT, 290)


def test_less_time_means_fewer_steps():
    content, seconds = fit_to_time(CONTENT, 40, 250, 165)
    assert seconds == pytest.approx(165)
    steps = content["steps"]
    assert steps["cam"]["trainer"]["max_steps"] == 50
    assert steps["segmenter"]["trainer"]["max_steps"] == 200
    assert steps["segmenter"]["trainer"]["val_check_interval"] == 100


@each("budget", [10, 40, 51])
def test_time_that_is_too_short_says_what_is_needed(budget):
    with pytest.raises(TooLittleTimeError) as raised:
        fit_to_time(CONTENT, 40, 250, budget)
    # Five steps of the shortest training, and as many of the others in proportion.
    assert raised.value.needed == pytest.approx(40 + 250 * 5 / 100)


@each(
    ("text", "seconds"),
    [("2h", 7200), ("90 min", 5400), ("1h30m", 5400), ("45s", 45), ("0.5h", 1800), ("1d", 86400)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@each("text", ["", "2", "two hours", "-1h", "0s", "1h x", "h"])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match="write 2h, 90min"):
        parse_duration(text)


def failing(monkeypatch, code, says):
    def run(path, *, root):
        os.write(2, says.encode())
        return code

    monkeypatch.setattr(trial, "run_recipe", run)


def test_a_failure_is_that_of_the_step(monkeypatch, tmp_path):
    failing(monkeypatch, 1, "noise\nwsss-zoo fit: error: mask a.png holds 7\n")
    with pytest.raises(ValueError, match=r"trial of 5 steps failed: mask a.png holds 7"):
        try_recipe(CONTENT, tmp_path / "trial", ["a"])
    assert not (tmp_path / "trial").exists()
    assert "noise" in (tmp_path / "trial.log").read_text()


def test_a_killed_trial_lacked_memory(monkeypatch, tmp_path):
    failing(monkeypatch, 137, "")
    with pytest.raises(OutOfMemoryError):
        try_recipe(CONTENT, tmp_path / "trial", ["a"])


def test_a_training_that_says_that_memory_lacked(monkeypatch, tmp_path):
    def run(path, *, root):
        write_json(root / "segmenter/out_of_memory.json", {"error": "no more"})
        return 1

    monkeypatch.setattr(trial, "run_recipe", run)
    with pytest.raises(OutOfMemoryError):
        try_recipe(CONTENT, tmp_path / "trial", ["a"])


def test_a_stopped_trial_stops(monkeypatch, tmp_path):
    failing(monkeypatch, 130, "")
    with pytest.raises(KeyboardInterrupt):
        try_recipe(CONTENT, tmp_path / "trial", ["a"])


def test_pictures_are_not_tried_and_cost_what_a_validation_does(monkeypatch, tmp_path):
    recipe = {"common": {"data": {"init_args": {}}, "trainer": {}}, "steps": {}}
    recipe["steps"]["a"] = {"command": "fit", "trainer": {"max_steps": 9}}
    recipe["steps"]["pictures_a"] = {"command": "predict", "from": "a"}
    times = {"ends": {"train": [0, 1, 3, 5], "val": [5, 9, 10]}, "memory": 7}

    def run(path, *, root):
        assert list(yaml.safe_load(path.read_text())["steps"]) == ["a"]
        write_json(root / "a/step_times.json", times)
        write_json(root / "a/done.json", {"seconds": 30.0})
        return 0

    monkeypatch.setattr(trial, "run_recipe", run)
    costs = try_recipe(recipe, tmp_path / "trial", ["a"])
    assert costs["a"] == StepCost(20.0, 2, 1, 7)
    assert costs["pictures_a"] == StepCost(20.0, 0, 1, 7)
