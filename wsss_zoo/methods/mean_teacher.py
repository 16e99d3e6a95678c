"""Mean Teacher: the average of the weights teaches the weights."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import sigmoid_rampup, softmax_mse_loss
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.losses import supervised_loss
from wsss_zoo.methods.optimizer import Optimizer
from wsss_zoo.methods.ranks import part_of_mean
from wsss_zoo.methods.semi import (
    Weights,
    check_options,
    gate,
    hard_labels,
    log_pseudo_labels,
)
from wsss_zoo.modules import Architecture, Segmenter, WeightAverage


class MeanTeacher(BaseMethod):
    """The running average of the weights is the teacher of unlabelled images.

    L = L_x + w(t) `softmax_mse_loss`, w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    The teacher is the running average of the student's weights. It sees the weak view; the student
    the strong one, or with ``student_view: weak`` the same image, and then labelled images count in
    the second term too, as in the released code of CPS. All images of the student share a batch.

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
        student_view: "strong" or "weak".
        teacher_mode: "eval": the teacher uses running BatchNorm statistics, averaged like the
            weights; "train": those of its batch, and keeps running ones of its own (both released
            codes). A frozen backbone is in eval mode either way.
        gate_by_tags: Rule out, in the teacher's probabilities, classes that an unlabelled image's
            tags do not name.
        evaluate: "average", the teacher (Tarvainen & Valpola), or "student" (CPS's comparison).
        ema_decay: Decay of the average in [0, 1).
        loss: L_x: "ce", or "ohem" over the hardest pixels.
        ohem_thresh: Probability of the true class in [0, 1] below which a pixel is hard.
        ohem_min_kept: Number of pixels of a batch to keep at least.
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay of all parameters.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        init_from: Checkpoint of a whole network to start from.

    Tarvainen & Valpola, "Mean teachers are better role models", NIPS 2017; the row "MT" of Chen et
    al., CVPR 2021 (charlesCXK/TorchSemiSeg @ 5e0c29c), is ``student_view: weak``, ``teacher_mode:
    train``, ``rampup_steps: 0``, ``evaluate: student``. Here the average follows after the
    optimiser's step, there before; and padding does not count. ``train/mask_ratio`` is 1: no label
    is left out.
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
        student_view: Literal["strong", "weak"] = "strong",
        teacher_mode: Literal["eval", "train"] = "eval",
        gate_by_tags: bool = False,
        evaluate: Weights = "average",
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
        for name, value, choices in (
            ("student_view", student_view, ("strong", "weak")),
            ("teacher_mode", teacher_mode, ("eval", "train")),
            ("evaluate", evaluate, ("student", "average")),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; give {choices[0]!r} or {choices[1]!r}")
        self.network = Segmenter(
            num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn
        )
        self.average = WeightAverage(
            self.network, ema_decay, "own" if teacher_mode == "train" else "average"
        )
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the evaluated weights."""
        average = self.hparams["evaluate"] == "average"
        logits: Tensor = (self.average if average and self.average else self.network)(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """L_x + w(t) mean squared difference of student and teacher."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, weak = labeled["image"], unlabeled["weak"]
        same = self.hparams["student_view"] == "weak"
        view = weak if same else unlabeled["strong"][:, 0]
        valid = unlabeled["valid"] if same else unlabeled["strong_valid"][:, 0]
        logits = self.network(torch.cat([image, view]))
        size = len(image)
        assert self.average is not None
        if same:
            teacher = self.average(torch.cat([image, weak]))
            gated = gate(self, teacher[size:], unlabeled)
            target = torch.cat([teacher[:size].float(), gated])
            valid = torch.cat([labeled["mask"] != 255, valid])
            consistency = softmax_mse_loss(logits, target, valid)
        else:
            gated = gate(self, self.average(weak), unlabeled)
            consistency = softmax_mse_loss(logits[size:], gated, valid)
        consistency = part_of_mean(consistency, valid.sum())
        label, _ = hard_labels(gated)
        log_pseudo_labels(self, unlabeled, label, torch.ones_like(unlabeled["valid"]))
        weight = self.hparams["unlabeled_weight"] * sigmoid_rampup(
            self.trainer.global_step, self.hparams["rampup_steps"]
        )
        supervised = supervised_loss(self, logits[:size], labeled["mask"])
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
