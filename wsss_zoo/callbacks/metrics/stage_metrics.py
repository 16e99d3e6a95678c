"""What the metrics share: count over a stage, log at its end, report after it."""

import csv
import io
import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from wsss_zoo.callbacks.metrics.evaluation_callback import EvaluationCallback, Stage, stage_of
from wsss_zoo.callbacks.outputs import known_names, produces
from wsss_zoo.contract import DataModule, EvaluationBatch, Output, find_data
from wsss_zoo.drawing.class_table import print_class_table
from wsss_zoo.files.atomic import write_atomic, write_json

Values = dict[str, float]
# Measure by name, then its value for each class (nan where it has none).
ByClass = dict[str, Values]


class StageMetrics(EvaluationCallback):
    """Counts over the batches of a validation or test epoch, logged once at its end.

    A sanity check is not logged. After ``validate`` and ``test`` (not after the validation epochs
    of ``fit``) rank zero prints a table by class and writes ``<stage>_results.json`` into the
    trainer's ``default_root_dir``. If anything is measured by class, it also writes
    ``<stage>_classes.csv``. ``fast_dev_run`` writes nothing.
    """

    kind: Output

    def __init__(self, class_names: list[str] | None = None) -> None:
        super().__init__()
        self.class_names = class_names
        self._names: list[str] = []
        self._results: dict[str, Any] = {}

    @abstractmethod
    def _reset(self, device: torch.device) -> None:
        """Forget what was counted."""

    @abstractmethod
    def _update(
        self, module: LightningModule, outputs: Any, batch: EvaluationBatch, stage: Stage
    ) -> None:
        """Count a batch."""

    @abstractmethod
    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, ByClass, dict[str, Any]]:
        """Compute totals, measures by class, and what else goes to the file."""

    def _names_of(self, data: DataModule | None) -> list[str] | None:
        return getattr(data, "class_names", None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the class names from the data module unless they were given."""
        if stage == "predict" or not produces(pl_module, self.kind):
            return
        self._names = known_names(self, self.class_names or self._names_of(find_data(trainer)))

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget what was counted."""
        self._reset(module.device)

    def batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: EvaluationBatch
    ) -> None:
        """Count a batch."""
        if produces(module, self.kind):
            self._update(module, outputs, batch, stage_of(trainer))

    def end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the epoch's measures."""
        if trainer.sanity_checking or not produces(module, self.kind):
            return
        stage = stage_of(trainer)
        totals, by_class, extra = self._compute(trainer, stage)
        values = dict(totals)
        for measure, classes in by_class.items():
            values |= {f"{measure}/{name}": value for name, value in classes.items()}
        metrics = {f"{stage}/{k}": value for k, value in values.items() if math.isfinite(value)}
        # Equal on all ranks already; the mean over ranks only spares Lightning's warning.
        module.log_dict(metrics, sync_dist=trainer.world_size > 1)
        self._results = {"totals": totals, "by_class": by_class, "metrics": metrics} | extra

    def report(self, trainer: Trainer, module: LightningModule) -> None:
        """Print the table and write the files."""
        if not trainer.is_global_zero or not produces(module, self.kind):
            return
        stage, method = stage_of(trainer), type(module).__name__
        results = dict(self._results)
        totals = {f"{stage}/{name}": value for name, value in results.pop("totals").items()}
        by_class = results.pop("by_class")
        print_class_table(f"{method}, {stage}", by_class, totals)
        if not getattr(trainer, "fast_dev_run", False):
            header = {"stage": stage, "method": method, "class_names": self._names}
            folder = Path(trainer.default_root_dir)
            write_json(folder / f"{stage}_results.json", header | results)
            if by_class:
                write_atomic(folder / f"{stage}_classes.csv", _csv(self._names, by_class))


def _csv(names: list[str], by_class: ByClass) -> bytes:
    """Format a line for each class; the cell of a measure that a class does not have is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["class", *by_class])
    for name in names:
        values = [classes[name] for classes in by_class.values()]
        writer.writerow([name, *(value if math.isfinite(value) else "" for value in values)])
    return text.getvalue().encode()
