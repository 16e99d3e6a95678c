"""What the command line keeps in a run's folder: config, metrics and where the checkpoint is."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from wsss_zoo.atomic import write_atomic
from wsss_zoo.metrics_csv import read_metrics

CHECKPOINT = Path("checkpoints", "last.ckpt")
# Ranks that Lightning starts parse the command line again and must come to the same folder.
_RUN_FOLDER = "WSSS_ZOO_RUN_FOLDER"


def claim_run_folder(parent: Path) -> Path:
    """Make the next free ``version_N`` in a folder; two runs that start at once get two.

    Args:
        parent: Folder of a method's runs.

    Raises:
        RuntimeError: On another rank than the first, when it cannot know the first one's choice.
    """
    if getattr(rank_zero_only, "rank", 0) > 0:
        if _RUN_FOLDER not in os.environ:
            raise RuntimeError(
                "the ranks cannot agree on a new run folder when something other than Lightning "
                "starts them; give --trainer.default_root_dir"
            )
        return Path(os.environ[_RUN_FOLDER])
    taken = [path.name.removeprefix("version_") for path in parent.glob("version_*")]
    number = max((int(name) for name in taken if name.isdecimal()), default=-1) + 1
    while True:
        folder = parent / f"version_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        os.environ[_RUN_FOLDER] = str(folder)
        return folder


def refuse_own_folders(num_nodes: int) -> None:
    """Refuse to choose a run's folder where each of several machines would choose its own.

    Raises:
        ValueError: If there are several.
    """
    if num_nodes > 1:
        raise ValueError(
            f"trainer.num_nodes is {num_nodes}, and machines cannot agree on a new run folder; "
            "give --trainer.default_root_dir, a folder that all of them see"
        )


def requeued_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint of a run that SLURM stopped and starts again by the same command.

    Lightning writes ``hpc_ckpt_N.ckpt`` when SLURM announces the end of a job's time. The run's own
    checkpoint counts from the first restart on, which SLURM tells: else the same command means a
    new run.

    Args:
        folder: The run's folder.

    Returns:
        Its path; None if the run begins.
    """
    found = list(folder.glob("hpc_ckpt_*.ckpt"))
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) and (folder / CHECKPOINT).exists():
        found.append(folder / CHECKPOINT)
    newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if newest is None else str(newest)


class RunLogger(CSVLogger):
    """Writes ``metrics.csv`` in the run's folder; what is there already stays.

    Lightning's ``CSVLogger`` deletes the file of an earlier run in the same folder, so a resumed
    run would lose its first half and a ``validate`` the curves of ``fit``.

    Args:
        folder: The run's folder.
        first_step: Rows of this step and later ones are dropped: a fit that resumes there writes
            them again. None keeps all.
    """

    def __init__(self, folder: str, first_step: int | None = None) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)
        self.first_step = first_step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The open metrics file."""
        if self._experiment is None:
            folder = Path(self.save_dir)
            self._experiment = MetricsFile(folder / "metrics.csv", self.first_step)  # type: ignore[assignment]
        return self._experiment

    def log_hyperparams(self, params: Any = None) -> None:
        """Nothing: ``config.yaml`` has them all."""


class MetricsFile:
    """A CSV of metrics: rows are appended, and the header grows when a new metric comes.

    Args:
        path: The file; its folder is made.
        first_step: Rows of this step and later ones are dropped; None keeps all.
    """

    def __init__(self, path: Path, first_step: int | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        existing = read_metrics(path)
        kept = [
            row for row in existing if first_step is None or int(float(row["step"])) < first_step
        ]
        self.metrics: list[dict[str, Any]] = []
        self._keys = sorted({key for row in kept for key in row})
        if kept:
            # Even when no row is dropped: a kill may have left half a line.
            self._rewrite(kept)
        else:
            path.unlink(missing_ok=True)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Take one row; tensors become numbers."""
        row = {key: float(value) for key, value in metrics.items()}
        self.metrics.append({**row, "step": step or 0})

    def save(self) -> None:
        """Write the rows taken since the last time."""
        rows, self.metrics = self.metrics, []
        if not rows:
            return
        try:
            self._write(rows)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def _write(self, rows: list[dict[str, Any]]) -> None:
        keys = {key for row in rows for key in row}
        if not self.path.exists() or not keys <= set(self._keys):
            self._keys = sorted(keys | set(self._keys))
            self._rewrite([*read_metrics(self.path), *rows])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._keys).writerows(rows)

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._keys)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())


class LogConfig(SaveConfigCallback):
    """Writes the whole configuration into the run's folder and into wandb's run."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Send the configuration, and the names of the classes, to wandb."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False, format="yaml"))
        data: Any = getattr(trainer, "datamodule", None)
        config["class_names"] = getattr(data, "class_names", None)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(config, allow_val_change=True)


def config_name(folder: Path, subcommand: str) -> str:
    """File name for a run's configuration: that of a fit in the same folder is not overwritten."""
    path = folder / "config.yaml"
    if subcommand == "fit" or not path.exists():
        return path.name
    with path.open(encoding="utf-8") as file:
        own = file.readline().strip() == f"# {config_header(subcommand)}"
    return path.name if own else f"config_{subcommand}.yaml"


def config_header(subcommand: str) -> str:
    """First comment of a saved configuration."""
    return f"wsss-zoo {subcommand}"
