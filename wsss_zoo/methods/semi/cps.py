"""CPS: two networks label each other's unlabelled images."""

from typing import Any

import torch
from torch import Tensor

from wsss_zoo.contract import MaskBatch, SemiBatch, UnlabeledBatch
from wsss_zoo.functional import cps_loss, cutmix, draw_cutmix_masks
from wsss_zoo.methods.options import check_not_negative
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import SemiMethod
from wsss_zoo.modules import load_network_weights


class CPS(SemiMethod):
    """Two networks, differently initialised, label unlabelled images for each other.

    L = L_x of both networks + unlabeled_weight * `cps_loss`. The first network is evaluated and
    averaged. Both backbones start from ``weights``; the heads differ.

    Without ``cutmix`` each network learns the other's arg-max on all labelled and unlabelled crops,
    in one batch. With it, unlabelled crops are mixed with the next one of the batch by a mask of
    three boxes. Their labels come from a pass over the unmixed crops, without gradients but in
    train mode (its BatchNorm statistics count). Labelled and mixed crops share a batch.

    Args:
        cutmix: Train on mixed unlabelled crops.
        unlabeled_weight: Factor on the loss of unlabelled images; the paper's for VOC 2012 is 1.5,
            and 1 with CutMix; for Cityscapes 6 and 5.
        partner_init_from: Checkpoint for the second network, where ``init_from`` is one for the
            first. They must differ: from the same weights both would always give the same labels.

    Raises:
        ValueError: If only one of the two checkpoints is given, or both are the same.

    Chen et al., "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", CVPR 2021
    (charlesCXK/TorchSemiSeg @ 5e0c29c). Differences from the authors' code:

    * One optimiser has the parameters of both networks. It takes the same steps as the authors'
      two, because each network has its own graph.
    * Padding and pixels of 255 are left out of the cross terms. In the authors' code they count as
      background would.
    * Crops share one batch, so BatchNorm in train mode has other statistics. With frozen backbones
      only the decoder's differ.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        cutmix: bool = True,
        unlabeled_weight: float = 1.0,
        partner_init_from: str | None = None,
        **shared: Any,
    ) -> None:
        check_not_negative(unlabeled_weight=unlabeled_weight)
        super().__init__(num_classes, backbone, **shared)
        init_from = self.hparams["init_from"]
        if (init_from is None) != (partner_init_from is None) or (
            init_from is not None and init_from == partner_init_from
        ):
            raise ValueError(
                f"init_from is {init_from!r} and partner_init_from {partner_init_from!r}: the two "
                "networks must differ; give checkpoints of two runs with different seeds, or none"
            )
        self.partner = self.make_network()
        if partner_init_from is not None:
            # The other run's network becomes the partner here.
            holder = torch.nn.ModuleDict({"network": self.partner})
            load_network_weights(holder, partner_init_from, self.core)

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute L_x of both networks + unlabeled_weight * cross pseudo supervision."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        mask = labeled["mask"]
        step = self._mixed_step if self.hparams["cutmix"] else self._plain_step
        first, second, cross = step(labeled, unlabeled)
        supervised = self.supervised_loss(first, mask) + self.supervised_loss(second, mask)
        loss: Tensor = supervised + self.hparams["unlabeled_weight"] * cross
        self.log_losses(loss, supervised, cross)
        return loss

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the unlabelled images, which are labelled on their own before CutMix."""
        if not self.hparams["cutmix"]:
            return super().smallest_pass(data)
        return int(getattr(data, "unlabeled_batch_size", 2)), "unlabeled_batch_size"

    def _plain_step(
        self, labeled: MaskBatch, unlabeled: UnlabeledBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        image, size = torch.cat([labeled["image"], unlabeled["weak"]]), len(labeled["image"])
        valid = torch.cat([labeled["mask"] != 255, unlabeled["valid"]])
        all_logits = [self.network(image), self.partner(image)]
        labels = []
        for logits in all_logits:
            gated = self.mask_absent_classes(logits[size:].detach(), unlabeled)
            labels.append(torch.cat([logits[:size].detach().argmax(1), gated.argmax(1)]))
        self.log_pseudo_labels(unlabeled, self.pseudo_label(all_logits[0][size:], unlabeled)[0])
        cross = cps_loss(all_logits[0], all_logits[1], labels[0], labels[1], valid)
        cross = share_of_global_mean(cross, valid.sum())
        return all_logits[0][:size], all_logits[1][:size], cross

    def _mixed_step(
        self, labeled: MaskBatch, unlabeled: UnlabeledBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        weak, size = unlabeled["weak"], len(labeled["image"])
        height, width = weak.shape[-2:]
        region = draw_cutmix_masks(len(weak), (height, width), device=weak.device)
        mixed, valid = (
            cutmix(value, value.roll(1, 0), region) for value in (weak, unlabeled["valid"])
        )
        image = torch.cat([labeled["image"], mixed])
        all_logits, labels = [], []
        for place, network in enumerate((self.network, self.partner)):
            with torch.no_grad():
                unmixed = network(weak)
            if place == 0:
                self.log_pseudo_labels(unlabeled, self.pseudo_label(unmixed, unlabeled)[0])
            label = self.mask_absent_classes(unmixed, unlabeled).argmax(1)
            labels.append(cutmix(label, label.roll(1, 0), region))
            all_logits.append(network(image))
        cross = cps_loss(all_logits[0][size:], all_logits[1][size:], labels[0], labels[1], valid)
        cross = share_of_global_mean(cross, valid.sum())
        return all_logits[0][:size], all_logits[1][:size], cross
