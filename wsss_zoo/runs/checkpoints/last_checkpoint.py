"""The checkpoint of a run, and those of earlier stages of its training."""

import os
import tempfile
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import SIGTERMException

from wsss_zoo.runs.checkpoints.exact_resume import (
    StopRequest,
    begin_validation_again,
    is_between_steps,
    is_last_batch,
    pause_follows,
)
from wsss_zoo.runs.folder import CHECKPOINT, CONFIG


class LastCheckpoint(Checkpoint):
    """Keep one checkpoint of a run, ``checkpoints/last.ckpt``, replaced by rename.

    It is saved within epochs and at the end of the training, never between a step and the
    validation that follows it. A run that is killed at any time and resumed takes the same steps
    and validations as an uninterrupted one. Exception: an epoch of a single batch. It is saved at
    its end, and Lightning, with ``max_steps``, resumes with the order of a later epoch.

    SIGTERM saves too:

    * The current step is finished, also if gradients are half accumulated.
    * At the end of an epoch or of a validation, so is the first step that follows.
    * A validation is cut short, and repeated after the resume.
    * Several ranks agree on the step, whichever received the signal. They finish a validation and
      the step after it.
    * In the very last validation nothing is saved, and the previous checkpoint stays.

    Whatever ends a training early, the error names the command that resumes it.

    Lightning's ``ModelCheckpoint`` may be used as well, in ``trainer.callbacks``. It cannot replace
    this callback: its temporary file may be on another disk, which rules out a rename.

    Args:
        every_n_train_steps: Steps that a killed run may lose.
        keep_parts: Number of equal parts of the training. After each but the last the weights are
            kept too, in ``checkpoints/part_1.ckpt`` and so on: for ``predict``, as ST++ does with
            3 parts, not to resume from.
    """

    def __init__(self, every_n_train_steps: int = 100, keep_parts: int = 1) -> None:
        given = {"every_n_train_steps": every_n_train_steps, "keep_parts": keep_parts}
        for name, value in given.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.every_n_train_steps, self.keep_parts = every_n_train_steps, keep_parts
        self._saved_step = 0
        self._parts: dict[int, int] = {}
        self._stop = StopRequest()
        self._running = False
        #: Step of the state that is written, but does not yet replace the previous checkpoint.
        self._prepared_step: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Handle SIGTERM before Lightning does."""
        if stage == "fit":
            self._stop.listen(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step that the run starts or resumes at.

        Raises:
            ValueError: If the training has fewer steps than ``keep_parts``, or no known end.
        """
        self._saved_step = trainer.global_step
        self._parts, self._prepared_step = {}, None
        self._running = not getattr(trainer, "fast_dev_run", False)
        total, parts = trainer.estimated_stepping_batches, self.keep_parts
        if parts == 1 or not self._running:
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
        """Publish the checkpoint of the previous step, now that its row is in metrics.csv."""
        self._publish(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is due, unless gradients are half accumulated or a pause follows."""
        # Before the last checkpoint: a run that is killed in between makes the part again.
        part = self._parts.pop(trainer.global_step, None)
        if part is not None:
            kept = CHECKPOINT.with_name(f"part_{part}.ckpt")
            _write(trainer, kept, weights_only=True)
            _replace(trainer, kept)
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        may_stop = stepped and not pause_follows(trainer, batch_idx)
        if may_stop and self._due(trainer):
            self._prepare(trainer)
        if trainer.world_size == 1:
            complete = stepped or is_last_batch(trainer)
            may_stop = complete and trainer.global_step != trainer.max_steps
        self._stop.hold(trainer, may_stop)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Postpone SIGTERM to the next step: Lightning would count the previous one twice."""
        if self._running:
            self._stop.hold(trainer, False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it is due or SIGTERM was received, if epochs have a single batch."""
        single = trainer.num_training_batches == 1
        self._stop.hold(trainer, single)
        if single and (self._due(trainer) or self._stop.asked):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        self._save(trainer)
        self._running = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save if SIGTERM ended the training, and name the command that resumes it."""
        if not self._running:
            return
        self._running = False
        # With a full disk the step before may be missing in metrics.csv.
        if not isinstance(exception, OSError):
            self._publish(trainer)
        ended = trainer.global_step in (self._saved_step, trainer.max_steps)
        if isinstance(exception, SIGTERMException) and is_between_steps(trainer) and not ended:
            if trainer.validating:
                begin_validation_again(trainer)
            self._save(trainer)
        folder = Path(trainer.default_root_dir)
        note = "no step is saved; start the same command again"
        if self._saved_step:
            note = (
                f"step {self._saved_step} is saved; go on with: wsss-zoo fit --config "
                f"{folder / CONFIG} --ckpt_path {folder / CHECKPOINT}"
            )
        exception.add_note(note)
        if isinstance(exception, KeyboardInterrupt):
            # Lightning turns it into a silent exit.
            rank_zero_info(note)

    def _due(self, trainer: Trainer) -> bool:
        return trainer.global_step - self._saved_step >= self.every_n_train_steps

    def _save(self, trainer: Trainer) -> None:
        self._prepare(trainer)
        self._publish(trainer)
        trainer.strategy.barrier("LastCheckpoint")

    def _prepare(self, trainer: Trainer) -> None:
        """Write the current state beside the previous checkpoint."""
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
            # Without it a power cut can leave the new name on an empty file.
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        # Lightning first writes into the folder of temporary files.
        places = f"there and in {tempfile.gettempdir()}"
        problem = f"{error.strerror or error}: checkpoint not written, it needs room {places}"
        raise OSError(error.errno, problem, str(target)) from error


def _replace(trainer: Trainer, path: Path) -> None:
    target = Path(trainer.default_root_dir, path)
    if trainer.is_global_zero:
        target.with_suffix(".tmp").replace(target)
