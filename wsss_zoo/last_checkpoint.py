"""The checkpoint of a run, and those of earlier stages of its training."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from wsss_zoo.run_folder import CHECKPOINT


class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint of a run, ``checkpoints/last.ckpt``, replaced by rename.

    It is saved in the middle of an epoch and at the end of the training, never between a step and
    the validation that follows it: a run that is killed at any time and resumed takes the same
    steps and makes the same validations as one that is not. (An epoch of a single batch has no
    middle; there it is saved at the end of the epoch, from where Lightning, with ``max_steps``,
    resumes with the order of a later epoch.)

    Lightning's ``ModelCheckpoint`` may stand beside it in ``trainer.callbacks``. It cannot take
    this place: it writes through a temporary file that may be on another disk, which is no rename.

    Args:
        every_n_train_steps: Steps that a killed run may lose.
        keep_parts: Number of equal parts of the training after each of which, but the last, the
            weights are kept too, in ``checkpoints/part_1.ckpt`` and so on: for ``predict``, as the
            earlier checkpoints of ST++ (3 parts), not to resume from.
    """

    def __init__(self, every_n_train_steps: int = 100, keep_parts: int = 1) -> None:
        if every_n_train_steps < 1:
            raise ValueError(f"every_n_train_steps must be at least 1, got {every_n_train_steps}")
        if keep_parts < 1:
            raise ValueError(f"keep_parts must be at least 1, got {keep_parts}")
        self.every_n_train_steps = every_n_train_steps
        self.keep_parts = keep_parts
        self._saved_step = 0
        self._parts: dict[int, int] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step that the run starts or resumes at.

        Raises:
            ValueError: If the training has fewer steps than ``keep_parts``, or no known end.
        """
        self._saved_step = trainer.global_step
        self._parts = {}
        total, parts = trainer.estimated_stepping_batches, self.keep_parts
        if parts == 1 or getattr(trainer, "fast_dev_run", False):
            return
        if not parts <= total < float("inf"):
            raise ValueError(
                f"keep_parts {parts} is more than the steps of the training ({total}), or it has "
                "no end; give trainer.max_steps or trainer.max_epochs"
            )
        self._parts = {int(total) * part // parts: part for part in range(1, parts)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is due, unless gradients are half accumulated or a pause follows."""
        # Before the last checkpoint: a run that is killed in between makes the part again.
        part = self._parts.pop(trainer.global_step, None)
        if part is not None:
            self._write(trainer, Path("checkpoints", f"part_{part}.ckpt"), weights_only=True)
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and self._due(trainer) and not _pause_follows(trainer, batch_idx):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it is due and epochs have no middle."""
        if self._due(trainer) and trainer.num_training_batches == 1:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        if trainer.global_step > self._saved_step:
            self._save(trainer)

    def _due(self, trainer: Trainer) -> bool:
        return trainer.global_step - self._saved_step >= self.every_n_train_steps

    def _save(self, trainer: Trainer) -> None:
        self._write(trainer, CHECKPOINT, weights_only=False)
        self._saved_step = trainer.global_step

    def _write(self, trainer: Trainer, path: Path, *, weights_only: bool) -> None:
        if getattr(trainer, "fast_dev_run", False):
            return
        target = Path(trainer.default_root_dir, path)
        unfinished = target.with_suffix(".tmp")
        trainer.save_checkpoint(unfinished, weights_only=weights_only)
        if trainer.is_global_zero:
            unfinished.replace(target)
        trainer.strategy.barrier("LastCheckpoint")


def _pause_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation, the end of an epoch or of the training comes after this batch."""
    if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
        return True
    if trainer.global_step == trainer.max_steps:
        return True
    every = trainer.val_check_batch
    total = (
        trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    )
    return every is not None and (total + 1) % every == 0
