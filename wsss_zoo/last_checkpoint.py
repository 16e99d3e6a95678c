"""The checkpoint of a run, and those of earlier stages of its training."""

import os
import tempfile
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import SIGTERMException

from wsss_zoo.run_folder import CHECKPOINT


class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint of a run, ``checkpoints/last.ckpt``, replaced by rename.

    It is saved in the middle of an epoch and at the end of the training, never between a step and
    the validation that follows it: a run that is killed at any time and resumed takes the same
    steps and makes the same validations as one that is not. (An epoch of a single batch has no
    middle; there it is saved at the end of the epoch, from where Lightning, with ``max_steps``,
    resumes with the order of a later epoch.)

    SIGTERM saves too. The step that it comes in is finished, also if gradients are half
    accumulated; at the end of an epoch or of a validation so is the first step that follows; within
    a validation this is cut short, and made again after the resume. Several ranks agree on the
    step, whichever of them the signal came to; they finish a validation, and the step after it. In
    the very last validation nothing is saved, and the checkpoint before stays.

    Whatever ends a training early, the error says by which command it goes on.

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
        self._asked_to_stop = False
        self._running = False
        #: Step of the state that is written, but not yet in the place of the checkpoint before.
        self._prepared_step: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """With several ranks, only note SIGTERM when it comes, before Lightning takes it on."""
        self._asked_to_stop = False
        if stage == "fit" and trainer.world_size > 1:
            # Lightning's would broadcast from within the signal, in the middle of another
            # collective call, where ranks wait for each other for ever.
            note = partial(self._note_stop, trainer)
            trainer._signal_connector._sigterm_notifier_fn = note  # type: ignore[method-assign]

    def _note_stop(self, trainer: Trainer, number: int, frame: FrameType | None) -> None:
        launcher = trainer.strategy.launcher
        if launcher is not None and not self._asked_to_stop:
            launcher.kill(number)
        self._asked_to_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step that the run starts or resumes at.

        Raises:
            ValueError: If the training has fewer steps than ``keep_parts``, or no known end.
        """
        self._saved_step = trainer.global_step
        self._parts, self._prepared_step = {}, None
        self._running = not getattr(trainer, "fast_dev_run", False)
        total, parts = trainer.estimated_stepping_batches, self.keep_parts
        if parts == 1 or getattr(trainer, "fast_dev_run", False):
            return
        if not parts <= total < float("inf"):
            raise ValueError(
                f"keep_parts {parts} is more than the steps of the training ({total}), or it has "
                "no end; give trainer.max_steps or trainer.max_epochs"
            )
        self._parts = {int(total) * part // parts: part for part in range(1, parts)}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let the checkpoint of the step before count, now that its row is in metrics.csv."""
        self._publish(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is due, unless gradients are half accumulated or a pause follows."""
        # Before the last checkpoint: a run that is killed in between makes the part again.
        part = self._parts.pop(trainer.global_step, None)
        if part is not None:
            kept = Path("checkpoints", f"part_{part}.ckpt")
            _write(trainer, kept, weights_only=True)
            _replace(trainer, kept)
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        pause = _pause_follows(trainer, batch_idx)
        if stepped and self._due(trainer) and not pause:
            self._prepare(trainer)
        if trainer.world_size > 1:
            self._hold_stop(trainer, stepped and not pause)
            return
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        self._hold_stop(trainer, (stepped or last) and trainer.global_step != trainer.max_steps)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let SIGTERM wait for a step: Lightning would count the one before this twice."""
        if self._running:
            self._hold_stop(trainer, False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it is due, or SIGTERM has come, and epochs have no middle."""
        single = trainer.num_training_batches == 1
        self._hold_stop(trainer, single)
        if single and (self._due(trainer) or self._asked_to_stop):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        self._save(trainer)
        self._running = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save if it was SIGTERM that ended the training; say by which command it goes on."""
        if not self._running:
            return
        self._running = False
        # With a full disk the step before may be missing in metrics.csv.
        if not isinstance(exception, OSError):
            self._publish(trainer)
        if isinstance(exception, SIGTERMException) and self._can_resume_here(trainer):
            if trainer.validating:
                _begin_validation_again(trainer)
            self._save(trainer)
        folder = Path(trainer.default_root_dir)
        note = "no step is saved; start the same command again"
        if self._saved_step:
            note = (
                f"step {self._saved_step} is saved; go on with: wsss-zoo fit --config "
                f"{folder / 'config.yaml'} --ckpt_path {folder / CHECKPOINT}"
            )
        exception.add_note(note)
        if isinstance(exception, KeyboardInterrupt):
            # Which Lightning turns into an exit without a word.
            rank_zero_info(note)

    def _hold_stop(self, trainer: Trainer, now: bool) -> None:
        """Let SIGTERM end the training after this batch, or keep it for a later one."""
        # Lightning looks at it after every batch and cannot be asked to wait.
        signals = trainer._signal_connector
        self._asked_to_stop |= signals.received_sigterm
        if now and trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(self._asked_to_stop, all=False)
            self._asked_to_stop = asked
        signals.received_sigterm = self._asked_to_stop and now

    def _can_resume_here(self, trainer: Trainer) -> bool:
        batches = trainer.fit_loop.epoch_loop.batch_progress
        done, begun = batches.current.completed, batches.current.ready
        if batches.is_last_batch:
            whole = trainer.validating
        else:
            whole = done == begun and done % trainer.accumulate_grad_batches == 0
        ended = trainer.global_step in (self._saved_step, trainer.max_steps)
        return whole and not ended

    def _due(self, trainer: Trainer) -> bool:
        return trainer.global_step - self._saved_step >= self.every_n_train_steps

    def _save(self, trainer: Trainer) -> None:
        self._prepare(trainer)
        self._publish(trainer)
        trainer.strategy.barrier("LastCheckpoint")

    def _prepare(self, trainer: Trainer) -> None:
        """Write the state as it is now, not yet in the place of the checkpoint before."""
        if not getattr(trainer, "fast_dev_run", False):
            _write(trainer, CHECKPOINT, weights_only=False)
            self._prepared_step = trainer.global_step

    def _publish(self, trainer: Trainer) -> None:
        if self._prepared_step is not None:
            _replace(trainer, CHECKPOINT)
            self._saved_step, self._prepared_step = self._prepared_step, None


def _write(trainer: Trainer, path: Path, *, weights_only: bool) -> None:
    target = Path(trainer.default_root_dir, path)
    unfinished = target.with_suffix(".tmp")
    try:
        trainer.save_checkpoint(unfinished, weights_only=weights_only)
        if trainer.is_global_zero:
            # Else a machine that loses its power may have the new name without the content.
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        # Lightning writes it to the folder of temporary files first.
        places = f"there and in {tempfile.gettempdir()}"
        problem = f"{error.strerror or error}: checkpoint not written, it needs room {places}"
        raise OSError(error.errno, problem, str(target)) from error


def _replace(trainer: Trainer, path: Path) -> None:
    target = Path(trainer.default_root_dir, path)
    if trainer.is_global_zero:
        target.with_suffix(".tmp").replace(target)


def _begin_validation_again(trainer: Trainer) -> None:
    """Put the progress of a validation to where Lightning resumes with its first image."""
    images = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    images.reset_on_run()
    images.increment_ready()
    images.increment_started()


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
