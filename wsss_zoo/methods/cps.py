"""CPS: two networks label each other's unlabelled images."""

from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.functional import cps_loss, cutmix, draw_cutmix_masks
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.losses import supervised_loss
from wsss_zoo.methods.optimizer import Optimizer
from wsss_zoo.methods.ranks import part_of_mean
from wsss_zoo.methods.semi import (
    Weights,
    check_options,
    evaluated_network,
    gate,
    hard_labels,
    keep_average,
    log_pseudo_labels,
)
from wsss_zoo.modules import Architecture, Segmenter, load_network_weights


class CPS(BaseMethod):
    """Two networks, differently initialised, label unlabelled images for each other.

    L = L_x of both networks + unlabeled_weight * `cps_loss`; the first network is evaluated.

    Without ``cutmix`` the labelled and unlabelled crops teach, in one batch per network, each
    network the other's arg-max on all of them. With it, unlabelled crops are mixed with the next
    one of the batch by a mask of three boxes; the labels come from a pass over the unmixed crops,
    without gradients but in train mode (its BatchNorm statistics count), and labelled and mixed
    crops share a batch.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        architecture: "deeplabv3plus" or "largefov".
        weights: Weights of both backbones: null, "imagenet" (timm downloads them) or the path of a
            file. The heads start differently.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbones.
        cutmix: Train on mixed unlabelled crops.
        unlabeled_weight: Factor on the loss of unlabelled images; the paper's for VOC 2012 is 1.5,
            and 1 with CutMix; for Cityscapes 6 and 5.
        gate_by_tags: Rule out classes that an unlabelled image's tags do not name.
        evaluate: "student" or "average", of the first network.
        ema_decay: Decay of the average in [0, 1).
        loss: L_x: "ce", or "ohem" over the hardest pixels.
        ohem_thresh: Probability of the true class in [0, 1] below which a pixel is hard.
        ohem_min_kept: Number of pixels of a batch to keep at least.
        lr: Learning rate of the backbones.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay of all parameters.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        init_from: Checkpoint of a whole network to start the first network from.
        partner_init_from: Another one, for the second network: from the same weights both would
            give the same labels for ever.

    Raises:
        ValueError: If only one of the two checkpoints is given, or both are the same.

    Chen et al., "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", CVPR 2021
    (charlesCXK/TorchSemiSeg @ 5e0c29c). Each network has its own graph, so that one optimiser over
    both takes the same steps as the two of the released code. There padding counts as background
    would; here it, and what is 255 in a mask, is left out of the cross terms. With BatchNorm in
    train mode, one batch in place of several has other statistics than there; with frozen backbones
    only the decoder's differ.
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
        cutmix: bool = True,
        unlabeled_weight: float = 1.0,
        gate_by_tags: bool = False,
        evaluate: Weights = "student",
        ema_decay: float = 0.99,
        loss: Literal["ce", "ohem"] = "ce",
        ohem_thresh: float = 0.7,
        ohem_min_kept: int = 100_000,
        lr: float = 1e-4,
        head_lr_mult: float = 10.0,
        weight_decay: float = 0.01,
        optimizer: Optimizer = "adamw",
        init_from: str | None = None,
        partner_init_from: str | None = None,
    ) -> None:
        super().__init__()
        check_options(self)
        if (init_from is None) != (partner_init_from is None) or (
            init_from is not None and init_from == partner_init_from
        ):
            raise ValueError(
                f"init_from is {init_from!r} and partner_init_from {partner_init_from!r}: the two "
                "networks must differ; give checkpoints of two runs with different seeds, or none"
            )
        options = (num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn)
        self.network = Segmenter(*options)
        self.partner = Segmenter(*options)
        keep_average(self)
        self.start_from(init_from)
        if partner_init_from is not None:
            # The other run's network becomes the partner here.
            holder = torch.nn.ModuleDict({"network": self.partner})
            load_network_weights(holder, partner_init_from, ("average.", "partner."))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1], of the first network."""
        logits: Tensor = evaluated_network(self)(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """L_x of both networks + unlabeled_weight * cross pseudo supervision."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        step = self._mixed_step if self.hparams["cutmix"] else self._plain_step
        logits1, logits2, cross = step(labeled, unlabeled)
        supervised = supervised_loss(self, logits1, labeled["mask"]) + supervised_loss(
            self, logits2, labeled["mask"]
        )
        loss: Tensor = supervised + self.hparams["unlabeled_weight"] * cross
        self.log_dict(
            {
                "train/loss": loss.detach(),
                "train/loss_labeled": supervised.detach(),
                "train/loss_unlabeled": cross.detach(),
            }
        )
        return loss

    def _plain_step(
        self, labeled: dict[str, Any], unlabeled: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        image = torch.cat([labeled["image"], unlabeled["weak"]])
        valid = torch.cat([labeled["mask"] != 255, unlabeled["valid"]])
        size = len(labeled["image"])
        all_logits = [self.network(image), self.partner(image)]
        labels = []
        for logits in all_logits:
            gated = gate(self, logits[size:].detach(), unlabeled)
            labels.append(torch.cat([logits[:size].detach().argmax(1), gated.argmax(1)]))
        self._log_labels(unlabeled, all_logits[0][size:])
        cross = cps_loss(all_logits[0], all_logits[1], labels[0], labels[1], valid)
        cross = part_of_mean(cross, valid.sum())
        return all_logits[0][:size], all_logits[1][:size], cross

    def _mixed_step(
        self, labeled: dict[str, Any], unlabeled: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        weak, size = unlabeled["weak"], len(labeled["image"])
        region = draw_cutmix_masks(len(weak), weak.shape[-2:], device=weak.device)
        mixed, valid = (
            cutmix(value, value.roll(1, 0), region) for value in (weak, unlabeled["valid"])
        )
        image = torch.cat([labeled["image"], mixed])
        all_logits, labels = [], []
        for place, network in enumerate((self.network, self.partner)):
            with torch.no_grad():
                unmixed = network(weak)
            if place == 0:
                self._log_labels(unlabeled, unmixed)
            label = gate(self, unmixed, unlabeled).argmax(1)
            labels.append(cutmix(label, label.roll(1, 0), region))
            all_logits.append(network(image))
        cross = cps_loss(all_logits[0][size:], all_logits[1][size:], labels[0], labels[1], valid)
        cross = part_of_mean(cross, valid.sum())
        return all_logits[0][:size], all_logits[1][:size], cross

    def _log_labels(self, unlabeled: dict[str, Any], logits: Tensor) -> None:
        """Log how good the first network's labels are; each of them is used."""
        label, _ = hard_labels(gate(self, logits, unlabeled))
        log_pseudo_labels(self, unlabeled, label, torch.ones_like(unlabeled["valid"]))
