"""One set of hooks for validation and test epochs."""

from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer

from wsss_zoo.contract import EvaluationBatch, tests_val

Stage = Literal["val", "test"]


class EvaluationCallback(Callback):
    """Maps Lightning's hooks of validation and test to one set, for subclasses to override."""

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch."""

    def batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: EvaluationBatch
    ) -> None:
        """Process what the evaluation step returned for a batch."""

    def end(self, trainer: Trainer, module: LightningModule) -> None:
        """End an epoch, while metrics may still be logged."""

    def report(self, trainer: Trainer, module: LightningModule) -> None:
        """Report after ``validate`` or ``test``, not after the validation epochs of ``fit``."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `start`."""
        self.start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Call `batch`."""
        self.batch(trainer, pl_module, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `end`."""
        self.end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `report`, unless in ``fit``."""
        if trainer.state.fn != "fit":
            self.report(trainer, pl_module)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end


def stage_of(trainer: Trainer) -> Stage:
    """Name the stage of a running evaluation; a test that measures ``val_split`` is ``val``."""
    return "test" if trainer.testing and not tests_val(trainer) else "val"
