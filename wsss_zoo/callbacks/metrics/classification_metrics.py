"""Mean average precision of image-level scores."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities.distributed import gather_all_tensors

from wsss_zoo.callbacks.metrics.evaluation_callback import Stage
from wsss_zoo.callbacks.metrics.stage_metrics import ByClass, StageMetrics, Values
from wsss_zoo.callbacks.outputs import from_batch, from_outputs
from wsss_zoo.contract import DataModule, EvaluationBatch


class ClassificationMetrics(StageMetrics):
    """Measures the multi-label mean average precision of image-level scores.

    Collects ``scores`` (N, K), raw logits, of the evaluation step and ``image_labels`` (N, K) of
    the batch; memory grows by 2 K numbers per image. Logs ``val/ap/<class>`` and their mean
    ``val/map`` (and test alike), all in [0, 1]. Classes without a positive image have no average
    precision and are left out of both.

    After ``validate`` and ``test`` the same numbers are in ``<default_root_dir>/val_results.json``
    (``test_results.json``), those by class in ``val_classes.csv``. Idle for methods whose
    ``output`` is not ``"classification"``.

    Args:
        class_names: Names of the K foreground classes; None takes them from the data module.

    Raises:
        KeyError: In the epoch, if the method returns no ``scores`` or the batch has no tags.
        ValueError: If there are no class names, or no image of the stage has a tag.
    """

    kind = "classification"

    def __init__(self, class_names: list[str] | None = None) -> None:
        super().__init__(class_names)
        # Scores and tags side by side, (images or more, 2 K), of which the first are in use.
        self._rows = torch.empty(0, 0)
        self._count = 0

    def _names_of(self, data: DataModule | None) -> list[str] | None:
        names = getattr(data, "class_names", None)
        return names[1:] if names and getattr(data, "background", True) else names

    def _reset(self, device: torch.device) -> None:
        self._rows, self._count = torch.empty(0, 2 * len(self._names), device=device), 0

    def _update(
        self, module: LightningModule, outputs: Any, batch: EvaluationBatch, stage: Stage
    ) -> None:
        scores = from_outputs(outputs, "scores", module, stage)
        tags = from_batch(batch, "image_labels", stage)
        rows = torch.cat([scores.detach().float(), tags.detach().float()], dim=1)
        first, self._count = self._count, self._count + len(rows)
        if self._count > len(self._rows):
            # One table, doubled when full: a list of small tensors would fragment the memory of
            # the device.
            table = rows.new_empty(2 * self._count, rows.shape[1])
            table[:first] = self._rows[:first]
            self._rows = table
        self._rows[first : self._count] = rows

    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, ByClass, dict[str, Any]]:
        rows = self._rows[: self._count]
        if trainer.world_size > 1:
            rows = torch.cat(gather_all_tensors(rows))  # of ranks with different numbers of images
        scores, image_labels = rows.cpu().chunk(2, dim=1)
        values = _average_precision(scores, image_labels > 0)
        if values.isnan().all():
            raise ValueError(
                f"no image of the {stage} split has a tag, so there is no mAP; check it"
            )
        per_class = dict(zip(self._names, values.tolist(), strict=True))
        return {"map": float(values.nanmean())}, {"ap": per_class}, {}


def _average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    """Average precision per class, (K,) float64; nan for a class without positives.

    Args:
        scores: Raw logits of a whole stage, (N, K).
        truth: Whether the class is present, (N, K) bool.
    """
    # torchmetrics would apply the sigmoid in float32, where large logits become ties.
    probs = scores.double().sigmoid()
    values = [
        binary_average_precision(probs[:, k], truth[:, k].long()).double()
        if truth[:, k].any()
        else torch.tensor(float("nan"), dtype=torch.float64)
        for k in range(truth.shape[1])
    ]
    return torch.stack(values)
