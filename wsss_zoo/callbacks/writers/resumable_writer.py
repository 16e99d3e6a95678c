"""Resume of an interrupted prediction: images whose files exist are left out."""

import warnings
from abc import abstractmethod
from functools import cache
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from wsss_zoo.contract import DataModule, EvaluationBatch, FindDone, data_of, find_data


class ResumableWriter(Callback):
    """Writes files for each predicted image, and declares them complete at the end.

    The data module asks the writer which images are done when Lightning asks for the loader: after
    the checkpoint is loaded, on all ranks. An image is left out if all writers have it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._done: set[str] = set()
        self._open = False
        self._resume: FindDone = set

    @abstractmethod
    def _begin_folder(
        self, trainer: Trainer, module: LightningModule, data: DataModule
    ) -> set[str]:
        """Claim the folder, on rank zero, once the checkpoint is loaded.

        Returns:
            Ids of the images that need no work.

        Raises:
            ValueError: If the folder is another run's; all ranks raise it then.
        """

    @abstractmethod
    def _process_batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: EvaluationBatch
    ) -> None:
        """Write the files of a batch."""

    @abstractmethod
    def _finish_folder(self, trainer: Trainer, data: DataModule) -> None:
        """Declare the files complete; on all ranks, after the last image."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Claim the folder, if a data module without ``resumed_by`` has not asked what is done."""
        self._resume()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the files of a batch."""
        self._process_batch(trainer, pl_module, outputs, batch)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Declare the files complete."""
        if self._open:
            self._finish_folder(trainer, data_of(trainer, type(self).__name__))
            self._open = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Detach from the data module."""
        if stage == "predict":
            self._stop_resuming(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Detach from the data module."""
        if trainer.state.fn == "predict":
            self._stop_resuming(trainer)

    def _leave_out_done(self, trainer: Trainer, module: LightningModule, data: DataModule) -> None:
        """From ``setup``: have the data module ask, once, which images are done."""
        self._open = True
        self._resume = cache(lambda: self._find_done(trainer, module, data))
        # A data module of the user's own may lack it: all images are predicted again.
        getattr(data, "resumed_by", []).append(self._resume)

    def _find_done(self, trainer: Trainer, module: LightningModule, data: DataModule) -> set[str]:
        """Claim the folder, on all ranks, and return the ids of the images to leave out."""
        answer: set[str] | Exception = set()
        if trainer.is_global_zero:
            try:
                answer = self._begin_folder(trainer, module, data)
            except (ValueError, OSError) as error:
                answer = error
        # Every rank needs the same set, or the sampler would share out different lists; and a rank
        # that raised alone would leave the others waiting.
        answer = trainer.strategy.broadcast(answer)
        if isinstance(answer, Exception):
            raise answer
        left = len(data.predict_ids()) - len(answer)
        if left == 0:
            warnings.filterwarnings("ignore", "Total length of .* across ranks is zero")
            self._finish_folder(trainer, data)
            self._open = False
            self._done = answer
        else:
            # Each rank must have an image: some are made again, which gives the same files.
            self._done = set(sorted(answer)[max(trainer.world_size - left, 0) :])
        return self._done

    def _stop_resuming(self, trainer: Trainer) -> None:
        asked = getattr(find_data(trainer), "resumed_by", [])
        if self._resume in asked:
            asked.remove(self._resume)
        self._open, self._done, self._resume = False, set(), set
