"""Pi-model: two noisy predictions of the same pixels are made to agree."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import masked_squared_error
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import ConsistencyMethod


class PiModel(ConsistencyMethod):
    """Two noisy views of an unlabelled image shall be segmented alike.

    L = L_x + w(t) mean (p(v1) - p(v2))^2, w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    v1 and v2 are two views of one unlabelled crop with the same geometry, each with dropout of its
    own; gradients flow through both predictions. The mean is over classes and the pixels that are
    padding or CutOut in neither view; without any it is 0. Labelled images and both views share a
    batch, and so, where BatchNorm is in train mode, its statistics: with a frozen backbone these
    are the decoder's alone.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        views: "weak_strong", or "two_strong", for which the data module must draw two strong views.
        detach_first: Let no gradient through the first prediction, so that only the second follows;
            the gradient is half as large where both are equally noisy.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 1
    (smlaine2/tempens @ a32743a): two passes of the whole mini-batch, so that labelled images take
    part in the second term too, of which data sets here give one view only. There L_x is divided by
    the size of the whole batch and w multiplied with the share of labelled images, which cancels
    here as L_x is a mean over labelled pixels. ``detach_first`` is what later codes do (TorchSSL's
    and USB's, CutMix-Seg's).
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        views: Literal["weak_strong", "two_strong"] = "weak_strong",
        detach_first: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(num_classes, backbone, **shared)

    @property
    def needed_views(self) -> int:
        """Two with ``views: two_strong``, else one."""
        return 2 if self.hparams["views"] == "two_strong" else 1

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """L_x + w(t) mean squared difference of the two predictions."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image, (first, second, valid) = labeled["image"], self._views(unlabeled)
        logits, first_logits, second_logits = self.network(torch.cat([image, first, second])).split(
            [len(image), len(first), len(second)]
        )
        first_logits = self.mask_absent_classes(first_logits, unlabeled)
        self.log_pseudo_labels(unlabeled, first_logits.argmax(1), valid)
        probs = first_logits.softmax(1)
        if self.hparams["detach_first"]:
            probs = probs.detach()
        consistency = masked_squared_error(second_logits.float().softmax(1), probs, valid)
        consistency = share_of_global_mean(consistency, valid.sum())
        return self.total_loss(self.supervised_loss(logits, labeled["mask"]), consistency)

    def _views(self, unlabeled: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Two views (M, 3, H, W) and the pixels that both show (M, H, W)."""
        strong, valid = unlabeled["strong"], unlabeled["strong_valid"]
        if self.hparams["views"] == "two_strong":
            return strong[:, 0], strong[:, 1], valid[:, 0] & valid[:, 1]
        return unlabeled["weak"], strong[:, 0], unlabeled["valid"] & valid[:, 0]
