"""What Lightning logs into the folder of a run: metrics and configuration."""

from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from wsss_zoo.contract import find_data
from wsss_zoo.runs.folder import METRICS
from wsss_zoo.runs.metrics_csv import MetricsFile


class RunLogger(CSVLogger):
    """Append to ``metrics.csv`` in the run's folder.

    Lightning's ``CSVLogger`` deletes the file of an earlier run in the same folder. A resumed run
    would lose its first half, and ``validate`` would delete the curves of ``fit``. Rows from
    ``first_step`` on, which a resumed fit writes again, are dropped; None keeps all.
    """

    def __init__(self, folder: str, first_step: int | None = None) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)
        self.first_step = first_step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Open the metrics file."""
        if self._experiment is None:
            path = Path(self.save_dir) / METRICS
            self._experiment = MetricsFile(path, self.first_step)  # type: ignore[assignment]
        return self._experiment

    def log_hyperparams(self, params: Any = None) -> None:
        """Do nothing: ``config.yaml`` has them all."""


class LogConfig(SaveConfigCallback):
    """Write the whole configuration into the run's folder and into wandb's run.

    A run of fewer steps than lie between two rows of ``metrics.csv`` gets a row at its end.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shorten the distance of the rows to the length of the run."""
        steps = trainer.estimated_stepping_batches
        if 0 < steps < trainer.log_every_n_steps:  # type: ignore[attr-defined]
            trainer.log_every_n_steps = int(steps)  # type: ignore[attr-defined]

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Send the configuration, and the names of the classes, to wandb."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False, format="yaml"))
        config["class_names"] = getattr(find_data(trainer), "class_names", None)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(config, allow_val_change=True)
