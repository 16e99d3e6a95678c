"""FixMatch for segmentation: labels of the weak view teach the strong one where they are sure."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import cutmix, draw_cutmix_boxes, fixmatch_loss
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.losses import supervised_loss
from wsss_zoo.methods.optimizer import Optimizer
from wsss_zoo.methods.ranks import part_of_mean
from wsss_zoo.methods.semi import (
    Weights,
    check_options,
    evaluated_network,
    gate,
    hard_labels,
    keep_average,
    log_pseudo_labels,
)
from wsss_zoo.modules import Architecture, Segmenter


class FixMatch(BaseMethod):
    """Sure labels of an unlabelled image teach its strongly changed, mixed view.

    L = (L_x + unlabeled_weight L_u) / 2; see `fixmatch_loss` for L_u.

    The strong views of two images of the batch are mixed by a box of their own each (CutMix), their
    labels, confidences and padding by the same box. With ``labels_from: student`` labelled and weak
    images go through the network in one batch, in train mode, and the mixed ones in a second; with
    ``average`` a running average of the weights labels the weak images, in eval mode, and labelled
    and mixed images share a batch.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        architecture: "deeplabv3plus" or "largefov".
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        conf_thresh: Confidence in [0, 1] from which a label counts.
        unlabeled_weight: Factor on L_u.
        cutmix_prob: Probability that a strong view is mixed.
        labels_from: "student" or "average"; the average is safer from a warm start and in short
            schedules.
        gate_by_tags: Rule out classes that an unlabelled image's tags do not name.
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

    Sohn et al., "FixMatch", NeurIPS 2020, as segmented by Yang et al., CVPR 2023
    (LiheYoung/UniMatch @ 0324f3d). There a box is filled from another view of, by a slip, the same
    image, labelled by an extra eval-mode pass; here from the next image of the batch, whose labels
    are there already. Only true padding is left out of L_u, as there; a batch without a confident
    pixel, or of padding alone, has L_u = 0.
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
        conf_thresh: float = 0.95,
        unlabeled_weight: float = 1.0,
        cutmix_prob: float = 0.5,
        labels_from: Weights = "student",
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
        self.network = Segmenter(
            num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn
        )
        keep_average(self)
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the evaluated weights."""
        logits: Tensor = evaluated_network(self)(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """(L_x + unlabeled_weight L_u) / 2."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, weak, strong = labeled["image"], unlabeled["weak"], unlabeled["strong"][:, 0]
        box = draw_cutmix_boxes(
            len(weak), weak.shape[-2:], self.hparams["cutmix_prob"], device=weak.device
        )
        mixed, count = cutmix(strong, strong.roll(1, 0), box), len(image)
        if self.average is not None and self.hparams["labels_from"] == "average":
            weak_logits = self.average(weak)
            both = self.network(torch.cat([image, mixed]))
            logits, strong_logits = both[:count], both[count:]
        else:
            both = self.network(torch.cat([image, weak]))
            logits, weak_logits = both[:count], both[count:]
            strong_logits = self.network(mixed)
        label, confidence = hard_labels(gate(self, weak_logits, unlabeled))
        thresh = self.hparams["conf_thresh"]
        log_pseudo_labels(self, unlabeled, label, confidence >= thresh)
        target, sure, valid = (
            cutmix(value, value.roll(1, 0), box)
            for value in (label, confidence, unlabeled["strong_valid"][:, 0])
        )
        loss_x = supervised_loss(self, logits, labeled["mask"])
        loss_u = fixmatch_loss(strong_logits, target, sure, thresh, valid)
        loss_u = part_of_mean(loss_u, valid.sum())
        loss: Tensor = (loss_x + self.hparams["unlabeled_weight"] * loss_u) / 2
        self.log_dict(
            {
                "train/loss": loss.detach(),
                "train/loss_labeled": loss_x.detach(),
                "train/loss_unlabeled": loss_u.detach(),
            }
        )
        return loss
