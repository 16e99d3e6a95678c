import subprocess
import sys

import pytest

from wsss_zoo.metrics_csv import parse_metrics, read_metrics


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
    code = "import sys, wsss_zoo.metrics_csv; print({'torch', 'numpy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
