"""What all methods share: optimiser, schedule, start weights, evaluation steps."""

import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor

from wsss_zoo.contract import EvaluationBatch, Output, Supervision, find_data
from wsss_zoo.methods.batch_norm import least_crop
from wsss_zoo.methods.optimizer import Optimizer, make_optimizer, polynomial_schedule
from wsss_zoo.methods.options import check_choices, option_types
from wsss_zoo.modules import Backbone, Evaluation, Segmenter, WeightAverage, load_network_weights
from wsss_zoo.modules.checkpoint_classes import check_class_names, read_class_names
from wsss_zoo.modules.depthwise import restore_depthwise, speed_up_depthwise
from wsss_zoo.modules.evaluation import Forward


class BaseMethod(LightningModule):
    """One optimiser with a polynomial schedule, and evaluation steps that callbacks act on.

    A method defines ``forward(image) -> logits`` and ``training_step``. Its ``__init__`` takes
    primitives only. It first hands ``**shared`` to ``super().__init__``, and last calls
    `start_from`. The arguments of all classes become hyper-parameters; a subclass's value wins.

    Every training step seeds torch's generators from (seed, rank, number of the batch). Dropout
    and the like are therefore the same after a resume.

    Args:
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay of all parameters.
        optimizer: "sgd" (momentum 0.9), "nesterov" (the same with Nesterov's momentum), "adam" or
            "adamw".
        init_from: Checkpoint of a whole network to start from, of this method or another.
        layer_decay: Factor in (0, 1] on the learning rate of each block of a plain ViT against the
            next deeper one; of other backbones of each stage. 1 for equal rates.
        grad_checkpointing: Compute the backbone's activations again in the backward pass, in place
            of keeping them: a third more time for much less memory.

    Raises:
        ValueError: If an option is out of range, or none of the choices of its `Literal` type.
    """

    #: Regime of the data module that a method trains on.
    supervision: ClassVar[Supervision] = "mask"
    #: What the evaluation steps return, and so which metrics apply.
    output: ClassVar[Output] = "segmentation"
    #: Whether class 0 has to be background.
    needs_background: ClassVar[bool] = False
    #: Beginning of the names of the weights that an ``init_from`` checkpoint must have. The other
    #: weights are loaded where the checkpoint has them in the same shape.
    core: ClassVar[str] = ""
    #: Options of a base that the class gives a value of its own, so that it does not take them.
    fixed_options: ClassVar[tuple[str, ...]] = ()
    #: What segments, in the methods that ``average`` is for.
    network: Segmenter

    def __init__(
        self,
        lr: float = 1e-4,
        head_lr_mult: float = 10.0,
        weight_decay: float = 0.01,
        optimizer: Optimizer = "adamw",
        init_from: str | None = None,
        layer_decay: float = 1.0,
        grad_checkpointing: bool = False,
        _class_path: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay is {layer_decay}; give a factor in (0, 1]")
        # Collects the arguments of all subclasses too. The command line and a checkpoint name the
        # class among them; where nobody does or it is this very one, it is no hyper-parameter.
        self.save_hyperparameters(ignore=self.fixed_options)
        own = f"{type(self).__module__}.{type(self).__qualname__}"
        if self.hparams.get("_class_path", "") in (None, own):
            del self.hparams["_class_path"]
            self.save_hyperparameters(ignore=[*self.fixed_options, "_class_path"])
        check_choices(self.option_types(), self.hparams)
        #: How images are run in validation, test and prediction; may be replaced.
        self.evaluation = Evaluation()
        #: Running average of ``network``'s weights, where a method or an option asks for one.
        self.average: WeightAverage | None = None

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """List the types of all options by name, those of the bases included."""
        return option_types(cls)

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Mean colour of the backbone in [0, 1]: what crops are padded with."""
        return self._backbones()[0].image_mean

    def _backbones(self) -> list[Backbone]:
        """List the backbones that train, and no copies of them."""
        averages = [module for module in self.modules() if isinstance(module, WeightAverage)]
        copies = {id(part) for average in averages for part in average.modules()}
        found = [module for module in self.modules() if isinstance(module, Backbone)]
        return [backbone for backbone in found if id(backbone) not in copies] or found

    def start_from(self, checkpoint: str | None) -> None:
        """Load the whole network from another method's checkpoint; None leaves it as it is.

        Averages and second networks of the checkpoint are left out. An average of this method
        begins as a copy of the network.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is of another network; only weights outside `core` may differ.
        """
        if checkpoint is not None:
            load_network_weights(self, checkpoint, self.core, copies="average.")
            if self.average is not None:
                self.average.reset(self.network)

    def setup(self, stage: str) -> None:
        """Refuse a data module with other classes; the data module itself checks the regime."""
        frozen = self.hparams.get("freeze_backbone_bn") or self.hparams.get("freeze_backbone")
        if frozen or self.average is not None:
            # Lightning's advice on layers that do not train; these are meant not to.
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        data = find_data(self.trainer)
        method, module = type(self).__name__, type(data).__name__
        if not getattr(data, "background", True):
            self._refuse_no_background(module)
        if stage == "fit":
            self._check_crop_size(data)
            self._say_padding(data)
            if self.hparams.get("grad_checkpointing"):
                for backbone in self._backbones():
                    backbone.set_grad_checkpointing()
        if stage == "predict" and self.evaluation.gate_by_labels:
            self._gate_predictions(data)
        own = self.hparams.get("num_classes")
        given = getattr(data, "num_classes", own)
        if own is not None and given != own:
            raise ValueError(
                f"{method} was made for num_classes {own}, but {module} has {given}; "
                "give both the same classes"
            )
        names = getattr(data, "class_names", None)
        for option, path in self.hparams.items():
            if names is not None and option.endswith("init_from") and path is not None:
                background = bool(getattr(data, "background", True))
                check_class_names(f"{option} {path}", read_class_names(path), names, background)

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the images of the smallest pass through the network in a training step.

        Args:
            data: The data module.

        Returns:
            The number, and the option of the data module that it grows with.
        """
        return int(getattr(data, "batch_size", 2)), "batch_size"

    @property
    def smallest_view(self) -> float:
        """Side of the smallest view of a crop that goes through the network, in crops."""
        return 1.0

    def _check_crop_size(self, data: Any) -> None:
        count, option = self.smallest_pass(data)
        crop = getattr(data, "crop_size", None)
        network = getattr(self, "network", self)
        # Several processes may share their statistics.
        if count > 1 or crop is None or self.supervision == "graphs" or self.trainer.world_size > 1:
            return
        view = round(crop * self.smallest_view)
        least = least_crop(network, view)
        if least != view:
            least = None if least is None else math.ceil((least - 0.5) / self.smallest_view + 0.01)
            larger = "" if least is None else f"data.crop_size to at least {least}, or "
            raise ValueError(
                f"data.crop_size {crop} and data.{option} {count} leave BatchNorm a single value "
                f"per channel, of which it makes no statistics; set {larger}data.{option} to at "
                "least 2"
            )

    def _say_padding(self, data: Any) -> None:
        crop = int(getattr(data, "crop_size", None) or 0)
        for patch in {backbone.strides[-1] for backbone in self._backbones() if backbone.plain}:
            above = -(-crop // patch) * patch
            if above != crop:
                rank_zero_info(
                    f"data.crop_size {crop} is no multiple of the {patch} pixels of a patch: crops "
                    f"are padded to {above}; take that or {max(above - patch, patch)} to save it"
                )

    def _refuse_no_background(self, module: str) -> None:
        method = type(self).__name__
        if self.needs_background:
            raise ValueError(
                f"{method} needs a background class, but {module} has none; take another method "
                "('wsss-zoo methods') or a data set with background"
            )
        if self.hparams.get("gate_by_tags"):
            raise ValueError(
                f"gate_by_tags needs a background class, but {module} has none; set "
                "model.gate_by_tags to false, or take a data set with background"
            )

    def _gate_predictions(self, data: Any) -> None:
        regime = getattr(data, "supervision", None)
        if regime != "sparse" or not hasattr(data, "gates_predictions"):
            raise ValueError(
                f"evaluation.gate_by_labels takes sparse labels, but supervision is {regime!r}; "
                "predict with a Sparse model, or gate by tags: --evaluation.gate_by_tags true"
            )
        data.gates_predictions = True

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group backbones at ``lr``, and all else that is trained at ``head_lr_mult * lr``.

        With ``layer_decay`` the deepest layer of a backbone has ``lr``.
        """
        backbones = self._backbones()
        inside = {id(parameter) for module in backbones for parameter in module.parameters()}
        lr = self.hparams["lr"]
        groups: list[dict[str, Any]] = [
            {"name": "backbone", "lr": lr, "params": []},
            {"name": "head", "lr": lr * self.hparams["head_lr_mult"], "params": []},
        ]
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups[id(parameter) not in inside]["params"].append(parameter)
        decay = self.hparams.get("layer_decay", 1.0)
        if decay < 1:
            groups = [*self._decayed_groups(backbones, decay), groups[1]]
        return [group for group in groups if group["params"]]

    def _decayed_groups(self, backbones: list[Backbone], decay: float) -> list[dict[str, Any]]:
        """Group trained parameters of backbones by their distance from the deepest layer."""
        groups: dict[int, dict[str, Any]] = {}
        for backbone in backbones:
            for distance, layer in enumerate(reversed(backbone.layers())):
                lr = self.hparams["lr"] * decay**distance
                own = {"name": f"backbone layer -{distance}", "lr": lr, "params": []}
                group = groups.setdefault(distance, own)
                group["params"] += [parameter for parameter in layer if parameter.requires_grad]
        return list(groups.values())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the chosen optimiser over `parameter_groups`, and its schedule."""
        name, decay = self.hparams["optimizer"], self.hparams["weight_decay"]
        optimizer = make_optimizer(name, self.parameter_groups(), decay)
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    def make_schedule(self, optimizer: torch.optim.Optimizer) -> LRSchedulerConfigType:
        """Make the polynomial schedule, stepped with the optimiser."""
        schedule = polynomial_schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"scheduler": schedule, "interval": "step"}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the running average follow."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update(self.network, self.trainer.global_step + 1)

    def on_fit_start(self) -> None:
        """On a CPU, give depthwise convolutions a faster backward pass."""
        if self.device.type == "cpu":
            speed_up_depthwise(self)

    def on_fit_end(self) -> None:
        """Leave a network of PyTorch's own convolutions."""
        restore_depthwise(self)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators from (seed, rank, number of the batch)."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        sequence = np.random.SeedSequence([seed, self.global_rank, number])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> dict[str, Tensor]:
        """Predict the class index per pixel, {"preds": (N, H, W) int64}, at the image's size."""
        return {"preds": self.evaluation.preds(self, batch["image"])}

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> dict[str, Tensor]:
        """Predict as `validation_step` does."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: EvaluationBatch, batch_idx: int) -> dict[str, Tensor]:
        """Predict classes and their probabilities, {"preds", "confidence"}, each (N, H, W)."""
        evaluation = self.evaluation
        tags, possible = evaluation.tags(batch), evaluation.possible(batch)
        background = possible is None or getattr(find_data(self.trainer), "background", True)
        forward = self.forward_for(batch, background)
        probs = evaluation(forward, batch["image"], tags, possible, background)
        confidence, preds = probs.max(1)
        return {"preds": preds, "confidence": confidence}

    def forward_for(self, batch: EvaluationBatch, background: bool) -> Forward:
        """Return what maps views of a batch's images to logits in ``predict``.

        ``background`` says whether class 0 is the background.
        """
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the class, and drop the paths of start weights: a checkpoint needs no other file."""
        options = without_start_weights(checkpoint.get("hyper_parameters", {}))
        kind, held = type(self), str(options.get("_class_path"))
        # The command line names a class by a shorter path.
        if held.rpartition(".")[2] != kind.__name__:
            options["_class_path"] = f"{kind.__module__}.{kind.__qualname__}"
        checkpoint["hyper_parameters"] = options


def without_start_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Set the options that name files of start weights to None, for weights of a checkpoint."""
    return {name: None if is_start_weights(name) else v for name, v in options.items()}


def is_start_weights(option: str) -> bool:
    """Tell whether an option names a file of start weights."""
    return option == "weights" or option.endswith("init_from")
