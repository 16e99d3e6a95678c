"""A prediction that was interrupted goes on: what is on the disk is not made again."""

import warnings
from abc import abstractmethod
from collections.abc import Set
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from wsss_zoo.callbacks.late_set import LateSet


class ResumableWriter(Callback):
    """Writes files for each predicted image, and declares them complete at the end.

    Where several act on one prediction, an image is left out if all of them have it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._done: Set[str] = set()
        self._open = False

    @abstractmethod
    def _take(self, trainer: Trainer, module: LightningModule, data: Any) -> set[str]:
        """Take the folder, on rank zero, once the checkpoint is loaded.

        Returns:
            Ids of the images that need no work.

        Raises:
            ValueError: If the folder is another run's; all ranks raise it then.
        """

    @abstractmethod
    def _finish(self, trainer: Trainer, data: Any) -> None:
        """Declare the files complete; on all ranks, after the last image."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the folder, if a data module without ``skip_ids`` has not asked what is done."""
        len(self._done)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Declare the files complete."""
        if self._open:
            self._finish(trainer, getattr(trainer, "datamodule", None))
            self._open = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the data module back as it was."""
        if stage == "predict":
            self._release(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the data module back as it was."""
        if trainer.state.fn == "predict":
            self._release(trainer)

    def _resume(self, trainer: Trainer, module: LightningModule, data: Any) -> None:
        """From ``setup``: have the data module leave out the images that are done."""
        self._open = True
        self._done = done = LateSet(lambda: self._begin(trainer, module, data))
        others = getattr(data, "skip_ids", None)
        if isinstance(others, LateSet):
            data.skip_ids = LateSet(lambda: set(others) & set(done))
        else:
            data.skip_ids = done

    def _begin(self, trainer: Trainer, module: LightningModule, data: Any) -> set[str]:
        """Take the folder, on all ranks, and return the ids of the images to leave out."""
        done: set[str] | str = set()
        if trainer.is_global_zero:
            try:
                done = self._take(trainer, module, data)
            except ValueError as error:
                done = str(error)
        # Every rank needs the same set, or the sampler would share out different lists; and a rank
        # that raised alone would leave the others waiting.
        done = trainer.strategy.broadcast(done)
        if isinstance(done, str):
            raise ValueError(done)
        left = len(data.predict_ids()) - len(done)
        if left == 0:
            warnings.filterwarnings("ignore", "Total length of .* across ranks is zero")
            self._finish(trainer, data)
            self._open = False
            return done
        # Each rank must have an image: some are made again, which gives the same files.
        return set(sorted(done)[max(trainer.world_size - left, 0) :])

    def _release(self, trainer: Trainer) -> None:
        self._open, self._done = False, set()
        data = getattr(trainer, "datamodule", None)
        if data is not None:
            data.skip_ids = set()
