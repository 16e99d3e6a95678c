import csv
from pathlib import Path

from wsss_zoo.metrics_csv import MetricsFile, read_metrics


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
