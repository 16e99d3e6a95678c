"""UniMatch: FixMatch with two strong views and a view whose features are perturbed."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.contract import SemiBatch
from wsss_zoo.methods.semi.fixmatch import FixMatch


class UniMatch(FixMatch):
    """FixMatch with two strong views and one of perturbed features; the first to try.

    L = (L_x + unlabeled_weight (L_s1 / 4 + L_s2 / 4 + L_fp / 2)) / 2.

    L_s1 and L_s2 are `FixMatch`'s loss on two strong views, each mixed by boxes of its own. L_fp is
    that of the weak view, decoded from features of which half of the channels are dropped. Labelled
    and weak images are one batch, the strong views a second. With ``labels_from: average`` a
    running average of the weights, in eval mode, gives the labels.

    Args:
        feature_dropout: Share of channels that are dropped, in [0, 1).

    Yang et al., "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation",
    CVPR 2023 (LiheYoung/UniMatch @ 0324f3d). The data module needs ``strong_views: 2``. Differences
    from the authors' code:

    * Boxes are filled from the next image of the batch; see `FixMatch`.
    * The perturbed features of labelled images are not decoded. The authors' code decodes them and
      never uses them.
    """

    needed_views = 2

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        feature_dropout: float = 0.5,
        **shared: Any,
    ) -> None:
        if not 0 <= feature_dropout < 1:
            raise ValueError(f"feature_dropout is {feature_dropout}; give a share in [0, 1)")
        super().__init__(num_classes, backbone, **shared)

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the weak views, whose perturbed features are decoded on their own."""
        if self.hparams["architecture"] == "largefov":  # a decoder without BatchNorm
            return 2, "batch_size"
        return int(getattr(data, "unlabeled_batch_size", 2)), "unlabeled_batch_size"

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute (L_x + unlabeled_weight (L_s1 / 4 + L_s2 / 4 + L_fp / 2)) / 2."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        weak, strong_valid = unlabeled["weak"], unlabeled["strong_valid"]
        logits, weak_logits, perturbed_logits = self._decode_twice(labeled["image"], weak)
        if self.average is not None and self.hparams["labels_from"] == "average":
            weak_logits = self.average(weak)
        label, confidence = self.pseudo_label(weak_logits, unlabeled)
        self.log_pseudo_labels(unlabeled, label, confidence >= self.hparams["conf_thresh"])
        loss_fp = self.unlabeled_loss(perturbed_logits, label, confidence, unlabeled["valid"])
        mixed = [self.mix_views(unlabeled["strong"][:, view]) for view in range(2)]
        strong_logits = self.network(torch.cat([view for view, _ in mixed])).chunk(2)
        first, second = (
            self.unlabeled_loss(strong_logits[view], label, confidence, strong_valid[:, view], box)
            for view, (_, box) in enumerate(mixed)
        )
        loss_u = ((first + second) / 2 + loss_fp) / 2
        return self.total_loss(self.supervised_loss(logits, labeled["mask"]), loss_u)

    def _decode_twice(self, image: Tensor, weak: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of labelled and weak images, and those of the weak ones' perturbed features."""
        size, network = (image.shape[-2], image.shape[-1]), self.network
        features = network.features(torch.cat([image, weak]))
        decoded, count = network.decode(features, size), len(image)
        decoder_inputs = [index % len(features) for index in network.decoder.inputs]
        perturbed = [
            F.dropout2d(level[count:], self.hparams["feature_dropout"])
            if place in decoder_inputs
            else level[count:]
            for place, level in enumerate(features)
        ]
        return decoded[:count], decoded[count:], network.decode(perturbed, size)
