"""The checkpoint of a run, and those of earlier stages of its training."""

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from wsss_zoo.runs.checkpoints.exact_resume import (
    StopRequest,
    begin_next_epoch,
    begin_validation_again,
    is_between_steps,
    is_last_batch,
    pause_follows,
    reopen_epoch,
)
from wsss_zoo.runs.checkpoints.same_run import check_epoch_goes_on, keep_own_options
from wsss_zoo.runs.folder import CHECKPOINT, CONFIG

logger = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Keep one checkpoint of a run, ``checkpoints/last.ckpt``, replaced by rename.

    It is saved within epochs and at the end of the training, never between a step and the
    validation that follows it. A run that is killed at any time and resumed takes the same steps
    and validations as an uninterrupted one. A finished run goes on with more steps or epochs as if
    that longer run had been stopped here.

    SIGTERM and Ctrl-C save too:

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
        every_n_minutes: Minutes that a killed run may lose, and the step or pause after them;
            whichever comes first counts.
        keep_parts: Number of equal parts of the training. After each but the last the weights are
            kept too, in ``checkpoints/part_1.ckpt`` and so on: for ``predict``, as ST++ does with
            3 parts, not to resume from.
    """

    def __init__(
        self,
        every_n_train_steps: int = 100,
        keep_parts: int = 1,
        every_n_minutes: float = 10.0,
    ) -> None:
        given = {"every_n_train_steps": every_n_train_steps, "keep_parts": keep_parts}
        for name, value in given.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not every_n_minutes > 0:
            raise ValueError(f"every_n_minutes must be greater than 0, got {every_n_minutes}")
        self.every_n_train_steps, self.keep_parts = every_n_train_steps, keep_parts
        self.every_n_minutes = every_n_minutes
        self._saved_step, self._prepared_at = 0, time.monotonic()
        self._parts: dict[int, int] = {}
        self._stop = StopRequest()
        self._running = False
        #: Step of the state that is written, but does not yet replace the previous checkpoint.
        self._prepared_step: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Handle SIGTERM before Lightning does."""
        if stage == "fit":
            self._stop.listen(trainer)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a finished run that is made longer go on within its last epoch.

        Options of callbacks that Lightning keeps with their state are those of this run.

        Raises:
            ValueError: If the rest of an epoch cannot go on with the batches of this run.
        """
        if trainer.state.fn == TrainerFn.FITTING and "loops" in checkpoint:
            reopen_epoch(checkpoint["loops"]["fit_loop"])
            check_epoch_goes_on(trainer, checkpoint)
            keep_own_options(trainer, checkpoint.get("callbacks", {}))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step that the run starts or resumes at.

        Raises:
            ValueError: If the training has fewer steps than ``keep_parts``, or no known end.
        """
        begin_next_epoch(trainer)
        self._saved_step, self._prepared_at = trainer.global_step, time.monotonic()
        self._stop.catch_interrupts(trainer, self._announce_stop)
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
        self._stop.release_interrupts()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save if a signal ended the training, and name the command that resumes it."""
        self._stop.release_interrupts()
        if isinstance(exception, SIGTERMException) and self._stop.interrupted:
            exception.interrupted = True  # type: ignore[attr-defined]
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
        if trainer.global_step - self._saved_step >= self.every_n_train_steps:
            return True
        late = time.monotonic() - self._prepared_at >= 60 * self.every_n_minutes
        if trainer.world_size > 1:
            # Ranks have clocks of their own, and save together.
            late = trainer.strategy.reduce_boolean_decision(late, all=False)
        return late and trainer.global_step > self._saved_step

    @rank_zero_only
    def _announce_stop(self) -> None:
        saved = f"the last one is of step {self._saved_step}" if self._saved_step else "none is yet"
        logger.warning(
            "Ctrl-C: this step is finished and saved, then the run stops; again stops at once "
            "without a checkpoint (%s)", saved,
        )  # fmt: skip

    def _save(self, trainer: Trainer) -> None:
        self._prepare(trainer)
        self._publish(trainer)
        trainer.strategy.barrier("LastCheckpoint")

    def _prepare(self, trainer: Trainer) -> None:
        """Write the current state beside the previous checkpoint."""
        if not getattr(trainer, "fast_dev_run", False):
            _write(trainer, CHECKPOINT, weights_only=False)
            self._prepared_step, self._prepared_at = trainer.global_step, time.monotonic()

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
