"""What the semi-supervised methods share: labels for unlabelled crops, and which network counts."""

from abc import ABC
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from wsss_zoo.contract import Supervision, UnlabeledBatch, find_data
from wsss_zoo.functional import confusion_matrix, reassign_by_tags, sigmoid_rampup
from wsss_zoo.methods.options import check_not_negative
from wsss_zoo.methods.segmentation import SegmentationMethod
from wsss_zoo.modules import Segmenter, WeightAverage

#: Whose weights count: a method's own, or their running average.
Source = Literal["student", "average"]


class SemiMethod(SegmentationMethod, ABC):
    """Segmentation from labelled and unlabelled crops, with a running average of the weights.

    Args:
        gate_by_tags: Rule out classes that an unlabelled image's tags do not name, wherever the
            method predicts what it then learns from; the tagged classes get their probability.
        evaluate: Weights that validate, test and predict: "student" or "average".
        ema_decay: Decay of the running average of the weights, in [0, 1).
    """

    supervision: ClassVar[Supervision] = "semi"
    #: Number of strong views of each unlabelled image that the method needs.
    needed_views: int = 1

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        gate_by_tags: bool = False,
        evaluate: Source = "student",
        ema_decay: float = 0.99,
        **shared: Any,
    ) -> None:
        super().__init__(num_classes, backbone, **shared)
        self.average = self.make_average()
        #: Kept pixels of the last step by pseudo-label, (C,), for `KeptClasses`.
        self.kept_counts: Tensor | None = None

    def make_average(self) -> WeightAverage | None:
        """Make the running average of the network's weights, if an option asks for it."""
        if self.hparams["evaluate"] == "student":
            return None
        return WeightAverage(self.network, self.hparams["ema_decay"])

    def setup(self, stage: str) -> None:
        """Refuse a data module with too few strong views."""
        super().setup(stage)
        data = find_data(self.trainer)
        given = getattr(data, "strong_views", self.needed_views)
        if stage == "fit" and given < self.needed_views:
            raise ValueError(
                f"{type(self).__name__} needs {self.needed_views} strong views of each unlabelled "
                f"image, but {type(data).__name__} draws {given}; set data.strong_views to "
                f"{self.needed_views}"
            )

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits (N, C, H, W) of an image (N, 3, H, W), by the evaluated weights."""
        network = self.average if self.hparams["evaluate"] == "average" else None
        logits: Tensor = (network or self.network)(image)
        return logits

    def evaluated_network(self) -> Segmenter:
        """Return the network or its average, as ``evaluate`` says."""
        if self.hparams["evaluate"] == "average" and self.average is not None:
            return cast(Segmenter, self.average.network)
        return self.network

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count two images: labelled and unlabelled ones share a pass."""
        return 2, "batch_size"

    def mask_absent_classes(self, logits: Tensor, unlabeled: UnlabeledBatch) -> Tensor:
        """Rule out the classes that tags exclude, with ``gate_by_tags``; (M, C, H, W), float32.

        Raises:
            ValueError: If ``gate_by_tags`` is on and no unlabelled image has tags.
        """
        logits = logits.float()
        if not self.hparams["gate_by_tags"]:
            return logits
        if "image_labels" not in unlabeled:
            raise ValueError(
                "gate_by_tags needs image-level tags, but no unlabelled image has any; add them to "
                "the tag file or set gate_by_tags to false"
            )
        return reassign_by_tags(logits, unlabeled["image_labels"], unlabeled["has_image_labels"])

    def pseudo_label(self, logits: Tensor, unlabeled: UnlabeledBatch) -> tuple[Tensor, Tensor]:
        """Label crops by their logits (M, C, H, W), without gradients.

        Returns:
            Class index per pixel and its probability, (M, H, W) each.
        """
        probs = self.mask_absent_classes(logits.detach(), unlabeled).softmax(1)
        confidence, label = probs.max(1)
        return label, confidence

    def log_pseudo_labels(
        self, unlabeled: UnlabeledBatch, label: Tensor, kept: Tensor | None = None
    ) -> None:
        """Log the share of valid pixels that are kept, and the share of labels that are right.

        ``train/mask_ratio`` is always logged. ``train/pseudo_acc`` over all valid pixels and
        ``train/pseudo_acc_kept`` over the kept ones need an ``audit_mask`` in the batch. Nothing
        else reads the audit mask.

        Args:
            unlabeled: The crops.
            label: Class index per pixel, (M, H, W), before any CutMix.
            kept: Whether a pixel's label is used, (M, H, W) bool; None for all.
        """
        valid = unlabeled["valid"]
        kept = valid if kept is None else kept & valid
        counted = label.masked_fill(~kept, 255)
        self.kept_counts = confusion_matrix(label, counted, self.hparams["num_classes"]).diagonal()
        values = {"train/mask_ratio": _share(kept, valid)}
        if "audit_mask" in unlabeled:
            truth = unlabeled["audit_mask"]
            known = valid & (truth != 255)
            right = label == truth
            values["train/pseudo_acc"] = _share(right & known, known)
            values["train/pseudo_acc_kept"] = _share(right & known & kept, known & kept)
        self.log_dict(values)

    def log_losses(self, loss: Tensor, labeled: Tensor, unlabeled: Tensor, **more: Tensor) -> None:
        """Log the loss, its parts of labelled and unlabelled images (unweighted), and ``more``."""
        values = {"loss": loss, "loss_labeled": labeled, "loss_unlabeled": unlabeled} | more
        self.log_dict({f"train/{name}": value.detach() for name, value in values.items()})


class ConsistencyMethod(SemiMethod, ABC):
    """L = L_x + w(t) consistency, with w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    Args:
        unlabeled_weight: Final weight of the second term. The term is a mean over classes, so a
            weight of w is w / C per pixel.
        rampup_steps: Steps over which the weight grows; 0 for none.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        unlabeled_weight: float = 100.0,
        rampup_steps: int = 0,
        **shared: Any,
    ) -> None:
        check_not_negative(unlabeled_weight=unlabeled_weight, rampup_steps=rampup_steps)
        super().__init__(num_classes, backbone, **shared)

    def total_loss(self, supervised: Tensor, consistency: Tensor) -> Tensor:
        """Compute L_x + w(t) consistency, and log it."""
        steps = self.hparams["rampup_steps"]
        weight = self.hparams["unlabeled_weight"] * sigmoid_rampup(self.trainer.global_step, steps)
        loss: Tensor = supervised + weight * consistency
        # Lightning would copy a number to the device, which waits for it.
        logged = torch.full_like(loss.detach(), weight)
        self.log_losses(loss, supervised, consistency, unlabeled_weight=logged)
        return loss


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.sum() / torch.clamp_min(whole.sum(), 1)
