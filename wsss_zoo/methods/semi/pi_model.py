"""Pi-model: two noisy predictions of the same pixels are made to agree."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.contract import SemiBatch, UnlabeledBatch
from wsss_zoo.functional import masked_squared_error
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import ConsistencyMethod


class PiModel(ConsistencyMethod):
    """Two noisy views of an unlabelled image are made to agree.

    L = L_x + w(t) mean (p(v1) - p(v2))^2, w(t) = unlabeled_weight * `sigmoid_rampup`(t).

    v1 and v2 are two views of one unlabelled crop with the same geometry, each with dropout of its
    own. Gradients flow through both predictions. The mean is over classes and the pixels that are
    padding or CutOut in neither view; without any it is 0. Labelled images and both views share a
    batch, and so the statistics of BatchNorm in train mode.

    Args:
        views: "weak_strong", or "two_strong", for which the data module must draw two strong views.
        detach_first: Let no gradient through the first prediction, as later codes do (TorchSSL,
            USB, CutMix-Seg). The gradient is half as large where both are equally noisy.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 1
    (smlaine2/tempens @ a32743a). Differences from the authors' code:

    * Labelled images take no part in the second term: a batch has one view of them. The authors'
      code passes the whole mini-batch twice.
    * L_x is a mean over labelled pixels. The authors' code divides it by the size of the whole
      batch, and multiplies w with the share of labelled images, which cancels.
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
        self.needed_views = 2 if views == "two_strong" else 1

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute L_x + w(t) mean squared difference of the two predictions."""
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

    def _views(self, unlabeled: UnlabeledBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Two views (M, 3, H, W) and the pixels that both show (M, H, W)."""
        strong, valid = unlabeled["strong"], unlabeled["strong_valid"]
        if self.hparams["views"] == "two_strong":
            return strong[:, 0], strong[:, 1], valid[:, 0] & valid[:, 1]
        return unlabeled["weak"], strong[:, 0], unlabeled["valid"] & valid[:, 0]
