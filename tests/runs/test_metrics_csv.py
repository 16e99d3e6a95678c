import csv
import subprocess
import sys
from pathlib import Path

import pytest

from wsss_zoo.runs.metrics_csv import MetricsFile, parse_metrics, read_metrics


def test_rows_without_empty_cells(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("a,b,step\n1,,0\n,nan,1\n")
    assert read_metrics(path) == [{"a": "1", "step": "0"}, {"b": "nan", "step": "1"}]


def test_a_missing_file_has_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize("line", ["2", "2,1,3", "x,1", "2,", "2,inf", "2,word"])
def test_a_damaged_line_is_left_out_and_counted(line):
    rows, problems = parse_metrics(f"a,step\n1,0\n{line}\n3,2\n")
    assert [row["step"] for row in rows] == ["0", "2"]
    assert problems == ["1 damaged line of metrics.csv is left out"]


def test_a_line_that_a_kill_cut_short_is_left_out():
    rows, problems = parse_metrics("a,step\n1,0\n1,1")
    assert rows == [{"a": "1", "step": "0"}]
    assert problems == ["the last line of metrics.csv is cut short; it is left out"]


def test_reading_needs_no_torch():
    code = "import sys, wsss_zoo.runs.metrics_csv; print({'torch', 'pytorch_lightning'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    options = {"capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(command, check=True, **options)
    assert done.stdout == "set()\n"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_header_grows(tmp_path):
    path = tmp_path / "run" / "metrics.csv"
    file = MetricsFile(path)
    file.log_metrics({"a": 1.0}, 0)
    file.save()
    file.log_metrics({"b": 2.0, "a": 3.0}, 1)
    file.log_metrics({"b": 4.0}, 2)
    file.save()
    file.save()
    assert rows(path) == [
        {"a": "1.0", "b": "", "step": "0"},
        {"a": "3.0", "b": "2.0", "step": "1"},
        {"a": "", "b": "4.0", "step": "2"},
    ]


def test_metrics_of_an_earlier_run_stay(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("a,step\n1,0\n2,1\n3,2\n4,")  # the last line was cut short by a kill
    MetricsFile(path)
    assert read_metrics(path) == [{"a": str(n), "step": str(n - 1)} for n in (1, 2, 3)]
    file = MetricsFile(path, first_step=2)
    file.log_metrics({"a": 9.0}, 2)
    file.save()
    assert [row["a"] for row in rows(path)] == ["1", "2", "9.0"]
    MetricsFile(path, first_step=0)
    assert not path.exists()
