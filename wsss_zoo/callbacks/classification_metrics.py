"""Mean average precision of image-level scores."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from wsss_zoo.callbacks.outputs import from_batch, from_outputs
from wsss_zoo.callbacks.stage_metrics import ByClass, Stage, StageMetrics, Values


class ClassificationMetrics(StageMetrics):
    """Multi-label mean average precision of the image-level scores.

    Collects ``scores`` (N, K), raw logits, of the evaluation step and ``image_labels`` (N, K) of
    the batch; memory grows by 2 K numbers per image. Logs for stage val (and test alike)
    ``val/ap/<class>`` and ``val/map``, its mean; all in [0, 1]. A class without a positive image
    has no average precision: it is left out of both.

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
        self.precision = _AveragePrecision()

    def _names_of(self, data: Any) -> list[str] | None:
        names = getattr(data, "class_names", None)
        return names[1:] if names and getattr(data, "background", True) else names

    def _reset(self, device: torch.device) -> None:
        self.precision.to(device).reset()

    def _update(self, module: LightningModule, outputs: Any, batch: Any, stage: Stage) -> None:
        scores = from_outputs(outputs, "scores", module, stage)
        self.precision.update(scores, from_batch(batch, "image_labels", stage))

    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, ByClass, dict[str, Any]]:
        values = self.precision.compute().reshape(-1)  # torchmetrics turns (1,) into a scalar
        self.precision.reset()
        if values.isnan().all():
            raise ValueError(
                f"no image of the {stage} split has a tag, so there is no mAP; check it"
            )
        per_class = dict(zip(self._names, values.tolist(), strict=True))
        return {"map": float(values.nanmean())}, {"ap": per_class}, {}


class _AveragePrecision(Metric):
    """Average precision per class, (K,) float64 on the CPU; nan for a class without positives."""

    scores: list[Tensor]
    image_labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("image_labels", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, image_labels: Tensor) -> None:
        self.scores.append(scores.detach().float())
        self.image_labels.append(image_labels.detach())

    def compute(self) -> Tensor:
        # torchmetrics applies a sigmoid to what has values outside [0, 1], batch by batch if it is
        # given batches. So the whole stage here, in float64: large logits do not become ties.
        probs = dim_zero_cat(self.scores).cpu().double().sigmoid()
        truth = (dim_zero_cat(self.image_labels).cpu() > 0).long()
        values = [
            binary_average_precision(probs[:, k], truth[:, k]).double()
            if truth[:, k].any()
            else torch.tensor(float("nan"), dtype=torch.float64)
            for k in range(truth.shape[1])
        ]
        return torch.stack(values)
