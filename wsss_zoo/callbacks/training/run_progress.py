"""Where a run is: step k of n, the time left, the loss and the last validation."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from wsss_zoo.files.durations import duration

logger = logging.getLogger(__name__)

# Seconds between two looks at the loss: each waits for the device.
_REFRESH = 1.0
# Steps, or seconds, after which the expected time is logged once.
_MEASURED_STEPS, _MEASURED_SECONDS = 20, 60.0
#: The numbers shown of a validation, the first that there is.
_SHOWN = ("val/miou", "val/map", "val/infonce_acc")


class RunProgress(ProgressBar):
    """Shows step k of n over the whole run, with the time left; quiet where there is no terminal.

    The time left comes from the steps of this process, with the validations between them.

    Args:
        console: Console to draw on; None for stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(stderr=True, highlight=False)
        self._enabled = True
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._first = self._measured = 0
        self._started = self._shown = 0.0

    def disable(self) -> None:
        """Draw nothing, as on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Draw."""
        self._enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether it draws: on the first process, in a terminal or a notebook."""
        return self._enabled and (self._console.is_terminal or self._console.is_jupyter)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        self._console.print(*args, **kwargs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the step that the run starts or resumes at."""
        self._first, self._measured = trainer.global_step, 0
        self._started = self._shown = time.monotonic()
        self._begin("train", "step", trainer.estimated_stepping_batches, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance, and once a second look at the loss."""
        now = time.monotonic()
        self._log_expected_time(trainer, now)
        if "train" not in self._tasks or now - self._shown < _REFRESH:
            return
        self._shown = now
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        values = {} if loss is None else {"loss": float(loss)}
        metrics = trainer.callback_metrics
        values |= {name: float(metrics[name]) for name in _SHOWN if name in metrics}
        shown = [f"{name} {value:.3f}" for name, value in list(values.items())[:2]]
        left = self._seconds_left(trainer, now)
        ending = [] if left is None else [f"{duration(left)} left"]
        self._move("train", trainer.global_step, ", ".join([*ending, *shown]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last step."""
        self._move("train", trainer.global_step, f"in {duration(time.monotonic() - self._started)}")
        self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the images of a validation, below the steps if there are any."""
        if trainer.sanity_checking:
            return
        self._begin("validation", "validation image", sum(_sizes(trainer.num_val_batches)), 0)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *place: Any
    ) -> None:
        """Advance."""
        self._move("validation", place[1] + 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the line of the validation."""
        self._end("validation")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the images of a test."""
        self._begin("test", "test image", sum(_sizes(trainer.num_test_batches)), 0)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *place: Any
    ) -> None:
        """Advance."""
        self._move("test", place[1] + 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop drawing."""
        self._end("test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the images of a prediction."""
        self._begin("predict", "image", sum(_sizes(trainer.num_predict_batches)), 0)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *place: Any
    ) -> None:
        """Advance."""
        self._move("predict", place[1] + 1)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop drawing."""
        self._end("predict")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop drawing."""
        self._end()

    def _begin(self, task: str, unit: str, total: float, done: int) -> None:
        if not self.is_enabled:
            return
        if self._progress is None:
            columns = TextColumn("{task.description}"), TextColumn("{task.fields[text]}")
            bar = BarColumn(30)
            self._progress = Progress(
                columns[0], bar, columns[1], console=self._console, refresh_per_second=2
            )
            self._progress.start()
        known = total if total < float("inf") else None
        self._tasks[task] = self._progress.add_task(unit, total=known, unit=unit, text="")
        self._move(task, done)

    def _move(self, task: str, done: int, text: str | None = None) -> None:
        if self._progress is None or task not in self._tasks:
            return
        key = self._tasks[task]
        state = next(each for each in self._progress.tasks if each.id == key)
        of = "" if state.total is None else f" of {state.total:.0f}"
        said = state.fields["text"] if text is None else text
        label = f"{state.fields['unit']} {done}{of}"
        last = done == state.total
        self._progress.update(key, completed=done, description=label, refresh=last, text=said)

    def _end(self, task: str | None = None) -> None:
        """Remove one task, and stop drawing after the last; all of them for None."""
        if self._progress is None:
            return
        if task is not None and task in self._tasks and len(self._tasks) > 1:
            self._progress.remove_task(self._tasks.pop(task))
            return
        self._progress.stop()
        self._progress, self._tasks = None, {}

    def _seconds_left(self, trainer: Trainer, now: float) -> float | None:
        done, total = trainer.global_step - self._first, trainer.estimated_stepping_batches
        if done <= 0 or total == float("inf"):
            return None
        return (now - self._started) / done * (total - trainer.global_step)

    def _log_expected_time(self, trainer: Trainer, now: float) -> None:
        """Log the time that the run needs, once it has been measured."""
        done, passed = trainer.global_step - self._first, now - self._started
        if self._measured or (done < _MEASURED_STEPS and passed < _MEASURED_SECONDS) or done < 2:
            return
        self._measured = 1
        left = self._seconds_left(trainer, now)
        if left is not None and self._enabled and left > _MEASURED_SECONDS:
            text = "step %d of %d: %s a step, about %s left without the validations"
            steps = trainer.global_step, int(trainer.estimated_stepping_batches)
            logger.info(text, *steps, f"{passed / done:.2f} s", duration(left))


def _sizes(batches: Any) -> list[float]:
    return list(batches) if isinstance(batches, list | tuple) else [batches]
