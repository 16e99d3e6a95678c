"""What the semi-supervised methods share: labels for unlabelled crops, and which network counts."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from wsss_zoo.functional import gate_by_tags
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.modules import WeightAverage

#: Whether a method's own weights count, or their running average.
Weights = Literal["student", "average"]


def check_options(method: BaseMethod) -> None:
    """Check the options that several methods have.

    Raises:
        ValueError: If one is out of range.
    """
    for name in ("conf_thresh", "cutmix_prob"):
        value = method.hparams.get(name, 0)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; give a number in [0, 1]")
    for name in ("unlabeled_weight", "rampup_steps"):
        value = method.hparams.get(name, 0)
        if value < 0:
            raise ValueError(f"{name} is {value}; give a number >= 0")
    loss = method.hparams.get("loss", "ce")
    if loss not in ("ce", "ohem"):
        raise ValueError(f"loss is {loss!r}; give 'ce' or 'ohem'")


def check_strong_views(method: BaseMethod, views: int) -> None:
    """Refuse, before training, a data module that draws too few strong views.

    Args:
        method: Is attached to a trainer.
        views: Strong views of each unlabelled image that the method needs.

    Raises:
        ValueError: If the data module has fewer.
    """
    data: Any = getattr(method.trainer, "datamodule", None)
    given = getattr(data, "strong_views", views)
    if given < views:
        raise ValueError(
            f"{type(method).__name__} needs {views} strong views of each unlabelled image, but "
            f"{type(data).__name__} draws {given}; set data.strong_views to {views}"
        )


def keep_average(
    method: BaseMethod, buffers: Literal["average", "copy", "own"] = "average"
) -> None:
    """Let a method follow its network by a running average, if one of its options uses it.

    Args:
        method: Has ``network``, ``evaluate``, ``ema_decay`` and perhaps ``labels_from``.
        buffers: What becomes of the BatchNorm statistics; see `WeightAverage`.

    Raises:
        ValueError: If ``evaluate`` or ``labels_from`` is neither "student" nor "average".
    """
    for name in ("evaluate", "labels_from"):
        value = method.hparams.get(name, "student")
        if value not in ("student", "average"):
            raise ValueError(f"{name} is {value!r}; give 'student' or 'average'")
        if value == "average":
            method.average = WeightAverage(method.network, method.hparams["ema_decay"], buffers)


def evaluated_network(method: BaseMethod) -> nn.Module:
    """The network that a method is judged by: its own, or the average with ``evaluate``."""
    if method.hparams["evaluate"] == "average" and method.average is not None:
        return method.average
    return method.network


def gate(method: BaseMethod, logits: Tensor, unlabeled: dict[str, Any]) -> Tensor:
    """Scores of unlabelled crops in float32, without the classes that tags rule out.

    Args:
        method: Has ``gate_by_tags``; without it the scores stay as they are.
        logits: Scores, (M, C, H, W).
        unlabeled: The unlabelled half of a batch.

    Raises:
        ValueError: If ``gate_by_tags`` is on and no unlabelled image has tags.
    """
    logits = logits.float()
    if not method.hparams["gate_by_tags"]:
        return logits
    if "image_labels" not in unlabeled:
        raise ValueError(
            "gate_by_tags needs image-level tags, but no unlabelled image has any; add them to the "
            "tag file or set gate_by_tags to false"
        )
    return gate_by_tags(logits, unlabeled["image_labels"], unlabeled["has_image_labels"])


def hard_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Class index per pixel and its probability, each (M, H, W), of scores; without gradients."""
    confidence, label = logits.detach().float().softmax(1).max(1)
    return label, confidence


def log_pseudo_labels(
    method: BaseMethod, unlabeled: dict[str, Any], label: Tensor, kept: Tensor
) -> None:
    """Log the share of valid pixels that are kept, and how many labels are right.

    ``train/mask_ratio`` always; ``train/pseudo_acc`` over all valid pixels and
    ``train/pseudo_acc_kept`` over the kept ones where the batch has an ``audit_mask``, which
    nothing but this function reads.

    Args:
        method: Logs them.
        unlabeled: The unlabelled half of a batch.
        label: Class index per pixel, (M, H, W), before any CutMix.
        kept: Whether a pixel's label is used, (M, H, W) bool.
    """
    valid = unlabeled["valid"]
    kept = kept & valid
    values = {"train/mask_ratio": _share(kept, valid)}
    if "audit_mask" in unlabeled:
        truth = unlabeled["audit_mask"]
        known = valid & (truth != 255)
        right = label == truth
        values["train/pseudo_acc"] = _share(right & known, known)
        values["train/pseudo_acc_kept"] = _share(right & known & kept, known & kept)
    method.log_dict(values)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.sum() / torch.clamp_min(whole.sum(), 1)
