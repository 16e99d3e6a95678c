"""Mean Teacher: the average of the weights teaches the weights."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.contract import SemiBatch
from wsss_zoo.functional import softmax_mse_loss
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import ConsistencyMethod, Source
from wsss_zoo.modules import WeightAverage


class MeanTeacher(ConsistencyMethod):
    """The running average of the weights is the teacher of unlabelled images.

    L = L_x + w(t) `softmax_mse_loss`, w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    The teacher is the running average of the student's weights. It sees the weak view, the student
    the strong one. With ``student_view: weak`` the student sees the weak view too, and labelled
    images count in the second term, as in CPS's code. All images of the student share a batch.
    ``train/mask_ratio`` is 1: no label is left out.

    Args:
        student_view: "strong" or "weak".
        teacher_mode: "eval": the teacher uses running BatchNorm statistics, averaged like the
            weights; "train": those of its batch, and keeps running ones of its own, as in both
            authors' codes. A frozen backbone is in eval mode either way.
        evaluate: "average", the teacher (Tarvainen & Valpola), or "student" (CPS's comparison).

    Tarvainen & Valpola, "Mean teachers are better role models", NIPS 2017. The row "MT" of Chen et
    al., CVPR 2021 (charlesCXK/TorchSemiSeg @ 5e0c29c), is ``student_view: weak``, ``teacher_mode:
    train``, ``rampup_steps: 0``, ``evaluate: student``. Differences from that code:

    * The average follows after the optimiser's step. In the authors' code it follows before.
    * Padding does not count.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        student_view: Literal["strong", "weak"] = "strong",
        teacher_mode: Literal["eval", "train"] = "eval",
        evaluate: Source = "average",
        **shared: Any,
    ) -> None:
        super().__init__(num_classes, backbone, evaluate=evaluate, **shared)

    def make_average(self) -> WeightAverage:
        """Make the teacher, whatever is evaluated."""
        buffers: Literal["own", "average"] = (
            "own" if self.hparams["teacher_mode"] == "train" else "average"
        )
        return WeightAverage(self.network, self.hparams["ema_decay"], buffers)

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the weak views, which a teacher in train mode sees alone."""
        if self.hparams["teacher_mode"] != "train" or self.hparams["student_view"] == "weak":
            return super().smallest_pass(data)
        return int(getattr(data, "unlabeled_batch_size", 2)), "unlabeled_batch_size"

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute L_x + w(t) mean squared difference of student and teacher."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, weak = labeled["image"], unlabeled["weak"]
        same = self.hparams["student_view"] == "weak"
        view = weak if same else unlabeled["strong"][:, 0]
        valid = unlabeled["valid"] if same else unlabeled["strong_valid"][:, 0]
        logits, size = self.network(torch.cat([image, view])), len(image)
        assert self.average is not None
        if same:
            teacher = self.average(torch.cat([image, weak]))
            gated = self.mask_absent_classes(teacher[size:], unlabeled)
            target = torch.cat([teacher[:size].float(), gated])
            valid = torch.cat([labeled["mask"] != 255, valid])
            consistency = softmax_mse_loss(logits, target, valid)
        else:
            gated = self.mask_absent_classes(self.average(weak), unlabeled)
            consistency = softmax_mse_loss(logits[size:], gated, valid)
        consistency = share_of_global_mean(consistency, valid.sum())
        self.log_pseudo_labels(unlabeled, gated.argmax(1))
        return self.total_loss(self.supervised_loss(logits[:size], labeled["mask"]), consistency)
