import math

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.report.metrics_file import read_metrics_file
from wsss_zoo.runs.metrics_csv import MetricsFile


def read(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_metrics_file(path)


def test_it_reads_what_the_run_logger_writes(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in range(3):
        file.log_metrics({"train/loss": 1 / (step + 1), "epoch": 0}, step)
    file.log_metrics({"val/miou": 0.5, "epoch": 0}, 2)
    file.save()
    found = read_metrics_file(tmp_path / "metrics.csv")
    assert found.problems == []
    assert found.curves["train/loss"].steps.tolist() == [0, 1, 2]
    assert found.curves["train/loss"].values.tolist() == [1, 1 / 2, 1 / 3]
    assert (found.step, found.epoch, found.last["val/miou"]) == (2, 0, 0.5)


def test_training_numbers_are_means_over_the_last_hundred_steps(tmp_path):
    steps = np.arange(9, 400, 10)
    lines = "".join(f"0,{step},{step}\n" for step in steps)
    found = read(tmp_path, "epoch,step,train/loss\n" + lines)
    assert found.last["train/loss"] == pytest.approx(steps[steps > 399 - 100].mean())


def test_a_training_number_that_ended_early_is_its_last(tmp_path):
    found = read(tmp_path, "step,train/a,val/b\n0,3,\n500,,1\n")
    assert found.last == {"train/a": 3, "val/b": 1}


def test_a_later_validate_is_no_part_of_the_curve(tmp_path):
    text = "epoch,step,train/loss,val/miou\n0,9,1,\n0,19,,0.3\n0,0,,0.5\n"
    found = read(tmp_path, text)
    assert found.curves["val/miou"].values.tolist() == [0.3]
    assert found.last["val/miou"] == 0.5
    assert found.step == 19


def test_a_last_line_that_is_cut_short(tmp_path):
    found = read(tmp_path, "step,train/loss\n0,2\n10,1")
    assert found.curves["train/loss"].values.tolist() == [2]
    assert "cut short" in found.problems[0]


def test_damaged_lines_are_counted(tmp_path):
    text = "epoch,step,a\n0,0,1\n0,1\n0,x,2\n0,nan,2\n0,3,word\ninf,4,1\n0,5,7\n"
    found = read(tmp_path, text)
    assert found.curves["a"].values.tolist() == [1, 7]
    assert found.problems == ["5 damaged lines of metrics.csv are left out"]
    found = read(tmp_path, "step,a\n0,1\nx,2\n")
    assert found.problems == ["1 damaged line of metrics.csv is left out"]


@each("text", ["", "\n", "a,b\n1,2\n", b"\x00\xff\x00\n\x00\n"])
def test_a_file_that_is_none(tmp_path, text):
    found = read(tmp_path, text)
    assert found.curves == {}
    assert len(found.problems) == 1


def test_numbers_that_are_not_finite_are_no_points(tmp_path):
    found = read(tmp_path, "step,train/loss\n0,1\n1,nan\n2,inf\n")
    assert found.curves["train/loss"].values.tolist() == [1]
    assert not math.isfinite(found.last["train/loss"])


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "metrics.csv").mkdir()
    assert "cannot be read" in read_metrics_file(tmp_path / "metrics.csv").problems[0]
