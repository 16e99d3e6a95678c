"""Lightning's private attributes that an exact resume needs: signals, and progress of the loops.

Lightning 2.6 has no public way. If a later version moves an attribute, change it here;
``tests/test_resume.py`` fails then.
"""

from functools import partial
from types import FrameType

from pytorch_lightning import Trainer


class StopRequest:
    """Hold back SIGTERM during a training until the run can end where it resumes exactly."""

    def __init__(self) -> None:
        #: Whether the signal came, on any rank.
        self.asked = False

    def listen(self, trainer: Trainer) -> None:
        """Forget earlier signals; with several ranks replace Lightning's signal handler.

        That one broadcasts, possibly within another collective call: a deadlock.
        """
        self.asked = False
        if trainer.world_size > 1:
            note = partial(self._note, trainer)
            trainer._signal_connector._sigterm_notifier_fn = note  # type: ignore[method-assign]

    def hold(self, trainer: Trainer, now: bool) -> None:
        """Let the signal end the training after this batch, or keep it for a later one.

        Lightning checks for it after every batch and cannot be told to wait. ``now`` says whether
        the training may end here; it is the same on all ranks.
        """
        self.asked |= trainer.received_sigterm
        if now and trainer.world_size > 1:
            self.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        trainer._signal_connector.received_sigterm = self.asked and now

    def _note(self, trainer: Trainer, number: int, frame: FrameType | None) -> None:
        launcher = trainer.strategy.launcher
        if launcher is not None and not self.asked:
            launcher.kill(number)
        self.asked = True


def is_last_batch(trainer: Trainer) -> bool:
    """Tell whether the current batch is the last of its epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def pause_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Tell whether a validation or the end of the epoch or training follows this batch."""
    if is_last_batch(trainer) or trainer.global_step == trainer.max_steps:
        return True
    every = trainer.val_check_batch
    by_epoch = trainer.check_val_every_n_epoch is not None
    batches = batch_idx if by_epoch else trainer.fit_loop.total_batch_idx
    return every is not None and (batches + 1) % every == 0


def is_between_steps(trainer: Trainer) -> bool:
    """Tell whether a state saved now resumes exactly: no step half done, no epoch at its end."""
    if is_last_batch(trainer):
        return trainer.validating
    batches = trainer.fit_loop.epoch_loop.batch_progress.current
    done, begun = batches.completed, batches.ready
    return done == begun and done % trainer.accumulate_grad_batches == 0


def begin_validation_again(trainer: Trainer) -> None:
    """Reset the progress of a validation, so that Lightning resumes with its first image."""
    images = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    images.reset_on_run()
    images.increment_ready()
    images.increment_started()
