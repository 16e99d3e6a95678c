"""Run folders that cannot be written are refused in one line, before anything is loaded."""

import pytest

from tests.each import each
from wsss_zoo.cli import main

FIT = ["fit", "--model", "Supervised", "--data", "Shapes", "--trainer.max_steps", "1"]


@each(
    ("folder", "message"),
    [
        ("file", "file cannot be written: it is a file; name another folder"),
        ("file/run", "file is a file; name another folder"),
        ("run", "checkpoints cannot be written: it is a file"),
        ("table", "metrics.csv cannot be written: a folder of that name is there"),
    ],
)
def test_run_folders(tmp_path, folder, message):
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoints").touch()
    (tmp_path / "table" / "metrics.csv").mkdir(parents=True, exist_ok=True)
    with pytest.raises(OSError, match=message):
        main([*FIT, "--trainer.default_root_dir", str(tmp_path / folder)])


def test_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").touch()
    with pytest.raises(OSError, match=r"Supervised cannot be written: .*runs is a file"):
        main(FIT)


def test_pipelines(tmp_path):
    (tmp_path / "file").touch()
    recipe = "experiments/pipelines/cam_folder.yaml"
    with pytest.raises(OSError, match=r"run cannot be written: .*file is a file"):
        main(["pipeline", recipe, "--root", str(tmp_path / "file" / "run"), "--data.root", "x"])
