"""Seconds of each batch and the peak memory of a run, for a forecast of a longer one."""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from wsss_zoo.files.atomic import write_json

#: The file of a run's folder that has the times.
STEP_TIMES = "step_times.json"


class StepTimes(Callback):
    """Writes ``step_times.json``: when each batch ended, the peak memory, and whether it lacked.

    Loading counts as part of a batch. A batch waits for the device, so long runs are better off
    without this callback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ends: dict[str, list[float]] = {"train": [], "val": [], "predict": []}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._ends["train"].append(_now())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._ends["val"].append(_now())

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._ends["predict"].append(_now())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time."""
        self._ends["train"].append(_now())

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *place: Any
    ) -> None:
        """Note the time."""
        self._ends["val"].append(_now())

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *place: Any
    ) -> None:
        """Note the time."""
        self._ends["predict"].append(_now())

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write what there is, and whether memory was what lacked."""
        lacked = isinstance(exception, MemoryError | torch.OutOfMemoryError)
        lacked = lacked or "allocate memory" in str(exception)
        self._write(trainer, out_of_memory=lacked)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file."""
        if not (Path(trainer.default_root_dir) / STEP_TIMES).exists():
            self._write(trainer, out_of_memory=False)

    def _write(self, trainer: Trainer, *, out_of_memory: bool) -> None:
        if not trainer.is_global_zero:
            return
        gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        content = {"ends": self._ends, "memory": peak_memory(), "gpu_memory": gpu}
        path = Path(trainer.default_root_dir) / STEP_TIMES
        write_json(path, content | {"out_of_memory": out_of_memory})


def peak_memory() -> int:
    """Measure the largest main memory that this process has used so far, bytes; 0 if unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()
