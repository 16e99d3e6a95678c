"""Means of the measures of a pretext task."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from wsss_zoo.callbacks.metrics.evaluation_callback import Stage
from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.callbacks.metrics.stage_metrics import ByClass, StageMetrics, Values
from wsss_zoo.callbacks.outputs import step_name
from wsss_zoo.contract import DataModule, EvaluationBatch


class PretextMetrics(StageMetrics):
    """Averages every number that the evaluation step returns over the images of a stage.

    Takes each entry (N,) of the step's dict, one number per image, and logs its mean under the
    entry's name: {"infonce_acc": ...} becomes ``val/infonce_acc`` (and test alike). After
    ``validate`` and ``test`` the same numbers are in ``<default_root_dir>/val_results.json``
    (``test_results.json``). Idle for methods whose ``output`` is not ``"pretext"``.

    Raises:
        KeyError: In the epoch, if the method returns no numbers by name.
        ValueError: If there is not one number for each image.
    """

    kind = "pretext"

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, Tensor] = {}
        self._device = torch.device("cpu")

    def _names_of(self, data: DataModule | None) -> list[str] | None:
        return []

    def _reset(self, device: torch.device) -> None:
        self._sums, self._device = {}, device

    def _update(
        self, module: LightningModule, outputs: Any, batch: EvaluationBatch, stage: Stage
    ) -> None:
        step = step_name(module, stage)
        if not isinstance(outputs, dict) or not outputs:
            raise KeyError(f"{step} returned {type(outputs).__name__}; return numbers by name")
        for name, values in outputs.items():
            if values.ndim != 1:
                raise ValueError(
                    f"{step} returned {name!r} of the shape {tuple(values.shape)}; return one "
                    "number for each image, (N,)"
                )
            start = torch.zeros(2, device=self._device)
            added = torch.stack([values.float().sum(), values.new_full((), len(values)).float()])
            self._sums[name] = self._sums.get(name, start) + added

    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, ByClass, dict[str, Any]]:
        totals: Values = {}
        for name, sums in self._sums.items():
            total, count = sum_over_ranks(trainer, sums).tolist()
            totals[name] = total / count
        return totals, {}, {}
