"""Temporal Ensembling: the network follows what it has said about an image before."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import masked_squared_error, sigmoid_rampup
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.ensembling import checkpoint_folder, prepare_ensemble, recall, remember
from wsss_zoo.methods.losses import supervised_loss
from wsss_zoo.methods.optimizer import Optimizer
from wsss_zoo.methods.ranks import part_of_mean
from wsss_zoo.methods.semi import (
    Weights,
    check_options,
    evaluated_network,
    gate,
    keep_average,
    log_pseudo_labels,
)
from wsss_zoo.modules import Architecture, ProbabilityEnsemble, Segmenter


class TemporalEnsembling(BaseMethod):
    """What was said about an unlabelled image before teaches what is said now.

    L = L_x + w(t) mean (p - Z / (1 - alpha^n))^2, then Z <- alpha Z + (1 - alpha) p.

    Z holds what the network said about an image so far, on a grid of ``ensemble_size``^2 cells over
    the whole image; n counts, for each cell of each image, the crops that it has seen. Crops read
    it bilinearly and write the mean of their pixels in a cell, if they cover at least half of it.
    Pixels whose cell has not been seen have weight 0: they count in the mean, as does the first
    epoch of the paper, but pull nowhere; padding and CutOut do not count at all. One pass of each
    image: labelled and unlabelled ones share a batch.

    Z takes ``ensemble_size``^2 (2 C + 2) bytes an image (float16 and a 16-bit count): 64 KiB for 7
    classes, 176 KiB for 21 at 64 cells. It is kept on the network's device or in a file that is
    mapped into memory. Under DDP every rank keeps all of it, as an image comes to another rank in
    another epoch: the ranks exchange the updates of each batch. A checkpoint holds Z, or the name
    and hash of a file beside it, so that a resume is exact.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        architecture: "deeplabv3plus" or "largefov".
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        unlabeled_weight: Final weight of the second term, which is a mean over classes: 30 / C per
            pixel at 30.
        rampup_steps: Steps over which the weight grows; 0 for none.
        view: "strong" (photometric noise stands for the paper's) or "weak"; both read and write Z.
        alpha: Share of the old average in Z, in [0, 1).
        ensemble_size: Rows and columns of cells that an image is divided into.
        ensemble_storage: "memory" (the device's), "disk" (of the run's folder), or
            "auto": memory up to ``ensemble_memory``. On disk every update waits for the device.
        ensemble_memory: MiB of Z up to which "auto" stays in memory.
        warm_fill: Before the first step, write the predictions of the start weights for all
            unlabelled images, whole and in eval mode, as first visit; sensible with ``init_from``.
        gate_by_tags: Rule out, in what Z takes over, classes that an image's tags do not name.
        evaluate: "student" or "average".
        ema_decay: Decay of the average in [0, 1).
        loss: L_x: "ce", or "ohem" over the hardest pixels.
        ohem_thresh: Probability of the true class in [0, 1] below which a pixel is hard.
        ohem_min_kept: Number of pixels of a batch to keep at least.
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay of all parameters.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        init_from: Checkpoint of a whole network to start from.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 2
    (smlaine2/tempens @ a32743a), for classification: Z there is updated after each epoch and its
    bias corrected by the epoch. An image comes once an epoch, so both differ only in that cells are
    not seen in every epoch. Labelled images have no Z here; why w needs no share of labelled images
    is told at `PiModel`.
    """

    supervision = "semi"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        architecture: Architecture = "deeplabv3plus",
        weights: str | None = None,
        output_stride: int = 16,
        freeze_backbone_bn: bool = False,
        unlabeled_weight: float = 30.0,
        rampup_steps: int = 0,
        view: Literal["strong", "weak"] = "strong",
        alpha: float = 0.6,
        ensemble_size: int = 64,
        ensemble_storage: Literal["auto", "memory", "disk"] = "auto",
        ensemble_memory: int = 1024,
        warm_fill: bool = False,
        gate_by_tags: bool = False,
        evaluate: Weights = "student",
        ema_decay: float = 0.99,
        loss: Literal["ce", "ohem"] = "ce",
        ohem_thresh: float = 0.7,
        ohem_min_kept: int = 100_000,
        lr: float = 1e-4,
        head_lr_mult: float = 10.0,
        weight_decay: float = 0.01,
        optimizer: Optimizer = "adamw",
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        check_options(self)
        for name, choices in (
            ("view", ("strong", "weak")),
            ("ensemble_storage", ("auto", "memory", "disk")),
        ):
            if self.hparams[name] not in choices:
                raise ValueError(f"{name} is {self.hparams[name]!r}; give one of {choices}")
        self.network = Segmenter(
            num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn
        )
        keep_average(self)
        self.ensemble = ProbabilityEnsemble(num_classes, ensemble_size, alpha)
        self._resumed: dict[str, Any] | None = None
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the evaluated weights."""
        logits: Tensor = evaluated_network(self)(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """L_x + w(t) mean squared difference of prediction and ensemble, which then follows."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, (view, valid) = labeled["image"], self._view(unlabeled)
        logits, view_logits = self.network(torch.cat([image, view])).split([len(image), len(view)])
        gated = gate(self, view_logits.detach(), unlabeled).softmax(1)
        target, seen = recall(self.ensemble, unlabeled, valid)
        label = torch.where(seen[:, None], target, gated).argmax(1)
        log_pseudo_labels(self, unlabeled, label, seen & valid)
        probs = view_logits.float().softmax(1)
        # Its own target: weight 0, but counted.
        target = torch.where(seen[:, None], target, probs.detach())
        consistency = part_of_mean(masked_squared_error(probs, target, valid), valid.sum())
        remember(self.ensemble, unlabeled, gated, valid)
        weight = self.hparams["unlabeled_weight"] * sigmoid_rampup(
            self.global_step, self.hparams["rampup_steps"]
        )
        supervised = supervised_loss(self, logits, labeled["mask"])
        loss: Tensor = supervised + weight * consistency
        self.log_dict(
            {
                "train/loss": loss.detach(),
                "train/loss_labeled": supervised.detach(),
                "train/loss_unlabeled": consistency.detach(),
                # Lightning would copy a number to the device, which waits for it.
                "train/unlabeled_weight": torch.full_like(loss.detach(), weight),
            }
        )
        return loss

    def on_train_start(self) -> None:
        """Make room for all unlabelled images, on disk if they are many; take over or fill Z."""
        prepare_ensemble(self, self.ensemble, self._resumed)
        self._resumed = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add Z, or the name of the file that holds it."""
        super().on_save_checkpoint(checkpoint)
        if self.trainer.is_global_zero:
            step = self.trainer.global_step
            checkpoint["ensemble"] = self.ensemble.state_dict(checkpoint_folder(self), step)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep Z until the training starts; nothing else needs it."""
        if self._trainer is not None and self.trainer.training:
            self._resumed = checkpoint.get("ensemble")

    def _view(self, unlabeled: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The view (M, 3, H, W) that is predicted and its pixels that count (M, H, W)."""
        if self.hparams["view"] == "weak":
            return unlabeled["weak"], unlabeled["valid"]
        return unlabeled["strong"][:, 0], unlabeled["strong_valid"][:, 0]
