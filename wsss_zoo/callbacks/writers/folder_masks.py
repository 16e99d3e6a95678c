"""Masks of a folder of images, written image by image, with a progress bar."""

import itertools
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsss_zoo.callbacks.writers.resumable_writer import ResumableWriter
from wsss_zoo.contract import data_of
from wsss_zoo.drawing.overlay import class_lines, draw_class_list, draw_overlay
from wsss_zoo.files.label_folder import LabelFolder


class FolderMaskWriter(ResumableWriter):
    """Writes ``preds`` (H, W) of each predicted ``image`` (H, W, 3), and notes each ``problem``.

    Args:
        folder: Folder to write.
        class_names: Names by class index, for the legend.
        opacity: Opacity of the overlays, in [0, 1]; 0 writes none.
        background: Whether class 0 is background.
        ignored: Whether masks may hold 255.
        overwrite: First delete the masks and overlays that are there.

    Raises:
        SIGTERMException: If the process is to end.
    """

    def __init__(
        self,
        folder: LabelFolder,
        class_names: Sequence[str],
        *,
        opacity: float = 0.5,
        background: bool = True,
        ignored: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        self.folder, self.class_names = folder, class_names
        self.opacity, self.background = opacity, background
        self.ignored, self.overwrite = ignored, overwrite
        #: What could not be labelled, and why; of all ranks once the prediction has ended.
        self.problems: list[str] = []
        #: Number of masks before and after the prediction; on rank zero.
        self.found = self.count = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have the data module leave out the images that are done."""
        self._leave_out_done(trainer, pl_module, data_of(trainer, "FolderMaskWriter"))

    def _process_batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any
    ) -> None:
        if "problem" in outputs:
            self.problems.append(outputs["problem"])
        else:
            image, mask = outputs["image"], outputs["preds"]
            if self.opacity > 0:
                draw_overlay(image, mask, opacity=self.opacity, background=self.background)
            if "confidence" in outputs:
                self.folder.write_confidence(batch["image_id"], outputs["confidence"])
            self.folder.write(batch["image_id"], mask, image if self.opacity > 0 else None)
        if trainer.received_sigterm:
            # Lightning's prediction would go on.
            raise SIGTERMException

    def _begin_folder(self, trainer: Trainer, module: LightningModule, data: Any) -> set[str]:
        done = self.folder.begin(data.files, overwrite=self.overwrite)
        legend = draw_class_list(self.class_names, ignored=self.ignored)
        self.folder.write_legend(legend, class_lines(self.class_names, ignored=self.ignored))
        self.found = len(done)
        return done

    def _finish_folder(self, trainer: Trainer, data: Any) -> None:
        ranks = range(trainer.world_size)
        by_rank = [trainer.strategy.broadcast(self.problems, rank) for rank in ranks]
        self.problems = [*data.problems, *sorted(itertools.chain(*by_rank))]
        if trainer.is_global_zero:
            self.count = self.folder.finish(data.relative_paths(), self.problems)


class LabelProgress(Callback):
    """Shows a bar over the images of all ranks, and one over the tiles of a large image."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console)
        self._images = self._bars.add_task("images", total=None)
        self._tiles = self._bars.add_task("tiles", visible=False)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar, on rank zero."""
        data: Any = data_of(trainer, "LabelProgress")
        total = len(data.files)
        self._bars.update(self._images, completed=total - len(data.left), total=total)
        if trainer.is_global_zero:
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
        """Count an image on every rank."""
        images = self._bars.tasks[0]
        done = min(images.completed + trainer.world_size, images.total or 0)
        self._bars.update(self._images, completed=done)
        self._bars.update(self._tiles, visible=False)

    def draw_tile(self, image_id: str, done: int, total: int) -> None:
        """Count a tile of a large image."""
        self._bars.update(
            self._tiles, description=image_id, completed=done, total=total, visible=True
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        if self._bars.live.is_started:
            self._bars.stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self.teardown(trainer, pl_module, "predict")
