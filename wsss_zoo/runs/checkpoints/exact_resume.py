"""Lightning's private attributes that an exact resume needs: signals, and progress of the loops.

Lightning 2.6 has no public way. If a later version moves an attribute, change it here;
``tests/test_resume.py`` fails then.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from pytorch_lightning import Trainer

# A terminal sends Ctrl-C to a pipeline and to its step, and the pipeline passes it on.
_ONE_PRESS = 1.0


class StopRequest:
    """Hold back SIGTERM and Ctrl-C during a training until the run can end where it resumes.

    A second Ctrl-C ends the training at once.
    """

    def __init__(self) -> None:
        #: Whether a signal came, on any rank.
        self.asked = False
        self._pressed: float | None = None
        self._previous: Any = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C asked this process to end."""
        return self._pressed is not None

    def listen(self, trainer: Trainer) -> None:
        """Forget earlier signals; with several ranks replace Lightning's signal handler.

        That one broadcasts, possibly within another collective call: a deadlock.
        """
        self.asked, self._pressed = False, None
        if trainer.world_size > 1:
            note = partial(self._note, trainer)
            trainer._signal_connector._sigterm_notifier_fn = note  # type: ignore[method-assign]

    def catch_interrupts(self, trainer: Trainer, announce: Callable[[], None]) -> None:
        """Treat Ctrl-C as SIGTERM from here on; ``announce`` is called at the first."""
        if threading.current_thread() is not threading.main_thread():
            return
        process = os.getpid()

        def interrupt(number: int, frame: FrameType | None) -> None:
            if os.getpid() != process:
                return  # a loader process: the main one ends it
            now = time.monotonic()
            if self._pressed is not None and now - self._pressed > _ONE_PRESS:
                raise KeyboardInterrupt
            if self._pressed is None:
                self._pressed = now
                announce()
            self.asked = True
            if trainer.world_size == 1:
                trainer._signal_connector.received_sigterm = True

        # A handler of somebody else, or none at all, stays.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, interrupt)

    def release_interrupts(self) -> None:
        """Let Ctrl-C end the process again."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

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


def reopen_epoch(loops: dict[str, Any]) -> None:
    """Change the loops' state of a training that ended within an epoch, so that it goes on there.

    The end of a training counts its epoch as finished. The result is the state that a checkpoint
    after the same batch has. Other states stay as they are.

    Args:
        loops: State of the fit loop, from a checkpoint.
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    finished = 0 < epochs["current"]["ready"] == epochs["current"]["completed"]
    if not finished or batches["is_last_batch"] or not batches["current"]["completed"]:
        return
    for count in (epochs["total"], epochs["current"]):
        count["processed"] -= 1
        count["completed"] -= 1
    for count in (batches["total"], batches["current"]):
        count["completed"] -= 1
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def begin_next_epoch(trainer: Trainer) -> None:
    """Begin an epoch as without a break, if the checkpoint is of the end of the one before.

    Lightning, with ``max_steps``, would go on with the finished epoch, which has no batch left.
    """
    fit = trainer.fit_loop
    # Lightning declares a type with fewer counts than these have.
    epochs: Any = fit.epoch_progress
    batches = fit.epoch_loop.batch_progress
    if not (fit.is_resuming and batches.is_last_batch):
        return
    if epochs.total.processed != epochs.total.ready:
        return  # the validation at the end of the epoch goes on
    epochs.total.completed = epochs.total.processed
    epochs.current.completed = epochs.current.processed
    fit._restarting = False
    fit.reset_restart_stage()
    fit.epoch_loop.restarting = False
    fit.epoch_loop.reset_restart_stage()
