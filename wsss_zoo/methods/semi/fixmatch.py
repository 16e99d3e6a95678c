"""FixMatch for segmentation: labels of the weak view teach the strong one where they are sure."""

from typing import Any

import torch
from torch import Tensor

from wsss_zoo.contract import SemiBatch
from wsss_zoo.functional import cutmix, draw_cutmix_boxes, fixmatch_loss
from wsss_zoo.methods.options import check_not_negative, check_shares
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import SemiMethod, Source
from wsss_zoo.modules import WeightAverage


class FixMatch(SemiMethod):
    """Sure labels of an unlabelled image teach its strongly changed, mixed view.

    L = (L_x + unlabeled_weight L_u) / 2; see `fixmatch_loss` for L_u.

    CutMix fills a box of each strong view from the next image of the batch. Labels, confidences and
    padding are mixed by the same box. With ``labels_from: student`` labelled and weak images are
    one batch, in train mode, and the mixed ones a second. With ``average`` a running average of the
    weights labels the weak images, in eval mode; labelled and mixed images share a batch.

    Args:
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

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the strong views, which have a pass of their own if the student labels."""
        if self.hparams["labels_from"] == "average":
            return super().smallest_pass(data)
        return int(getattr(data, "unlabeled_batch_size", 2)), "unlabeled_batch_size"

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute (L_x + unlabeled_weight L_u) / 2."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, weak, count = labeled["image"], unlabeled["weak"], len(labeled["image"])
        mixed, box = self.mix_views(unlabeled["strong"][:, 0])
        if self.average is not None and self.hparams["labels_from"] == "average":
            weak_logits = self.average(weak)
            both = self.network(torch.cat([image, mixed]))
            logits, strong_logits = both[:count], both[count:]
        else:
            both = self.network(torch.cat([image, weak]))
            logits, weak_logits = both[:count], both[count:]
            strong_logits = self.network(mixed)
        label, confidence = self.pseudo_label(weak_logits, unlabeled)
        self.log_pseudo_labels(unlabeled, label, confidence >= self.hparams["conf_thresh"])
        valid = unlabeled["strong_valid"][:, 0]
        loss_u = self.unlabeled_loss(strong_logits, label, confidence, valid, box)
        return self.total_loss(self.supervised_loss(logits, labeled["mask"]), loss_u)

    def mix_views(self, strong: Tensor) -> tuple[Tensor, Tensor]:
        """Fill a box of each view (M, 3, H, W) from the next one; also return the boxes."""
        count, (height, width), prob = len(strong), strong.shape[-2:], self.hparams["cutmix_prob"]
        box = draw_cutmix_boxes(count, (height, width), prob, device=strong.device)
        return cutmix(strong, strong.roll(1, 0), box), box

    def unlabeled_loss(
        self,
        logits: Tensor,
        label: Tensor,
        confidence: Tensor,
        valid: Tensor,
        box: Tensor | None = None,
    ) -> Tensor:
        """Compute `fixmatch_loss` of views with logits (M, C, H, W).

        Label, confidence and valid pixels, (M, H, W) each, are as before the mixing by ``box``.
        """
        if box is not None:
            label, confidence, valid = (
                cutmix(value, value.roll(1, 0), box) for value in (label, confidence, valid)
            )
        loss = fixmatch_loss(logits, label, confidence, self.hparams["conf_thresh"], valid)
        return share_of_global_mean(loss, valid.sum())

    def total_loss(self, loss_x: Tensor, loss_u: Tensor) -> Tensor:
        """Compute (L_x + unlabeled_weight L_u) / 2, and log it."""
        loss: Tensor = (loss_x + self.hparams["unlabeled_weight"] * loss_u) / 2
        self.log_losses(loss, loss_x, loss_u)
        return loss
