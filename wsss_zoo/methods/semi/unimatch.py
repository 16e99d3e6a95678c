"""UniMatch: FixMatch with two strong views and a view whose features are perturbed."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional import cutmix, draw_cutmix_boxes, fixmatch_loss
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.fixmatch import FixMatch


class UniMatch(FixMatch):
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
        feature_dropout: Share of channels that are dropped, in [0, 1).

    Yang et al., "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation",
    CVPR 2023 (LiheYoung/UniMatch @ 0324f3d). The data module needs ``strong_views: 2``. Differences
    from the authors' code:

    * Boxes are filled from the next image of the batch; see `FixMatch`.
    * The perturbed features of labelled images are not decoded. The authors' code decodes them and
      never uses them.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        feature_dropout: float = 0.5,
        **shared: Any,
    ) -> None:
        if not 0 <= feature_dropout < 1:
            raise ValueError(f"feature_dropout is {feature_dropout}; give a share in [0, 1)")
        super().__init__(num_classes, backbone, **shared)

    @property
    def needed_views(self) -> int:
        """Two: each is mixed by boxes of its own."""
        return 2

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """(L_x + unlabeled_weight (L_s1 / 4 + L_s2 / 4 + L_fp / 2)) / 2."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, weak, thresh = labeled["image"], unlabeled["weak"], self.hparams["conf_thresh"]
        logits, weak_logits, perturbed_logits = self._decode_twice(image, weak)
        if self.average is not None and self.hparams["labels_from"] == "average":
            weak_logits = self.average(weak)
        label, confidence = self.pseudo_label(weak_logits, unlabeled)
        self.log_pseudo_labels(unlabeled, label, confidence >= thresh)
        loss_x = self.supervised_loss(logits, labeled["mask"])
        valid = unlabeled["valid"]
        loss_fp = fixmatch_loss(perturbed_logits, label, confidence, thresh, valid)
        loss_fp = share_of_global_mean(loss_fp, valid.sum())
        loss_s = self._strong_loss(unlabeled, label, confidence)
        loss_u = (loss_s + loss_fp) / 2
        loss: Tensor = (loss_x + self.hparams["unlabeled_weight"] * loss_u) / 2
        self.log_losses(loss, loss_x, loss_u)
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
            losses.append(share_of_global_mean(loss, counted.sum()))
        return (losses[0] + losses[1]) / 2
