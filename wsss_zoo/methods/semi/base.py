"""What the semi-supervised methods share: labels for unlabelled crops, and which network counts."""

from abc import ABC
from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import gate_by_tags as remove_untagged
from wsss_zoo.functional import sigmoid_rampup
from wsss_zoo.methods.options import check_not_negative
from wsss_zoo.methods.segmentation import SegmentationMethod
from wsss_zoo.modules import WeightAverage

#: Whose weights count: a method's own, or their running average.
Source = Literal["student", "average"]


class SemiMethod(SegmentationMethod, ABC):
    """Segmentation from labelled and unlabelled crops, with a running average of the weights.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        gate_by_tags: Rule out classes that an unlabelled image's tags do not name, wherever the
            method predicts what it then learns from.
        evaluate: Weights that validate, test and predict: "student" or "average".
        ema_decay: Decay of the running average of the weights, in [0, 1).

    Raises:
        ValueError: If an option is out of range.
    """

    supervision = "semi"

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

    @property
    def needed_views(self) -> int:
        """Number of strong views of each unlabelled image that the method needs."""
        return 1

    def make_average(self) -> WeightAverage | None:
        """Make the running average of the network's weights, if an option asks for it."""
        if self.hparams["evaluate"] == "student":
            return None
        return WeightAverage(self.network, self.hparams["ema_decay"])

    def setup(self, stage: str) -> None:
        """Refuse a data module with too few strong views."""
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        given = getattr(data, "strong_views", self.needed_views)
        if stage == "fit" and given < self.needed_views:
            raise ValueError(
                f"{type(self).__name__} needs {self.needed_views} strong views of each unlabelled "
                f"image, but {type(data).__name__} draws {given}; set data.strong_views to "
                f"{self.needed_views}"
            )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the evaluated weights."""
        averaged = self.hparams["evaluate"] == "average" and self.average is not None
        logits: Tensor = (self.average if averaged and self.average else self.network)(image)
        return logits

    def mask_absent_classes(self, logits: Tensor, unlabeled: dict[str, Any]) -> Tensor:
        """Scores in float32, with ``gate_by_tags`` without the classes that tags rule out.

        Args:
            logits: Scores of unlabelled crops, (M, C, H, W).
            unlabeled: The unlabelled half of a batch.

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
        return remove_untagged(logits, unlabeled["image_labels"], unlabeled["has_image_labels"])

    def pseudo_label(self, logits: Tensor, unlabeled: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Class index per pixel and its probability, each (M, H, W), without gradients.

        Args:
            logits: Scores of unlabelled crops, (M, C, H, W).
            unlabeled: The unlabelled half of a batch.
        """
        probs = self.mask_absent_classes(logits.detach(), unlabeled).softmax(1)
        confidence, label = probs.max(1)
        return label, confidence

    def log_pseudo_labels(
        self, unlabeled: dict[str, Any], label: Tensor, kept: Tensor | None = None
    ) -> None:
        """Log the share of valid pixels that are kept, and how many labels are right.

        ``train/mask_ratio`` always. ``train/pseudo_acc`` over all valid pixels and
        ``train/pseudo_acc_kept`` over the kept ones where the batch has an ``audit_mask``. Nothing
        but this function reads the audit mask.

        Args:
            unlabeled: The unlabelled half of a batch.
            label: Class index per pixel, (M, H, W), before any CutMix.
            kept: Whether a pixel's label is used, (M, H, W) bool; None for all.
        """
        valid = unlabeled["valid"]
        kept = valid if kept is None else kept & valid
        values = {"train/mask_ratio": _share(kept, valid)}
        if "audit_mask" in unlabeled:
            truth = unlabeled["audit_mask"]
            known = valid & (truth != 255)
            right = label == truth
            values["train/pseudo_acc"] = _share(right & known, known)
            values["train/pseudo_acc_kept"] = _share(right & known & kept, known & kept)
        self.log_dict(values)

    def log_losses(self, loss: Tensor, labeled: Tensor, unlabeled: Tensor, **more: Tensor) -> None:
        """Log the loss and its two parts.

        Args:
            loss: The whole loss.
            labeled: Its part of the labelled images.
            unlabeled: Its part of the unlabelled images, without its weight.
            **more: Further values under ``train/``.
        """
        values = {"loss": loss, "loss_labeled": labeled, "loss_unlabeled": unlabeled} | more
        self.log_dict({f"train/{name}": value.detach() for name, value in values.items()})


class ConsistencyMethod(SemiMethod, ABC):
    """L = L_x + w(t) consistency, with w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        unlabeled_weight: Final weight of the second term. The term is a mean over classes, so a
            weight of w is w / C per pixel.
        rampup_steps: Steps over which the weight grows; 0 for none.

    Raises:
        ValueError: If an option is out of range.
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
        """Weight the two terms, and log them.

        Args:
            supervised: L_x, a scalar.
            consistency: Disagreement on unlabelled images, a scalar.
        """
        steps = self.hparams["rampup_steps"]
        weight = self.hparams["unlabeled_weight"] * sigmoid_rampup(self.trainer.global_step, steps)
        loss: Tensor = supervised + weight * consistency
        # Lightning would copy a number to the device, which waits for it.
        logged = torch.full_like(loss.detach(), weight)
        self.log_losses(loss, supervised, consistency, unlabeled_weight=logged)
        return loss


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.sum() / torch.clamp_min(whole.sum(), 1)
