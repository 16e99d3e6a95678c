"""A quiet Trainer, and a loader of one batch: for tests of steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer


def quiet_trainer(folder: Path, **options: Any) -> Trainer:
    """A Trainer on one CPU that writes and shows nothing; ``options`` count in place of these."""
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": folder,
    }
    return Trainer(**(quiet | options))


class Forever:
    """A loader of one batch, again and again."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self.batch
