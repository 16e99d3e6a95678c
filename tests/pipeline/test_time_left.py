import json

import pytest

from wsss_zoo.pipeline.recipe import Step
from wsss_zoo.pipeline.time_left import time_left, training_steps


def fit(name, steps, *overrides):
    return Step(name, "fit", {"trainer": {"max_steps": steps}}, overrides)


STEPS = (
    fit("warm", 100),
    Step("labels", "predict", {}),
    fit("retrain", 400, "--trainer.max_steps", "600"),
    Step("val", "validate", {}),
)


def finish(root, name, seconds):
    (root / name).mkdir()
    (root / name / "done.json").write_text(json.dumps({"seconds": seconds}))


@pytest.mark.parametrize(
    ("finished", "done", "words"),
    [
        ({}, 0, "4 steps left"),
        # Half a second a training step.
        ({"warm": 50.0}, 1, "3 steps left: about 5 min 0 s, and 2 of unknown length"),
        ({"warm": 50.0, "labels": 30}, 2, "2 steps left: about 5 min 0 s, and 1 of unknown length"),
        # It was run before, with other settings.
        ({"warm": 50.0, "val": 30}, 2, "2 steps left: about 5 min 30 s"),
        ({"warm": 50.0, "retrain": 300.0, "val": 30}, 3, "1 step left: about 30 s"),
    ],
)
def test_time_left(finished, done, words, tmp_path):
    for name, seconds in finished.items():
        finish(tmp_path, name, seconds)
    assert time_left(STEPS, done, tmp_path) == words


def test_training_steps():
    assert training_steps(STEPS[2]) == 600
    assert training_steps(STEPS[1]) is None
    assert training_steps(Step("a", "fit", {"trainer": {"max_epochs": 3}})) is None
    assert training_steps(fit("a", -1)) is None
