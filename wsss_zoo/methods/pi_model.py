"""Pi-model: two noisy predictions of the same pixels are made to agree."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import masked_squared_error, sigmoid_rampup
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.losses import supervised_loss
from wsss_zoo.methods.optimizer import Optimizer
from wsss_zoo.methods.ranks import part_of_mean
from wsss_zoo.methods.semi import (
    Weights,
    check_options,
    check_strong_views,
    evaluated_network,
    gate,
    hard_labels,
    keep_average,
    log_pseudo_labels,
)
from wsss_zoo.modules import Architecture, Segmenter


class PiModel(BaseMethod):
    """Two noisy views of an unlabelled image shall be segmented alike.

    L = L_x + w(t) mean (p(v1) - p(v2))^2, w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    v1 and v2 are two views of one unlabelled crop with the same geometry, each with dropout of its
    own; gradients flow through both predictions. The mean is over classes and the pixels that are
    padding or CutOut in neither view; without any it is 0. Labelled images and both views share a
    batch, and so, where BatchNorm is in train mode, its statistics: with a frozen backbone these
    are the decoder's alone.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        architecture: "deeplabv3plus" or "largefov".
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        unlabeled_weight: Final weight of the second term, which is a mean over classes: 100 / C per
            pixel at 100.
        rampup_steps: Steps over which the weight grows; 0 for none.
        views: "weak_strong", or "two_strong", for which the data module must draw two strong views.
        detach_first: Let no gradient through the first prediction, so that only the second follows;
            the gradient is half as large where both are equally noisy.
        gate_by_tags: Rule out, in the first prediction, classes that an unlabelled image's tags do
            not name.
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

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 1
    (smlaine2/tempens @ a32743a): two passes of the whole mini-batch, so that labelled images take
    part in the second term too, of which data sets here give one view only. There L_x is divided by
    the size of the whole batch and w multiplied with the share of labelled images, which cancels
    here as L_x is a mean over labelled pixels. ``detach_first`` is what later codes do (TorchSSL's
    and USB's, CutMix-Seg's).
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
        unlabeled_weight: float = 100.0,
        rampup_steps: int = 0,
        views: Literal["weak_strong", "two_strong"] = "weak_strong",
        detach_first: bool = False,
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
        if views not in ("weak_strong", "two_strong"):
            raise ValueError(f"views is {views!r}; give 'weak_strong' or 'two_strong'")
        self.network = Segmenter(
            num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn
        )
        keep_average(self)
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the evaluated weights."""
        logits: Tensor = evaluated_network(self)(image)
        return logits

    def setup(self, stage: str) -> None:
        """Refuse a data module without the second strong view."""
        super().setup(stage)
        if stage == "fit" and self.hparams["views"] == "two_strong":
            check_strong_views(self, 2)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """L_x + w(t) mean squared difference of the two predictions."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, (first, second, valid) = labeled["image"], self._views(unlabeled)
        logits, first_logits, second_logits = self.network(torch.cat([image, first, second])).split(
            [len(image), len(first), len(second)]
        )
        first_logits = gate(self, first_logits, unlabeled)
        label, _ = hard_labels(first_logits)
        log_pseudo_labels(self, unlabeled, label, valid)
        probs = first_logits.softmax(1)
        if self.hparams["detach_first"]:
            probs = probs.detach()
        consistency = masked_squared_error(second_logits.float().softmax(1), probs, valid)
        consistency = part_of_mean(consistency, valid.sum())
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

    def _views(self, unlabeled: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Two views (M, 3, H, W) and the pixels that both show (M, H, W)."""
        strong, valid = unlabeled["strong"], unlabeled["strong_valid"]
        if self.hparams["views"] == "two_strong":
            return strong[:, 0], strong[:, 1], valid[:, 0] & valid[:, 1]
        return unlabeled["weak"], strong[:, 0], unlabeled["valid"] & valid[:, 0]
