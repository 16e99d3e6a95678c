"""Measures of the evaluation stages, the same for all methods."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from wsss_zoo.callbacks.class_table import print_class_table
from wsss_zoo.callbacks.outputs import from_batch, from_outputs, makes
from wsss_zoo.data.pseudo_labels import write_json
from wsss_zoo.functional import confusion_matrix, intersection_over_union, mean_iou

Stage = Literal["val", "test"]
Values = dict[str, float]


class _StageMetrics(Callback):
    """Counts over the batches of a validation or test epoch, logged once at its end.

    A sanity check counts for nothing. After ``validate`` and ``test`` (not after the validation
    epochs of ``fit``) rank zero prints a table by class and writes ``<stage>_results.json`` into
    the trainer's ``default_root_dir``; ``fast_dev_run`` writes nothing.
    """

    kind: Literal["segmentation", "classification"]
    per_class: str
    """Name, inside the stage's group, of the measure that each class has."""

    def __init__(self, class_names: list[str] | None = None) -> None:
        super().__init__()
        self.class_names = class_names
        self._names: list[str] = []
        self._results: dict[str, Any] = {}

    @abstractmethod
    def _reset(self, device: torch.device) -> None: ...

    @abstractmethod
    def _update(self, module: LightningModule, outputs: Any, batch: Any, stage: Stage) -> None: ...

    @abstractmethod
    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, Values, dict[str, Any]]:
        """Totals and measure per class (nan where it has none), and what else goes to the file."""

    @abstractmethod
    def _names_of(self, data: Any) -> list[str] | None:
        """Class names out of a data module."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the class names from the data module unless they were given.

        Raises:
            ValueError: If there are none.
        """
        if stage == "predict" or not makes(pl_module, self.kind):
            return
        names = self.class_names or self._names_of(getattr(trainer, "datamodule", None))
        if names is None:
            raise ValueError(
                f"{type(self).__name__} does not know the class names; give class_names=[...] or a "
                "data module that has them"
            )
        self._names = names

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from nothing."""
        self._reset(pl_module.device)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from nothing."""
        self._reset(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch."""
        if makes(pl_module, self.kind):
            self._update(pl_module, outputs, batch, "val")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch."""
        if makes(pl_module, self.kind):
            self._update(pl_module, outputs, batch, "test")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's measures."""
        self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's measures."""
        self._log(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``: print the table and write the file."""
        if trainer.state.fn == "validate":
            self._report(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table and write the file."""
        self._report(trainer, pl_module, "test")

    def _log(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        if trainer.sanity_checking or not makes(pl_module, self.kind):
            return
        totals, per_class, extra = self._compute(trainer, stage)
        values = totals | {f"{self.per_class}/{name}": value for name, value in per_class.items()}
        metrics = {f"{stage}/{k}": value for k, value in values.items() if math.isfinite(value)}
        # Equal on all ranks already; the mean over ranks only spares Lightning's warning.
        pl_module.log_dict(metrics, sync_dist=trainer.world_size > 1)
        self._results = {"totals": totals, "per_class": per_class, "metrics": metrics} | extra

    def _report(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        if not trainer.is_global_zero or not makes(pl_module, self.kind):
            return
        method = type(pl_module).__name__
        results = dict(self._results)
        totals = {f"{stage}/{name}": value for name, value in results.pop("totals").items()}
        title = f"{method}, {stage}"
        print_class_table(title, self.per_class, results.pop("per_class"), totals)
        if not getattr(trainer, "fast_dev_run", False):
            header = {"stage": stage, "method": method, "class_names": self._names}
            write_json(Path(trainer.default_root_dir) / f"{stage}_results.json", header | results)


class SegmentationMetrics(_StageMetrics):
    """Mean IoU from one confusion matrix over all pixels of a stage.

    Counts ``preds`` (N, H, W) of the evaluation step against ``mask`` (N, H, W) of the batch, 255
    left out, in one (C, C) matrix on the device, summed over ranks once per epoch. Logs, for stage
    val (and test alike): ``val/miou``, the mean over the classes that occur in truth or prediction;
    ``val/iou/<class>`` for these classes; ``val/pixel_acc``; all in [0, 1]. With novel classes in
    the data module also ``val/miou_base``, ``val/miou_novel`` (means by the same rule) and
    ``val/miou_harmonic`` = 2 b n / (b + n).

    After ``validate`` and ``test`` the same numbers and the matrix (``confusion``, row = truth) are
    in ``<default_root_dir>/val_results.json`` (``test_results.json``). Idle for methods whose
    ``output`` is not ``"segmentation"``.

    Args:
        class_names: Names by class index; None takes them from the data module.

    Raises:
        KeyError: In the epoch, if the method returns no ``preds`` or the batch has no ``mask``.
        ValueError: If there are no class names, or no pixel of the stage has a truth.
    """

    kind = "segmentation"
    per_class = "iou"

    def __init__(self, class_names: list[str] | None = None) -> None:
        super().__init__(class_names)
        self.confusion = torch.zeros(0, 0, dtype=torch.int64)

    def _names_of(self, data: Any) -> list[str] | None:
        return getattr(data, "class_names", None)

    def _reset(self, device: torch.device) -> None:
        C = len(self._names)
        self.confusion = torch.zeros(C, C, dtype=torch.int64, device=device)

    def _update(self, module: LightningModule, outputs: Any, batch: Any, stage: Stage) -> None:
        preds = from_outputs(outputs, "preds", module, stage)
        mask = from_batch(batch, "mask", stage)
        self.confusion += confusion_matrix(preds, mask, len(self._names))

    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, Values, dict[str, Any]]:
        self.confusion = trainer.strategy.reduce(self.confusion, reduce_op="sum")
        confusion = self.confusion.cpu()
        total = int(confusion.sum())
        if total == 0:
            raise ValueError(
                f"no pixel of the {stage} masks has a class, all are 255; check the split and the "
                "data module's classes"
            )
        iou = dict(zip(self._names, intersection_over_union(confusion).tolist(), strict=True))
        totals = {"miou": mean_iou(confusion), "pixel_acc": int(confusion.diagonal().sum()) / total}
        totals |= _weak_shot(iou, getattr(trainer, "datamodule", None))
        return totals, iou, {"confusion": confusion.tolist()}


class ClassificationMetrics(_StageMetrics):
    """Multi-label mean average precision of the image-level scores.

    Collects ``scores`` (N, K), raw logits, of the evaluation step and ``image_labels`` (N, K) of
    the batch; memory grows by 2 K numbers per image. Logs for stage val (and test alike)
    ``val/ap/<class>`` and ``val/map``, its mean; all in [0, 1]. A class without a positive image
    has no average precision: it is left out of both.

    After ``validate`` and ``test`` the same numbers are in ``<default_root_dir>/val_results.json``
    (``test_results.json``). Idle for methods whose ``output`` is not ``"classification"``.

    Args:
        class_names: Names of the K foreground classes; None takes them from the data module.

    Raises:
        KeyError: In the epoch, if the method returns no ``scores`` or the batch has no tags.
        ValueError: If there are no class names, or no image of the stage has a tag.
    """

    kind = "classification"
    per_class = "ap"

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

    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, Values, dict[str, Any]]:
        values = self.precision.compute().reshape(-1)  # torchmetrics turns (1,) into a scalar
        self.precision.reset()
        if values.isnan().all():
            raise ValueError(
                f"no image of the {stage} split has a tag, so there is no mAP; check it"
            )
        per_class = dict(zip(self._names, values.tolist(), strict=True))
        return {"map": float(values.nanmean())}, per_class, {}


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


def _weak_shot(iou: Mapping[str, float], data: Any) -> Values:
    base, novel = getattr(data, "base_classes", None), getattr(data, "novel_classes", None)
    if not base or not novel:
        return {}
    means = [
        float(torch.tensor([iou[name] for name in names]).nanmean()) for names in (base, novel)
    ]
    both = sum(means)
    harmonic = 2 * means[0] * means[1] / both if both > 0 else both
    return {"miou_base": means[0], "miou_novel": means[1], "miou_harmonic": harmonic}
