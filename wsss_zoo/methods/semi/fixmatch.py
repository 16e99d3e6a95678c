"""FixMatch for segmentation: labels of the weak view teach the strong one where they are sure."""

from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import cutmix, draw_cutmix_boxes, fixmatch_loss
from wsss_zoo.methods.options import check_not_negative, check_shares
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import SemiMethod, Source
from wsss_zoo.modules import WeightAverage


class FixMatch(SemiMethod):
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
        conf_thresh: Confidence in [0, 1] from which a label counts.
        unlabeled_weight: Factor on the loss of unlabelled images.
        cutmix_prob: Probability that a strong view is mixed.
        labels_from: Weights that label the weak views: "student" or "average". The average is safer
            from a warm start and in short schedules.

    Sohn et al., "FixMatch", NeurIPS 2020, as segmented by Yang et al., CVPR 2023
    (LiheYoung/UniMatch @ 0324f3d). Differences from the authors' code:

    * A box is filled from the next image of the batch, whose labels are known already. The authors'
      code fills it from another view of the same image by mistake, labelled by an extra pass in
      eval mode.
    * A batch without a confident pixel, or of padding alone, has L_u = 0. Only true padding is left
      out of L_u, as in the authors' code.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        conf_thresh: float = 0.95,
        unlabeled_weight: float = 1.0,
        cutmix_prob: float = 0.5,
        labels_from: Source = "student",
        **shared: Any,
    ) -> None:
        check_shares(conf_thresh=conf_thresh, cutmix_prob=cutmix_prob)
        check_not_negative(unlabeled_weight=unlabeled_weight)
        super().__init__(num_classes, backbone, **shared)

    def make_average(self) -> WeightAverage | None:
        """Make the running average, if it labels or is evaluated."""
        if self.hparams["labels_from"] == "average":
            return WeightAverage(self.network, self.hparams["ema_decay"])
        return super().make_average()

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
        label, confidence = self.pseudo_label(weak_logits, unlabeled)
        thresh = self.hparams["conf_thresh"]
        self.log_pseudo_labels(unlabeled, label, confidence >= thresh)
        target, sure, valid = (
            cutmix(value, value.roll(1, 0), box)
            for value in (label, confidence, unlabeled["strong_valid"][:, 0])
        )
        loss_x = self.supervised_loss(logits, labeled["mask"])
        loss_u = fixmatch_loss(strong_logits, target, sure, thresh, valid)
        loss_u = share_of_global_mean(loss_u, valid.sum())
        loss: Tensor = (loss_x + self.hparams["unlabeled_weight"] * loss_u) / 2
        self.log_losses(loss, loss_x, loss_u)
        return loss
