from pathlib import Path

from wsss_zoo.runs import read_metrics
from wsss_zoo.runs.logger import RunLogger


def test_logger_writes_into_the_folder_itself(tmp_path):
    logger = RunLogger(str(tmp_path))
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"val/miou": 0.5}, step=3)
    logger.finalize("success")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
    assert Path(logger.log_dir) == tmp_path
    RunLogger(str(tmp_path)).finalize("nothing was logged")
    assert read_metrics(tmp_path / "metrics.csv") == [{"step": "3", "val/miou": "0.5"}]
