"""Masks and maps of a folder of images, written image by image, with a progress bar."""

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsss_zoo.callbacks.writers.resumable_writer import ResumableWriter
from wsss_zoo.contract import data_of
from wsss_zoo.drawing.overlay import class_lines, draw_class_list, draw_overlay
from wsss_zoo.files.decoding import is_several_frames
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.map_folder import MapFolder
from wsss_zoo.files.result_folder import ResultFolder


class FolderWriter(ResumableWriter):
    """Writes a file for each image of a folder, and notes each ``problem`` of an image.

    Args:
        folder: Folder to write.
        overwrite: First delete the files that are there.

    Raises:
        SIGTERMException: If the process is to end.
    """

    def __init__(self, folder: ResultFolder, *, overwrite: bool = False) -> None:
        super().__init__()
        self.result, self.overwrite = folder, overwrite
        #: What could not be done, and why; of all ranks once the prediction has ended.
        self.problems: list[str] = []
        #: Files of several frames, of which the first was processed; of all ranks in the end.
        self.several_frames: list[str] = []
        #: Number of files before and after the prediction; on rank zero.
        self.found = self.count = 0

    @abstractmethod
    def _write(self, image_id: str, outputs: Any) -> None:
        """Write the files of an image."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have the data module leave out the images that are done."""
        self._leave_out_done(trainer, pl_module, data_of(trainer, type(self).__name__))

    def _process_batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any
    ) -> None:
        if "problem" in outputs:
            self.problems.append(outputs["problem"])
        else:
            self._write(batch["image_id"], outputs)
            if is_several_frames(batch["path"]):
                self.several_frames.append(batch["path"])
        if trainer.received_sigterm:
            # Lightning's prediction would go on.
            raise SIGTERMException

    def _begin_folder(self, trainer: Trainer, module: LightningModule, data: Any) -> set[str]:
        done = self.result.begin(data.files, overwrite=self.overwrite)
        self.found = len(done)
        return done

    def _finish_folder(self, trainer: Trainer, data: Any) -> None:
        ranks = range(trainer.world_size)
        own = (self.problems, self.several_frames)
        by_rank = [trainer.strategy.broadcast(own, rank) for rank in ranks]
        problems, several_frames = (
            sorted(itertools.chain(*each)) for each in zip(*by_rank, strict=True)
        )
        self.problems, self.several_frames = [*data.problems, *problems], several_frames
        if trainer.is_global_zero:
            self.count = self.result.finish(data.relative_paths(), self.problems)


class FolderMapWriter(FolderWriter):
    """Writes the ``map`` (H, W) of each predicted image."""

    def __init__(self, folder: MapFolder, *, overwrite: bool = False) -> None:
        super().__init__(folder, overwrite=overwrite)
        self.folder = folder

    def _write(self, image_id: str, outputs: Any) -> None:
        self.folder.write(image_id, outputs["map"])


class FolderMaskWriter(FolderWriter):
    """Writes ``preds`` (H, W) of each predicted ``image`` (H, W, 3).

    Args:
        folder: Folder to write.
        class_names: Names by class index, for the legend.
        opacity: Opacity of the overlays, in [0, 1]; 0 writes none.
        background: Whether class 0 is background.
        ignored: Whether masks may hold 255.
        overwrite: First delete the masks and overlays that are there.
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
        super().__init__(folder, overwrite=overwrite)
        self.folder, self.class_names = folder, class_names
        self.opacity, self.background, self.ignored = opacity, background, ignored

    def _write(self, image_id: str, outputs: Any) -> None:
        image, mask = outputs["image"], outputs["preds"]
        if self.opacity > 0:
            draw_overlay(image, mask, opacity=self.opacity, background=self.background)
        if "confidence" in outputs:
            self.folder.write_confidence(image_id, outputs["confidence"])
        self.folder.write(image_id, mask, image if self.opacity > 0 else None)

    def _begin_folder(self, trainer: Trainer, module: LightningModule, data: Any) -> set[str]:
        done = super()._begin_folder(trainer, module, data)
        legend = draw_class_list(self.class_names, ignored=self.ignored)
        self.folder.write_legend(legend, class_lines(self.class_names, ignored=self.ignored))
        return done


class LabelProgress(Callback):
    """Shows a bar over the images of all ranks, and one over the tiles of a large image."""

    def __init__(self, console: Console) -> None:
        self.console = console
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
