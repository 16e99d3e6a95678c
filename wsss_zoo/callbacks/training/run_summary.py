"""One line before a training: what is trained on how many images with which labels, how long."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from wsss_zoo.contract import find_data

logger = logging.getLogger(__name__)

# Labels of the images of each part of a batch, by supervision.
_LABELS = {
    "mask": "with masks",
    "image_labels": "with tags",
    "pairs": "with tags, in pairs",
    "images": "without labels",
    "weak_shot": "with masks of base classes and tags of novel ones",
    "graphs": "as region graphs with tags",
    "labeled": "with masks",
    "unlabeled": "without masks",
}


class RunSummary(Callback):
    """Logs what a training learns from, and its length."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line, on the first process."""
        if trainer.is_global_zero:
            logger.info("%s", summary(trainer, pl_module))


def summary(trainer: Trainer, method: LightningModule) -> str:
    """Word what a training learns from, and its length.

    Args:
        trainer: At the start of a training.
        method: What is trained.
    """
    data = find_data(trainer)
    regime = str(getattr(method, "supervision", "mask"))
    loaders: Any = trainer.train_dataloader
    parts = loaders if isinstance(loaders, Mapping) else {regime: loaders}
    given = [_images(name, loader, data) for name, loader in parts.items()]
    source = "" if data is None else f" of {type(data).__name__}"
    words = [f"{type(method).__name__} trains on {' and '.join(given)}{source}", _length(trainer)]
    if trainer.enable_validation and data is not None:
        batches = trainer.val_dataloaders
        count = len(getattr(batches, "dataset", None) or [])
        every = _every(trainer)
        if count and every is not None:
            words.append(f"validation on {count} image{'s' * (count != 1)} {every}")
        elif count:
            words.append("no validation")
    return "; ".join(words)


def _images(name: str, loader: Any, data: Any) -> str:
    count = len(loader.dataset)
    labels = _LABELS.get(name, "")
    folders = getattr(data, "pseudo_label_dir", None)
    if folders and name in ("mask", "weak_shot", "labeled"):
        listed = folders if isinstance(folders, str) else ", ".join(folders)
        masks = "" if getattr(data, "labeled_split", None) is None else " or masks"
        labels = f"with pseudo-labels{masks} ({listed})"
    return f"{count} image{'s' * (count != 1)} {labels}".rstrip()


def _length(trainer: Trainer) -> str:
    total, batches = trainer.estimated_stepping_batches, trainer.num_training_batches
    done = f"from step {trainer.global_step} on, " if trainer.global_step else ""
    if math.isinf(total):
        return f"{done}without a last step"
    epoch = math.ceil(batches / trainer.accumulate_grad_batches)
    return f"{done}{int(total)} steps ({total / epoch:.3g} epochs of {epoch})"


def _every(trainer: Trainer) -> str | None:
    """Say when the training is validated; None if it ends before."""
    epochs = trainer.check_val_every_n_epoch
    if epochs is None:
        steps = int(trainer.val_check_batch or 0) // trainer.accumulate_grad_batches
        return f"every {steps} steps"
    batches = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
    if epochs * trainer.num_training_batches > batches:
        return None
    return "after every epoch" if epochs == 1 else f"after every {epochs} epochs"
