"""Validation and test epochs alike."""

from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer

from wsss_zoo.contract import EvaluationBatch

Stage = Literal["val", "test"]


class EvaluationCallback(Callback):
    """Maps Lightning's hooks of validation and test to one set, for subclasses to override."""

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch."""

    def batch(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: EvaluationBatch,
        stage: Stage,
    ) -> None:
        """Take what the evaluation step returned for a batch."""

    def end(self, trainer: Trainer, module: LightningModule, stage: Stage) -> None:
        """End an epoch, while metrics may still be logged."""

    def report(self, trainer: Trainer, module: LightningModule, stage: Stage) -> None:
        """Conclude ``validate`` or ``test``, not the validation epochs of ``fit``."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `start`."""
        self.start(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
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
        self.batch(trainer, pl_module, outputs, batch, "val")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Call `batch`."""
        self.batch(trainer, pl_module, outputs, batch, "test")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `end`."""
        self.end(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `end`."""
        self.end(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `report` after ``validate``."""
        if trainer.state.fn == "validate":
            self.report(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `report`."""
        self.report(trainer, pl_module, "test")
