import csv
import os
import threading
from pathlib import Path

import pytest
from pytorch_lightning.utilities import rank_zero_only

from wsss_zoo.metrics_csv import read_metrics
from wsss_zoo.run_folder import (
    MetricsFile,
    RunLogger,
    claim_run_folder,
    config_name,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [*os.environ]:
        if name.startswith("WSSS_ZOO"):
            monkeypatch.delenv(name)
    # What a test's code sets is taken away again.
    monkeypatch.setattr(os, "environ", os.environ.copy())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_claims_the_next_free_version(tmp_path):
    (tmp_path / "version_3").mkdir()
    (tmp_path / "version_x").mkdir()
    assert claim_run_folder(tmp_path) == tmp_path / "version_4"
    assert claim_run_folder(tmp_path) == tmp_path / "version_5"


def test_two_at_once_get_two_folders(tmp_path):
    claimed: list[Path] = []
    threads = [
        threading.Thread(target=lambda: claimed.append(claim_run_folder(tmp_path)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [tmp_path / f"version_{number}" for number in range(8)]


def test_other_ranks_take_the_first_ones_folder(tmp_path, monkeypatch):
    first = claim_run_folder(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert claim_run_folder(tmp_path) == first
    os.environ.pop("WSSS_ZOO_RUN_FOLDER")
    with pytest.raises(RuntimeError, match=r"give --trainer\.default_root_dir"):
        claim_run_folder(tmp_path)


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


def test_logger_writes_into_the_folder_itself(tmp_path):
    logger = RunLogger(str(tmp_path))
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"val/miou": 0.5}, step=3)
    logger.finalize("success")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
    assert Path(logger.log_dir) == tmp_path
    RunLogger(str(tmp_path)).finalize("nothing was logged")
    assert rows(tmp_path / "metrics.csv") == [{"step": "3", "val/miou": "0.5"}]


def test_config_of_a_fit_is_not_overwritten(tmp_path):
    assert config_name(tmp_path, "predict") == "config.yaml"
    (tmp_path / "config.yaml").write_text("# wsss-zoo predict\nmodel: {}\n")
    assert config_name(tmp_path, "predict") == "config.yaml"
    assert config_name(tmp_path, "validate") == "config_validate.yaml"
    assert config_name(tmp_path, "fit") == "config.yaml"
