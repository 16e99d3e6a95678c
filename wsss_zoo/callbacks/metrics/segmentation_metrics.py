"""Mean IoU, pixel accuracy and outline quality of label maps."""

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from wsss_zoo.callbacks.metrics.evaluation_callback import Stage
from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.callbacks.metrics.stage_metrics import ByClass, StageMetrics, Values
from wsss_zoo.callbacks.outputs import from_batch, from_outputs
from wsss_zoo.contract import DataModule, EvaluationBatch, find_data
from wsss_zoo.functional import (
    boundary_counts,
    boundary_f_score,
    confusion_matrix,
    harmonic_mean,
    intersection_over_union,
    mean_iou,
    small_object_counts,
)
from wsss_zoo.functional.measures.confusion import MeanRule


class SegmentationMetrics(StageMetrics):
    """Measures mean IoU from one confusion matrix over all pixels of a stage.

    Counts ``preds`` (N, H, W) of the evaluation step against ``mask`` (N, H, W) of the batch, 255
    left out, in one (C, C) matrix on the device, summed over ranks once per epoch. Logs, for stage
    val (and test alike): ``val/miou``, the mean over the classes that occur in truth or prediction;
    ``val/iou/<class>`` for these classes; ``val/pixel_acc``; all in [0, 1]. With novel classes in
    the data module also ``val/miou_novel`` and, unless the background is the only base class,
    ``val/miou_base`` (means by the same rule, the background in neither) and ``val/miou_harmonic``
    = 2 b n / (b + n).

    After ``validate`` and ``test`` the same numbers and the matrix (``confusion``, row = truth) are
    in ``<default_root_dir>/val_results.json`` (``test_results.json``), the numbers by class in
    ``val_classes.csv``. Idle for methods whose ``output`` is not ``"segmentation"``.

    Args:
        class_names: Names by class index; None takes them from the data module.
        miou_rule: Classes that ``val/miou`` averages: those in truth or prediction ("nan-mean"),
            in the truth ("present") or "all"; see `mean_iou`. Papers use all three; report which.
        boundary: Also log ``val/boundary_f``, the mean F-score of the outlines, and
            ``val/boundary_f/<class>``; see `boundary_f_score`.
        boundary_tolerance: Distance that still counts as on the outline, as a share of the image's
            diagonal; DAVIS uses 0.008.
        small_objects: Also log ``val/small_recall``, the mean recall of small objects (background
            apart), and ``val/small_recall/<class>``; see `small_object_counts`.
        small_area: Largest share of the image that a small object covers.

    Raises:
        KeyError: In the epoch, if the method returns no ``preds`` or the batch has no ``mask``.
        ValueError: If there are no class names, or no pixel of the stage has a truth.
    """

    kind = "segmentation"

    def __init__(
        self,
        class_names: list[str] | None = None,
        miou_rule: MeanRule = "nan-mean",
        boundary: bool = False,
        boundary_tolerance: float = 0.008,
        small_objects: bool = False,
        small_area: float = 0.02,
    ) -> None:
        super().__init__(class_names)
        self.miou_rule = miou_rule
        self.boundary, self.boundary_tolerance = boundary, boundary_tolerance
        self.small_objects, self.small_area = small_objects, small_area
        self.objects = torch.zeros(0, 2)
        self.confusion = torch.zeros(0, 0, dtype=torch.int64)
        self.outlines = torch.zeros(0, 4, dtype=torch.int64)

    def _reset(self, device: torch.device) -> None:
        C = len(self._names)
        self.confusion = torch.zeros(C, C, dtype=torch.int64, device=device)
        self.outlines = torch.zeros(C, 4, dtype=torch.int64, device=device)
        self.objects = torch.zeros(C, 2, device=device)

    def _update(
        self, module: LightningModule, outputs: Any, batch: EvaluationBatch, stage: Stage
    ) -> None:
        preds = from_outputs(outputs, "preds", module, stage)
        mask = from_batch(batch, "mask", stage)
        self.confusion += confusion_matrix(preds, mask, len(self._names))
        tolerance = self.boundary_tolerance * math.hypot(*mask.shape[1:])
        for pair in zip(preds, mask, strict=True):
            if self.boundary:
                self.outlines += boundary_counts(*pair, len(self._names), tolerance)
            if self.small_objects:
                self.objects += small_object_counts(*pair, len(self._names), self.small_area)

    def _compute(self, trainer: Trainer, stage: Stage) -> tuple[Values, ByClass, dict[str, Any]]:
        self.confusion = confusion = sum_over_ranks(trainer, self.confusion)
        total = int(confusion.sum())
        if total == 0:
            raise ValueError(
                f"no pixel of the {stage} masks has a class, all are 255; check the split and the "
                "data module's classes"
            )
        by_class = {"iou": intersection_over_union(confusion)}
        totals = {
            "miou": mean_iou(confusion, self.miou_rule),
            "pixel_acc": int(confusion.diagonal().sum()) / total,
        }
        if self.boundary:
            by_class["boundary_f"] = boundary_f_score(sum_over_ranks(trainer, self.outlines))
            totals["boundary_f"] = float(by_class["boundary_f"].nanmean())
        data = find_data(trainer)
        if self.small_objects:
            objects = sum_over_ranks(trainer, self.objects)
            # The background is no object.
            objects[: int(getattr(data, "background", True))] = 0
            by_class["small_recall"] = objects[:, 0] / objects[:, 1]
            if objects[:, 1].any():
                totals["small_recall"] = float(objects[:, 0].sum() / objects[:, 1].sum())
        classes = {
            measure: dict(zip(self._names, values.tolist(), strict=True))
            for measure, values in by_class.items()
        }
        totals |= _weak_shot(confusion, self._names, self.miou_rule, data)
        return totals, classes, {"confusion": confusion.tolist(), "miou_rule": self.miou_rule}


def _weak_shot(
    confusion: Tensor, names: list[str], rule: MeanRule, data: DataModule | None
) -> Values:
    novel = getattr(data, "novel_classes", None)
    if not novel:
        return {}
    # There may be no base class beside the background.
    groups = {"miou_novel": novel, "miou_base": getattr(data, "base_classes", None)}
    means = {
        measure: mean_iou(confusion, rule, [names.index(name) for name in group])
        for measure, group in groups.items()
        if group
    }
    if len(means) == 2:
        means["miou_harmonic"] = harmonic_mean(*means.values())
    return means
