"""PseudoSeg: the segmenter and its classifier's Grad-CAMs label the weak view together."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.contract import SemiBatch, UnlabeledBatch
from wsss_zoo.functional import (
    calibrated_fusion,
    fixmatch_loss,
    mask_to_image_labels,
    masked_cross_entropy,
    soft_label_loss,
)
from wsss_zoo.functional.tensors import resized_labels
from wsss_zoo.methods.optimizer import split_groups
from wsss_zoo.methods.options import check_not_negative, check_shares
from wsss_zoo.methods.ranks import mean_over_ranks, share_of_global_mean
from wsss_zoo.methods.semi.base import SemiMethod
from wsss_zoo.modules import GradCAMBranch


class PseudoSeg(SemiMethod):
    """Labels fused from the decoder and from Grad-CAMs of the image's tags.

    L = L_seg + unlabeled_weight L_u + L_cls + L_sa.

    A classifier on the segmenter's encoder gives Grad-CAMs of an image's tags. Self-attention
    refines them to logits (`GradCAMBranch`). `calibrated_fusion` of these and the decoder's logits
    labels the weak view.

    * L_u: cross-entropy of the strong view with that label on the decoder's grid (stride 4 of
      DeepLabV3+), summed over confident pixels and divided by the number of valid ones. Padding and
      the CutOut box are not valid. Nothing confident or valid gives 0.
    * L_seg, L_sa: cross-entropy of decoder and of refined maps with the masks at the crop's size.
    * L_cls: binary cross-entropy of the tags, mean over labelled images, tagged unlabelled ones and
      classes. Labelled images without tags take those of their cropped mask.

    ``gate_by_tags`` rules classes out of the fused label too, not only of the Grad-CAMs. The
    refinement has no weight decay. Classifier and refinement may be missing in ``init_from``. Of
    several processes each has its own statistics of the refinement, as of BatchNorm.

    Args:
        unlabeled_weight: Factor on L_u.
        label: "soft", sharpened by ``temperature``, or "hard", the most probable class.
        temperature: Temperature of soft labels, above 0.
        conf_thresh: Probability in [0, 1] of its best class from which a label counts; 0 is off.
        use_tags: Take the tags of unlabelled images where they exist; else, and with False, those
            that the classifier predicts (probability at least 0.5).
        attention_dim: Channels of queries and keys.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021
    (googleinterns/wss @ b01acaf). Its strong view is colour jitter and a CutOut box of 100 pixels,
    both always: set ``data.augmentation`` as experiments/pseudoseg.yaml does. Differences from the
    authors' code:

    * Brightness is a factor, as in torchvision. The authors' code adds to it.
    * Grad-CAMs are computed in closed form; see `classifier_grad_cam`.
    * Labelled and weak images are one batch in train mode, the strong ones a second. The authors'
      code runs each kind alone, and for the Grad-CAMs the encoder of the weak images once more with
      running statistics. With frozen statistics that is the same.
    * L_cls learns from masks and tags. In the authors' code it learns from the tagged images only,
      where there are any.
    * Logits are resized with align_corners=False.
    * Attention skips the padding of weak views and the pixels of 255 of labelled images. In the
      authors' code it skips the strong view's box.
    """

    needs_background = True
    fixed_options = ("loss", "ohem_thresh", "ohem_min_kept")

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        unlabeled_weight: float = 1.0,
        label: Literal["soft", "hard"] = "soft",
        temperature: float = 0.5,
        conf_thresh: float = 0.0,
        use_tags: bool = True,
        attention_dim: int = 128,
        **shared: Any,
    ) -> None:
        check_not_negative(unlabeled_weight=unlabeled_weight)
        check_shares(conf_thresh=conf_thresh)
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; give a positive number")
        super().__init__(
            num_classes, backbone, loss="ce", ohem_thresh=0.7, ohem_min_kept=100_000, **shared
        )
        if self.hparams["gate_by_tags"] and not use_tags:
            raise ValueError("gate_by_tags needs the tags that use_tags false leaves out; set one")
        self.branch = GradCAMBranch(self.network.backbone.channels, num_classes, attention_dim)
        self.start_from(self.hparams["init_from"])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group as all methods do, with the refinement apart, which has no weight decay."""
        apart = self.branch.refinement.parameters()
        return split_groups(super().parameter_groups(), apart, "refinement", weight_decay=0.0)

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the strong views, which have a pass of their own."""
        views = int(getattr(data, "strong_views", 1))
        return views * int(getattr(data, "unlabeled_batch_size", 2)), "unlabeled_batch_size"

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute L_seg + unlabeled_weight L_u + L_cls + L_sa."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        mask, count = self._padded(labeled["mask"], 255), len(labeled["mask"])
        features = self.network.features(torch.cat([labeled["image"], unlabeled["weak"]]))
        logits, dropout = self._decode(features), self.branch.draw_dropout(features)
        tags = labeled.get("image_labels")
        if tags is None:
            tags = mask_to_image_labels(mask, self.hparams["num_classes"])
        loss_cls = self._classification_loss(self.branch.scores(features, dropout), tags, unlabeled)
        shown, hidden = zip(*(feature.tensor_split([count]) for feature in features), strict=True)
        refined = self.branch(shown, tags, mask != 255, dropout[:count])
        known = (mask != 255).sum()
        loss_seg, loss_sa = (
            share_of_global_mean(masked_cross_entropy(_resized(value, mask), mask), known)
            for value in (logits[:count], refined)
        )
        probs = self._fused_probs(hidden, logits[count:], unlabeled)
        loss_u = self._consistency_loss(probs, unlabeled)
        loss: Tensor = loss_seg + self.hparams["unlabeled_weight"] * loss_u + loss_cls + loss_sa
        parts = {"loss_classifier": loss_cls, "loss_refinement": loss_sa}
        self.log_losses(loss, loss_seg, loss_u, **parts)
        return loss

    def _classification_loss(
        self, scores: Tensor, tags: Tensor, unlabeled: UnlabeledBatch
    ) -> Tensor:
        """Binary cross-entropy of scores (N + M, K), mean over the images whose tags are known."""
        known = torch.ones_like(tags[:, 0])
        if self._has_tags(unlabeled):
            tags = torch.cat([tags, unlabeled["image_labels"]])
            known = torch.cat([known, unlabeled["has_image_labels"].to(known)])
        scores = scores[: len(tags)].float()
        loss = F.binary_cross_entropy_with_logits(scores, tags, reduction="none").mean(1)
        return share_of_global_mean((loss * known).sum() / known.sum(), known.sum())

    @torch.no_grad()
    def _fused_probs(
        self, features: Sequence[Tensor], decoder_logits: Tensor, unlabeled: UnlabeledBatch
    ) -> Tensor:
        """Probabilities (M, C, h, w) on the decoder's grid of the weak views."""
        # A score of 0 is a probability of 0.5.
        tags = (self.branch.scores(features) >= 0).float()
        if self._has_tags(unlabeled):
            known = unlabeled["has_image_labels"][:, None]
            tags = torch.where(known, unlabeled["image_labels"], tags)
        refined = self.branch(features, tags, self._padded(unlabeled["valid"], False))
        temperature = self.hparams["temperature"] if self.hparams["label"] == "soft" else 1.0
        refined = _resized(refined, decoder_logits)
        probs = calibrated_fusion(decoder_logits, refined, temperature, mean_over_ranks)
        if not self.hparams["gate_by_tags"]:
            return probs
        # With 0 in all classes that are left the softmax would be NaN.
        log_probs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
        return self.mask_absent_classes(log_probs, unlabeled).softmax(1)

    def _consistency_loss(self, probs: Tensor, unlabeled: UnlabeledBatch) -> Tensor:
        """L_u of labels (M, C, h, w), the same for all strong views; logs how good they are."""
        strong, thresh = unlabeled["strong"], self.hparams["conf_thresh"]
        confidence, label = probs.max(1)
        self._log_labels(label, confidence >= thresh, unlabeled)
        logits = self._decode(self.network.features(strong.flatten(0, 1)))
        valid = self._padded(unlabeled["strong_valid"].flatten(0, 1), False)
        # The first pixel of each cell, as the nearest resizing of the authors' code takes it.
        valid, views = resized_labels(valid, logits.shape[-2:]), strong.shape[1]
        probs, label, confidence = (
            value.repeat_interleave(views, 0) for value in (probs, label, confidence)
        )
        if self.hparams["label"] == "soft":
            loss = soft_label_loss(logits, probs, thresh, valid)
        else:
            loss = fixmatch_loss(logits, label, confidence, thresh, valid)
        return share_of_global_mean(loss, valid.sum())

    def _log_labels(self, label: Tensor, kept: Tensor, unlabeled: UnlabeledBatch) -> None:
        """Log the labels (M, h, w) at the size of the crop."""
        height, width = unlabeled["valid"].shape[1:]
        padded = self._padded(unlabeled["valid"], False).shape[-2:]
        label, kept = (resized_labels(value, padded)[:, :height, :width] for value in (label, kept))
        self.log_pseudo_labels(unlabeled, label, kept)

    def _decode(self, features: list[Tensor]) -> Tensor:
        """Logits on the decoder's grid, which the network's padding is part of."""
        logits: Tensor = self.network.head(self.network.decoder(features))
        return logits

    def _padded(self, value: Tensor, fill: int) -> Tensor:
        """A map (..., H, W) of the size to which the network pads its image."""
        stride = self.network.backbone.strides[-1]
        height, width = value.shape[-2:]
        return F.pad(value, (0, -width % stride, 0, -height % stride), value=fill)

    def _has_tags(self, unlabeled: UnlabeledBatch) -> bool:
        return bool(self.hparams["use_tags"]) and "image_labels" in unlabeled


def _resized(logits: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
