"""Pictures of what a method makes of some evaluation images."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from wsss_zoo.callbacks.metrics.evaluation_callback import EvaluationCallback, stage_of
from wsss_zoo.callbacks.outputs import known_names
from wsss_zoo.contract import EvaluationBatch, find_data
from wsss_zoo.drawing.choice import StreamedChoice, image_miou
from wsss_zoo.drawing.pictures import SheetRow, draw_sheet, save_sheet
from wsss_zoo.drawing.wandb_pictures import log_masks
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array


class PredictionVisualizer(EvaluationCallback):
    """Draws some images of each validation and test epoch of segmenters and classifiers.

    They are the first ones, but for those that must give way so that every class occurs. The last
    of three or more is the one whose prediction agrees least with the truth.

    A sheet shows image, truth (where the batch has ``mask``) and prediction (``preds``); for
    classifiers the probabilities from ``scores``, with the tagged classes marked. It is written to
    ``<default_root_dir>/pictures/<stage>_epoch<NNN>.png`` and given to every logger that has a
    ``log_image`` (wandb) as ``<stage>/pictures``. For segmenters wandb also gets ``<stage>/masks``:
    images with truth and prediction as masks. Draws on rank zero only, and neither in the sanity
    check nor with ``fast_dev_run``.

    Args:
        num_images: Number of images; 0 draws nothing.
        class_names: Names by class index; None takes them from the data module.

    Raises:
        ValueError: If ``num_images`` is negative or there are no class names.
    """

    def __init__(self, num_images: int = 4, class_names: list[str] | None = None) -> None:
        super().__init__()
        if num_images < 0:
            raise ValueError(f"num_images must be >= 0, got {num_images}")
        self.num_images = num_images
        self.class_names = class_names
        self._names: list[str] = []
        self._choice = StreamedChoice[SheetRow](num_images)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the class names from the data module unless they were given."""
        found = getattr(find_data(trainer), "class_names", None)
        self._names = known_names(self, self.class_names or found)

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the rows of an earlier epoch."""
        self._choice = StreamedChoice(self.num_images)

    def batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: EvaluationBatch
    ) -> None:
        """Keep the batch's images if they are among the chosen."""
        idle = trainer.sanity_checking or getattr(trainer, "fast_dev_run", False)
        if idle or not trainer.is_global_zero or not isinstance(outputs, dict):
            return
        if not {"preds", "scores"} & set(outputs) or self.num_images == 0:
            return
        for index, image_id in enumerate(batch["image_id"]):
            row = _row(image_id, index, outputs, batch)
            score = math.nan
            if row.truth is not None and row.preds is not None:
                score = image_miou(row.preds, row.truth)
            self._choice.offer(row, _classes(row), score)

    def end(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw the sheet."""
        rows = self._choice.chosen()
        if not rows:
            return
        self.start(trainer, module)
        stage = stage_of(trainer)
        sheet = draw_sheet(rows, self._names)
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        save_sheet(sheet, folder / f"{stage}_epoch{trainer.current_epoch:03d}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(key=f"{stage}/pictures", images=[sheet], step=trainer.global_step)
            if isinstance(logger, WandbLogger):
                log_masks(logger, f"{stage}/masks", rows, self._names, trainer.global_step)


def _classes(row: SheetRow) -> set[int]:
    """Classes of an image by its truth, else its tags."""
    if row.truth is not None:
        return {*np.unique(row.truth).tolist()} - {IGNORE_INDEX}
    return set() if row.image_labels is None else {*np.flatnonzero(row.image_labels).tolist()}


def _row(image_id: str, index: int, outputs: dict[str, Any], batch: EvaluationBatch) -> SheetRow:
    image = batch["image"][index].float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    scores, tags = outputs.get("scores"), batch.get("image_labels")
    return SheetRow(
        image_id=image_id,
        image=image.cpu().numpy(),
        truth=_label(batch.get("mask"), index),
        scores=None if scores is None else scores[index].float().sigmoid().cpu().numpy(),
        image_labels=None if tags is None else tags[index].cpu().numpy(),
        preds=_label(outputs.get("preds"), index),
    )


def _label(label: Tensor | None, index: int) -> UInt8Array | None:
    return None if label is None else label[index].to(torch.uint8).cpu().numpy()
