"""Warn when a class dies among the pseudo-labels that a training learns from."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.contract import find_data
from wsss_zoo.functional import confusion_matrix

logger = logging.getLogger(__name__)

# Steps between two looks, and the labelled crops that must have shown a class until it is judged.
_WINDOW, _SHOWN = 50, 5
# Ratios of the kept share to the given share, from which a class lives and below which it is dead.
_ALIVE, _DEAD = 0.25, 0.05
# Rows of the counts: labelled pixels of the run; then since a class was judged last its kept
# pixels, all kept pixels, and the labelled crops that show it.
_GIVEN, _KEPT, _ALL, _CROPS = range(4)
_REMEDY = (
    "its IoU will fall. Give image tags (model.gate_by_tags), masks of more images with it, a "
    "longer warm start (model.init_from), or train Supervised"
)


class KeptClasses(Callback):
    """Compares the classes of kept pseudo-labels with those of given masks, every 50 steps.

    ``train/kept_ratio/<class>`` is the share of a class among the kept pixels, divided by its share
    among the labelled pixels of the run. It waits until five labelled crops have shown the class.
    The log names a class once whose ratio falls below 0.05 after it was 0.25. It acts on methods
    with ``kept_counts``, the kept pixels of a step by class, and batches of labelled and unlabelled
    images.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: Tensor | None = None
        # The step of the last look: with accumulated gradients a step has several batches.
        self._looked = 0
        self._living: set[int] = set()
        self._dead: set[int] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier training; one that goes on was loaded with its counts."""
        if trainer.global_step == 0:
            self._counts, self._looked, self._living, self._dead = None, 0, set(), set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the pixels of the batch on its device, and look at them every 50 steps."""
        method: Any = pl_module
        kept: Tensor | None = getattr(method, "kept_counts", None)
        labeled = batch.get("labeled") if isinstance(batch, Mapping) else None
        if kept is None or labeled is None or "mask" not in labeled:
            return
        method.kept_counts = None
        mask, number = labeled["mask"], len(kept)
        given = confusion_matrix(mask, mask, number).diagonal()
        shows = torch.zeros(len(mask), number + 1, dtype=torch.int64, device=mask.device)
        shows.scatter_(1, mask.masked_fill(mask == 255, number).long().flatten(1), 1)
        counts = torch.stack([given, kept, kept.sum().expand(number), shows.sum(0)[:number]])
        before = self._counts
        self._counts = counts if before is None else before.to(counts.device) + counts
        step = trainer.global_step
        if step % _WINDOW == 0 and step != self._looked:
            self._looked = step
            self._look(trainer, pl_module, self._counts)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the counts of this process, so that a resume has them."""
        if self._counts is not None:
            classes = {"living": sorted(self._living), "dead": sorted(self._dead)}
            counts = {"counts": self._counts.cpu(), "looked": self._looked}
            checkpoint["kept_classes"] = counts | classes

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the counts, on the first process alone: they are its own."""
        saved = checkpoint.get("kept_classes")
        if saved and trainer.training:
            counts = saved["counts"]
            self._counts = counts if trainer.is_global_zero else torch.zeros_like(counts)
            self._looked = saved["looked"]
            self._living, self._dead = set(saved["living"]), set(saved["dead"])

    def _look(self, trainer: Trainer, method: LightningModule, counts: Tensor) -> None:
        total = sum_over_ranks(trainer, counts).double()
        given = total[_GIVEN] / total[_GIVEN].sum().clamp_min(1)
        kept = total[_KEPT] / total[_ALL].clamp_min(1)
        judged = total[_CROPS] >= _SHOWN
        counts[_KEPT:, judged.to(counts.device)] = 0
        names = _names(trainer, len(given))
        for place in judged.nonzero().flatten().tolist():
            ratio = float(kept[place] / given[place])
            method.log(f"train/kept_ratio/{names[place]}", ratio)
            if ratio >= _ALIVE:
                self._living.add(place)
            elif ratio < _DEAD and place in self._living - self._dead:
                self._dead.add(place)
                if trainer.is_global_zero:
                    text = "class %r dies among the pseudo-labels at step %d: it has %.2g %% of "
                    text += "their pixels, and %.2g %% of the labelled ones; %s"
                    shares = (100 * float(part[place]) for part in (kept, given))
                    logger.warning(text, names[place], trainer.global_step, *shares, _REMEDY)


def _names(trainer: Trainer, count: int) -> Sequence[str]:
    names = getattr(find_data(trainer), "class_names", None)
    return names or [str(place) for place in range(count)]
