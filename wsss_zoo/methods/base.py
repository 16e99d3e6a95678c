"""What all methods share: optimiser, schedule, start weights, evaluation steps."""

import math
import os
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from wsss_zoo.modules import Backbone, Evaluation, load_network_weights

Optimizer = Literal["sgd", "adamw"]


class BaseMethod(LightningModule):
    """One optimiser with a polynomial schedule, and evaluation steps that callbacks act on.

    A method defines ``forward(image) -> logits`` and ``training_step``. Its ``__init__`` takes
    primitives only, which are saved as hyper-parameters here, and calls first
    ``super().__init__()``, last `start_from`. Every method takes ``backbone``, ``weights``,
    ``output_stride``, ``freeze_backbone_bn``, ``lr``, ``head_lr_mult``, ``weight_decay``,
    ``optimizer`` and ``init_from``.

    SGD has momentum 0.9. The learning rate of step t of T is lr (1 - t/T)^0.9. Every training step
    seeds torch's generators from (seed, rank, number of the batch), so that dropout and the like
    are the same after a resume.
    """

    #: Regime of the data module that a method trains on.
    supervision: ClassVar[str] = "mask"
    #: What the evaluation steps return, and so which metrics apply.
    output: ClassVar[Literal["segmentation", "classification"]] = "segmentation"
    #: Whether class 0 has to be background.
    needs_background: ClassVar[bool] = False
    #: Beginnings of parameter names that an ``init_from`` checkpoint may lack or have in another
    #: form.
    fresh_heads: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        # Called from here, it collects the arguments of the subclass.
        self.save_hyperparameters()
        #: How images are run in validation, test and prediction; to be replaced, not a
        #: hyper-parameter.
        self.evaluation = Evaluation()

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Mean colour of the backbone in [0, 1]: what crops are padded with."""
        return next(module for module in self.modules() if isinstance(module, Backbone)).image_mean

    def start_from(self, checkpoint: str | None) -> None:
        """Load the whole network from another method's checkpoint; None leaves it as it is.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is of another network; only ``fresh_heads`` may differ.
        """
        if checkpoint is not None:
            load_network_weights(self, checkpoint, self.fresh_heads)

    def setup(self, stage: str) -> None:
        """Refuse a data module with other classes; the regime is the data module's own check."""
        data: Any = getattr(self.trainer, "datamodule", None)
        method, module = type(self).__name__, type(data).__name__
        if self.needs_background and not getattr(data, "background", True):
            raise ValueError(f"{method} needs a background class, but {module} has none")
        own = self.hparams.get("num_classes")
        given = getattr(data, "num_classes", own)
        if given != own:
            raise ValueError(
                f"{method} was made for num_classes {own}, but {module} has {given}; "
                "give both the same classes"
            )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbones at ``lr``, everything else that is trained at ``head_lr_mult * lr``."""
        backbones = [module for module in self.modules() if isinstance(module, Backbone)]
        inside = {id(parameter) for module in backbones for parameter in module.parameters()}
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        lr = self.hparams["lr"]
        groups = [
            {"name": "backbone", "lr": lr, "params": [p for p in trained if id(p) in inside]},
            {
                "name": "head",
                "lr": lr * self.hparams["head_lr_mult"],
                "params": [p for p in trained if id(p) not in inside],
            },
        ]
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD or AdamW over `parameter_groups`, with the polynomial schedule."""
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ValueError(
                "the polynomial schedule needs an end; set trainer.max_steps or trainer.max_epochs"
            )
        groups, decay = self.parameter_groups(), self.hparams["weight_decay"]
        optimizer: torch.optim.Optimizer
        if self.hparams["optimizer"] == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=decay)
        elif self.hparams["optimizer"] == "adamw":
            optimizer = torch.optim.AdamW(groups, weight_decay=decay)
        else:
            raise ValueError(f"optimizer is {self.hparams['optimizer']!r}; give 'sgd' or 'adamw'")
        # A closed form, so that a resumed run with more steps follows the longer schedule.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: max(0.0, 1 - step / steps) ** 0.9
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the step's random draws a function of (seed, rank, number of the batch)."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        sequence = np.random.SeedSequence([seed, self.global_rank, number])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Class index per pixel, {"preds": (N, H, W) int64}, at the size of the image."""
        return {"preds": self.evaluation(self, batch["image"]).argmax(1)}

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """As `validation_step`."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Class index per pixel and its probability, {"preds", "confidence"}, each (N, H, W)."""
        confidence, preds = self.evaluation(self, batch["image"]).max(1)
        return {"preds": preds, "confidence": confidence}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop the paths of start weights: a checkpoint holds all weights and needs no file."""
        for name in ("weights", "init_from"):
            if name in checkpoint["hyper_parameters"]:
                checkpoint["hyper_parameters"][name] = None
