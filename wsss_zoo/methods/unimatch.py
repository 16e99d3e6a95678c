"""UniMatch: FixMatch with two strong views and a view whose features are perturbed."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional import cutmix, draw_cutmix_boxes, fixmatch_loss
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


class UniMatch(BaseMethod):
    """FixMatch with two strong views and one of perturbed features; the first to try.

    L = (L_x + unlabeled_weight (L_s1 / 4 + L_s2 / 4 + L_fp / 2)) / 2.

    L_s1 and L_s2 are `FixMatch`'s loss on two strong views, each mixed by boxes of its own; L_fp is
    that of the weak view decoded from features of which half of the channels are dropped. Labelled
    and weak images go through the backbone in one batch, and are decoded twice; the strong views
    share a second batch. With ``labels_from: average`` a running average of the weights, in eval
    mode, gives the labels.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        architecture: "deeplabv3plus" or "largefov".
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        conf_thresh: Confidence in [0, 1] from which a label counts.
        unlabeled_weight: Factor on the losses of unlabelled images.
        cutmix_prob: Probability that a strong view is mixed.
        feature_dropout: Share of channels that are dropped, in [0, 1).
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

    Yang et al., "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation",
    CVPR 2023 (LiheYoung/UniMatch @ 0324f3d). Boxes are filled from the next image of the batch (see
    `FixMatch`); the released code also decodes the perturbed features of labelled images, which it
    never uses. The data module needs ``strong_views: 2``.
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
        feature_dropout: float = 0.5,
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
        if not 0 <= feature_dropout < 1:
            raise ValueError(f"feature_dropout is {feature_dropout}; give a share in [0, 1)")
        self.network = Segmenter(
            num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn
        )
        keep_average(self)
        self.start_from(init_from)

    def setup(self, stage: str) -> None:
        """Refuse a data module with fewer than two strong views."""
        super().setup(stage)
        if stage == "fit":
            check_strong_views(self, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the evaluated weights."""
        logits: Tensor = evaluated_network(self)(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """(L_x + unlabeled_weight (L_s1 / 4 + L_s2 / 4 + L_fp / 2)) / 2."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, weak, thresh = labeled["image"], unlabeled["weak"], self.hparams["conf_thresh"]
        logits, weak_logits, perturbed_logits = self._decode_twice(image, weak)
        if self.average is not None and self.hparams["labels_from"] == "average":
            weak_logits = self.average(weak)
        label, confidence = hard_labels(gate(self, weak_logits, unlabeled))
        log_pseudo_labels(self, unlabeled, label, confidence >= thresh)
        loss_x = supervised_loss(self, logits, labeled["mask"])
        valid = unlabeled["valid"]
        loss_fp = fixmatch_loss(perturbed_logits, label, confidence, thresh, valid)
        loss_fp = part_of_mean(loss_fp, valid.sum())
        loss_s = self._strong_loss(unlabeled, label, confidence)
        loss_u = (loss_s + loss_fp) / 2
        loss: Tensor = (loss_x + self.hparams["unlabeled_weight"] * loss_u) / 2
        self.log_dict(
            {
                "train/loss": loss.detach(),
                "train/loss_labeled": loss_x.detach(),
                "train/loss_unlabeled": loss_u.detach(),
            }
        )
        return loss

    def _decode_twice(self, image: Tensor, weak: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of labelled and weak images, and those of the weak ones' perturbed features."""
        size, network = (image.shape[-2], image.shape[-1]), self.network
        features = network.features(torch.cat([image, weak]))
        decoded, count = network.decode(features, size), len(image)
        perturbed = [
            F.dropout2d(level[count:], self.hparams["feature_dropout"])
            if place in [index % len(features) for index in network.decoder.inputs]
            else level[count:]
            for place, level in enumerate(features)
        ]
        return decoded[:count], decoded[count:], network.decode(perturbed, size)

    def _strong_loss(self, unlabeled: dict[str, Any], label: Tensor, confidence: Tensor) -> Tensor:
        """Mean of L_s1 and L_s2, whose views go through the network in one batch."""
        strong, valid = unlabeled["strong"], unlabeled["strong_valid"]
        boxes, mixed = [], []
        for view in range(2):
            image = strong[:, view]
            box = draw_cutmix_boxes(
                len(image), image.shape[-2:], self.hparams["cutmix_prob"], device=image.device
            )
            boxes.append(box)
            mixed.append(cutmix(image, image.roll(1, 0), box))
        losses = []
        for view, logits in enumerate(self.network(torch.cat(mixed)).chunk(2)):
            target, sure, counted = (
                cutmix(value, value.roll(1, 0), boxes[view])
                for value in (label, confidence, valid[:, view])
            )
            loss = fixmatch_loss(logits, target, sure, self.hparams["conf_thresh"], counted)
            losses.append(part_of_mean(loss, counted.sum()))
        return (losses[0] + losses[1]) / 2
