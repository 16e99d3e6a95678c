import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console

from tests.methods.zoo import quick
from tests.resumed_runs import train
from tests.tiny import images
from wsss_zoo.callbacks.training import run_progress
from wsss_zoo.callbacks.training.run_progress import RunProgress
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.cli.main import StderrHandler
from wsss_zoo.runs.next_steps import next_steps

SMALL = {"image_size": 32, "crop_size": 32, "num_train": 8}
RUN = ["--model.backbone", "test_resnet", "--trainer.accelerator", "cpu"]


def screen():
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


@pytest.fixture(autouse=True)
def _each_refresh(monkeypatch):
    monkeypatch.setattr(run_progress, "_REFRESH", 0.0)


@pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers")
def test_step_of_the_whole_run_time_left_loss_and_validation(tmp_path):
    """Four steps an epoch, by steps: never an epoch's number, never -2."""
    console = screen()
    length = {"max_steps": 6, "enable_progress_bar": True}
    train("Supervised", tmp_path, RunProgress(console), trainer=length, data=SMALL)
    drawn = console.file.getvalue()
    assert "step 6 of 6" in drawn
    assert "validation image 2 of 2" in drawn
    assert "Epoch" not in drawn
    assert "-2" not in drawn


def run_of(step, total=8, **more):
    state = {"global_step": step, "estimated_stepping_batches": total, "callback_metrics": {}}
    return SimpleNamespace(**(state | more))


def test_time_left_is_that_of_the_steps_of_this_process(monkeypatch):
    """Resumed at step 4 of 8: two steps took ten seconds, so two more take ten."""
    clock = iter([100.0, 105.0, 110.0])
    monkeypatch.setattr(run_progress.time, "monotonic", lambda: next(clock, 110.0))
    console = screen()
    bar = RunProgress(console)
    bar.on_train_start(run_of(4), None)
    bar.on_train_batch_end(run_of(5), None, {"loss": 0.25}, None, 0)
    metrics = {"val/miou": 0.5, "val/iou/cat": 0.1}
    bar.on_train_batch_end(run_of(6, callback_metrics=metrics), None, {"loss": 0.125}, None, 1)
    bar.on_exception(run_of(6), None, RuntimeError())
    drawn = console.file.getvalue()
    assert "step 6 of 8" in drawn
    assert "10 s left, loss 0.125, val/miou 0.500" in drawn


def test_a_run_without_an_end(monkeypatch):
    console = screen()
    bar = RunProgress(console)
    bar.on_train_start(run_of(0, float("inf")), None)
    bar.on_train_batch_end(run_of(1, float("inf")), None, None, None, 0)
    bar.on_train_end(run_of(1, float("inf")), None)
    assert "step 1 " in console.file.getvalue()
    assert "left" not in console.file.getvalue()


def test_quiet_where_there_is_no_terminal(caplog):
    console = Console(file=io.StringIO())
    bar = RunProgress(console)
    bar.on_train_start(run_of(0), None)
    bar.on_train_batch_end(run_of(1), None, {"loss": 0.5}, None, 0)
    bar.on_train_end(run_of(8), None)
    assert console.file.getvalue() == ""


def test_expected_time_is_logged_once(monkeypatch, caplog):
    clock = iter(range(0, 400, 10))
    monkeypatch.setattr(run_progress.time, "monotonic", lambda: float(next(clock)))
    bar = RunProgress(Console(file=io.StringIO()))
    bar.on_train_start(run_of(0, 100), None)
    with caplog.at_level(logging.INFO, "wsss_zoo"):
        for step in range(1, 20):
            bar.on_train_batch_end(run_of(step, 100), None, None, None, 0)
    (record,) = caplog.records
    assert record.getMessage() == (
        "step 6 of 100: 10.00 s a step, about 15 min 40 s left without the validations"
    )


def fit(model, folder, *options):
    sizes = images(32, 8, 2)
    args = ["fit", "--model", model, "--data", "Shapes", *sizes, *RUN, *options]
    return ZooCLI([*args, "--trainer.default_root_dir", str(folder)])


LINES = {
    "Supervised": "Supervised trains on 8 images with masks of Shapes; 4 steps (1 epochs of 4); "
    "validation on 2 images after every epoch",
    "CAM": "CAM trains on 8 images with tags of Shapes; 4 steps (1 epochs of 4); validation",
    "FixMatch": "FixMatch trains on 4 images with masks and 4 images without masks of Shapes; 4 "
    "steps (2 epochs of 2); no validation",
    "CPC": "CPC trains on 8 images without labels of Shapes; 4 steps (1 epochs of 4); validation",
}


@pytest.mark.parametrize("model", quick(LINES, {"Supervised", "FixMatch"}))
def test_one_line_before_and_the_next_commands_after(model, tmp_path, caplog, capfd):
    # A check after more epochs than there are is never made.
    often = ["--trainer.check_val_every_n_epoch", "1000"]
    own = {"FixMatch": ["--data.labeled_split", "0.5", *often]}.get(model, [])
    if model == "CPC":
        own = ["--model.patch_size", "8", "--model.patch_stride", "8", "--model.val_size", "32"]
    with caplog.at_level(logging.INFO):
        cli = fit(model, tmp_path / "r", "--trainer.max_steps", "4", *own)
    said = [record.getMessage() for record in caplog.records]
    assert any(line.startswith(LINES[model]) for line in said)
    (after,) = [line for line in said if line.startswith("the trained model is")]
    assert after.startswith(f"the trained model is {tmp_path / 'r/checkpoints/last.ckpt'}; next:")
    shown = capfd.readouterr().err
    for noise in ("TPU available", "GPU available: False", "Total FLOPs", "Tip:", "Epoch", "Seed"):
        assert noise not in shown
    bars = [each for each in cli.trainer.callbacks if isinstance(each, ProgressBar)]
    assert [type(bar) for bar in bars] == [RunProgress]


def test_next_commands_run(tmp_path):
    """The commands of the text are taken as they stand."""
    fit("Supervised", tmp_path / "r", "--trainer.max_steps", "1")
    lines = next_steps(tmp_path / "r", "segmentation", "mask").splitlines()[1:]
    commands = [line.partition("wsss-zoo ")[2].split() for line in lines]
    assert [command[0] for command in commands] == ["validate", "label"]
    assert main(commands[0]) == 0


@pytest.mark.parametrize(
    ("output", "supervision", "words"),
    [
        ("classification", "image_labels", ["validate --config", "predict --config"]),
        ("pretext", "images", ["--model.weights"]),
        ("segmentation", "graphs", ["predict --config"]),
    ],
)
def test_next_commands_of_other_methods(output, supervision, words, tmp_path):
    text = next_steps(tmp_path, output, supervision)
    assert len(text.splitlines()) == 1 + len(words)
    assert all(word in text for word in words)


def test_no_bar_if_the_user_wants_none(tmp_path):
    cli = fit(
        "Supervised", tmp_path, "--trainer.fast_dev_run=1", "--trainer.enable_progress_bar=false"
    )
    assert not any(isinstance(each, ProgressBar) for each in cli.trainer.callbacks)


def test_the_sanity_check_draws_nothing():
    console = screen()
    bar = RunProgress(console)
    bar.on_validation_start(run_of(0, sanity_checking=True, num_val_batches=[2]), None)
    bar.on_validation_end(run_of(0, sanity_checking=True), None)
    assert console.file.getvalue() == ""


def test_log_lines_stand_above_the_bar(monkeypatch):
    """Not behind it: while it is drawn, stderr is its console."""
    console = screen()
    monkeypatch.setattr(sys, "stderr", console.file)
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    bar = RunProgress(console)
    bar.on_train_start(run_of(0), None)
    handler.handle(logging.makeLogRecord({"msg": "a line"}))
    bar.on_train_end(run_of(8), None)
    drawn = console.file.getvalue()
    assert re.search(r"(\n|\r\x1b\[2K)a line\s*\n", drawn), drawn
