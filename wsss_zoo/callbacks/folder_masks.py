"""Masks of a folder of images, written image by image, with a progress bar."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsss_zoo.atomic import write_json
from wsss_zoo.callbacks.overlay import draw_overlay
from wsss_zoo.contract import data_of
from wsss_zoo.data.label_folder import LabelFolder


class FolderMaskWriter(Callback):
    """Writes ``preds`` (H, W) of each predicted ``image`` (H, W, 3), and notes each ``problem``.

    Args:
        folder: Where to.
        opacity: Of the overlays, in [0, 1]; 0 writes none.
        background: Whether class 0 is background.
    """

    def __init__(self, folder: LabelFolder, opacity: float, background: bool) -> None:
        self.folder, self.opacity, self.background = folder, opacity, background
        self._problems: list[str] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write an image's mask and overlay.

        Raises:
            SIGTERMException: If the process is to end; Lightning's prediction would go on.
        """
        if "problem" in outputs:
            self._problems.append(outputs["problem"])
        else:
            image, mask = outputs["image"], outputs["preds"]
            if self.opacity > 0:
                draw_overlay(image, mask, opacity=self.opacity, background=self.background)
            self.folder.write(batch["image_id"], mask, image if self.opacity > 0 else None)
        if trainer.received_sigterm:
            raise SIGTERMException

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the problems to the first rank, through the folder, and wait for all ranks."""
        write_json(self._notes(trainer.global_rank), self._problems)
        trainer.strategy.barrier("masks written")

    def problems(self, ranks: int) -> list[str]:
        """What went wrong on all ranks, sorted; asked once, after the prediction."""
        notes = [self._notes(rank) for rank in range(ranks)]
        found: Sequence[list[str]] = [json.loads(path.read_text("utf-8")) for path in notes]
        for path in notes:
            path.unlink()
        return sorted(problem for problems in found for problem in problems)

    def _notes(self, rank: int) -> Path:
        # Hidden, and swept away with what a killed run leaves.
        return self.folder.directory / f".problems_{rank}.tmp"


class LabelProgress(Callback):
    """A bar over the images of all ranks, and one over the tiles of a large image.

    Args:
        total: Number of images, those that were done before included.
        console: Where to draw.
    """

    def __init__(self, total: int, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.total = total
        self._bars = Progress(*columns, console=console)
        self._images = self._bars.add_task("images", total=total)
        self._tiles = self._bars.add_task("tiles", visible=False)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar, on the first rank."""
        if trainer.is_global_zero:
            data: Any = data_of(trainer, "LabelProgress")
            self._bars.update(self._images, completed=self.total - len(data.left))
            self._bars.start()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count an image; the other ranks are taken to be as far."""
        done = self._bars.tasks[0].completed + trainer.world_size
        self._bars.update(self._images, completed=min(done, self.total))
        self._bars.update(self._tiles, visible=False)

    def tile(self, image_id: str, done: int, total: int) -> None:
        """Count a tile of a large image."""
        self._bars.update(
            self._tiles, description=image_id, completed=done, total=total, visible=True
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def _stop(self) -> None:
        if self._bars.live.is_started:
            self._bars.stop()
