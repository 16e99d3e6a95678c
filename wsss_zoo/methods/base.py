"""What all methods share: optimiser, schedule, start weights, evaluation steps."""

import os
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from wsss_zoo.methods.optimizer import make_optimizer, polynomial_schedule
from wsss_zoo.methods.options import check_choices, option_types
from wsss_zoo.modules import (
    Backbone,
    Evaluation,
    Segmenter,
    WeightAverage,
    load_network_weights,
)


class BaseMethod(LightningModule):
    """One optimiser with a polynomial schedule, and evaluation steps that callbacks act on.

    A method defines ``forward(image) -> logits`` and ``training_step``. Its ``__init__`` takes
    primitives only, calls first ``super().__init__()`` and last `start_from`. The arguments of all
    classes up to this one become hyper-parameters; a subclass's value wins. The optimiser is made
    from ``lr``, ``head_lr_mult``, ``weight_decay`` and ``optimizer``, which every method takes.

    Every training step seeds torch's generators from (seed, rank, number of the batch). Dropout
    and the like are therefore the same after a resume.

    Raises:
        ValueError: If an option is none of the choices that its `Literal` type names.
    """

    #: Regime of the data module that a method trains on.
    supervision: ClassVar[str] = "mask"
    #: What the evaluation steps return, and so which metrics apply.
    output: ClassVar[Literal["segmentation", "classification", "pretext"]] = "segmentation"
    #: Whether class 0 has to be background.
    needs_background: ClassVar[bool] = False
    #: Beginning of the names of the weights that an ``init_from`` checkpoint must have. The other
    #: weights are loaded where the checkpoint has them in the same shape.
    core: ClassVar[str] = ""
    #: Options of a base that the class gives a value of its own, so that it does not take them.
    fixed_options: ClassVar[tuple[str, ...]] = ()
    #: What segments, in the methods that ``average`` is for.
    network: Segmenter

    def __init__(self) -> None:
        super().__init__()
        # Called from here, it collects the arguments of all subclasses.
        self.save_hyperparameters(ignore=self.fixed_options)
        check_choices(self.option_types(), self.hparams)
        #: How images are run in validation, test and prediction; may be replaced.
        self.evaluation = Evaluation()
        #: Running average of ``network``'s weights, where a method or an option asks for one.
        self.average: WeightAverage | None = None

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """Types of all options by name, those that are handed on to the bases included."""
        return option_types(cls)

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Mean colour of the backbone in [0, 1]: what crops are padded with."""
        return next(module for module in self.modules() if isinstance(module, Backbone)).image_mean

    def start_from(self, checkpoint: str | None) -> None:
        """Load the whole network from another method's checkpoint; None leaves it as it is.

        Averages and second networks of the checkpoint are left out. An average of this method
        begins as a copy of the network.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is of another network; only weights outside `core` may differ.
        """
        if checkpoint is not None:
            load_network_weights(self, checkpoint, self.core)
            if self.average is not None:
                self.average.reset(self.network)

    def setup(self, stage: str) -> None:
        """Refuse a data module with other classes; the regime is the data module's own check."""
        if self.hparams.get("freeze_backbone_bn") or self.average is not None:
            # Lightning's advice on layers that do not train; these are meant not to.
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        data: Any = getattr(self.trainer, "datamodule", None)
        method, module = type(self).__name__, type(data).__name__
        if self.needs_background and not getattr(data, "background", True):
            raise ValueError(
                f"{method} needs a background class, but {module} has none; take another method "
                "('wsss-zoo methods') or a data set with background"
            )
        own = self.hparams.get("num_classes")
        given = getattr(data, "num_classes", own)
        if own is not None and given != own:
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
        groups: list[dict[str, Any]] = [
            {"name": "backbone", "lr": lr, "params": []},
            {"name": "head", "lr": lr * self.hparams["head_lr_mult"], "params": []},
        ]
        for parameter in trained:
            groups[id(parameter) not in inside]["params"].append(parameter)
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The chosen optimiser over `parameter_groups`, and the schedule stepped with it."""
        name, decay = self.hparams["optimizer"], self.hparams["weight_decay"]
        optimizer = make_optimizer(name, self.parameter_groups(), decay)
        schedule = polynomial_schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the running average follow."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update(self.network, self.trainer.global_step + 1)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the step's random draws a function of (seed, rank, number of the batch)."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        sequence = np.random.SeedSequence([seed, self.global_rank, number])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Class index per pixel, {"preds": (N, H, W) int64}, at the size of the image."""
        return {"preds": self.evaluation.preds(self, batch["image"])}

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """As `validation_step`."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Class index per pixel and its probability, {"preds", "confidence"}, each (N, H, W)."""
        forward = self.evaluation.gated(self, batch)
        confidence, preds = self.evaluation(forward, batch["image"]).max(1)
        return {"preds": preds, "confidence": confidence}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop the paths of start weights: a checkpoint holds all weights and needs no file."""
        checkpoint["hyper_parameters"] = without_start_weights(checkpoint["hyper_parameters"])


def without_start_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method that start from no file: for weights that come from a checkpoint."""
    files = {name for name in options if name == "weights" or name.endswith("init_from")}
    return {name: None if name in files else value for name, value in options.items()}
