"""UniMatch V2: two strong views with complementary channels, labelled by a running average."""

from typing import Any

import torch
from torch import Tensor

from wsss_zoo.contract import SemiBatch
from wsss_zoo.functional import complementary_dropout, draw_complementary_factors
from wsss_zoo.methods.options import check_shares
from wsss_zoo.methods.semi.base import Source
from wsss_zoo.methods.semi.fixmatch import FixMatch
from wsss_zoo.modules import Architecture, WeightAverage


class UniMatchV2(FixMatch):
    """UniMatch for pretrained ViTs: one pass, two strong views that share out the channels.

    L = (L_x + unlabeled_weight (L_1 + L_2) / 2) / 2.

    L_1 and L_2 are `FixMatch`'s loss on two strong views, each mixed by boxes of its own. A running
    average of the weights, in eval mode, labels the weak views. Each channel of the maps that the
    decoder reads is dropped in one of the two views and doubled in the other; a share of the pairs
    keeps all. The maps of a plain ViT share what is dropped; each map of a pyramid has its own.
    Labelled and strong images are one batch. Every backbone fits; the defaults are those of DINOv2,
    whose rates are too low for a network that is not pretrained.

    Args:
        architecture: Decoder: "dpt", "linear" or "largefov"; of backbones that are no plain ViTs
            "deeplabv3plus" or "unet" too.
        output_stride: Stride of the last feature map in pixels; that of the patches for plain ViTs.
        intact_share: Share of the pairs of views that keep all channels, in [0, 1].

    Yang, Zhao, Zhao, "UniMatch V2: Pushing the Limit of Semi-Supervised Semantic Segmentation",
    arXiv 2410.10777 (LiheYoung/UniMatch-V2 @ f6afb4d). The data module needs ``strong_views: 2``.
    Differences from the authors' code:

    * Boxes are filled from the next image of the batch, not from the reversed batch; see `FixMatch`
      for batches without a confident pixel.
    * Labelled and strong images share a pass. Nothing differs where no layer depends on the batch:
      a ViT with DPT, frozen BatchNorm.
    * The average counts steps from 1, and copies integer buffers. The authors' code truncates them.
    * Position embeddings are resampled by timm, with antialiasing; equal at 518 pixels.
    * That the maps of a pyramid share their intact pairs is our reading.
    """

    needed_views = 2
    fixed_options = ("labels_from",)

    def __init__(
        self,
        num_classes: int,
        backbone: str = "vit_small_patch14_dinov2",
        architecture: Architecture = "dpt",
        output_stride: int = 14,
        intact_share: float = 0.5,
        evaluate: Source = "average",
        ema_decay: float = 0.996,
        lr: float = 5e-6,
        head_lr_mult: float = 40.0,
        **shared: Any,
    ) -> None:
        check_shares(intact_share=intact_share)
        super().__init__(
            num_classes,
            backbone,
            architecture=architecture,
            output_stride=output_stride,
            evaluate=evaluate,
            ema_decay=ema_decay,
            lr=lr,
            head_lr_mult=head_lr_mult,
            labels_from="average",
            **shared,
        )

    def make_average(self) -> WeightAverage:
        """Make the running average, which labels."""
        return WeightAverage(self.network, self.hparams["ema_decay"])

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count two images: labelled and strong ones share a pass."""
        return 2, "batch_size"

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute (L_x + unlabeled_weight (L_1 + L_2) / 2) / 2."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        assert self.average is not None
        label, confidence = self.pseudo_label(self.average(unlabeled["weak"]), unlabeled)
        self.log_pseudo_labels(unlabeled, label, confidence >= self.hparams["conf_thresh"])
        mixed = [self.mix_views(unlabeled["strong"][:, view]) for view in range(2)]
        image, count = labeled["image"], len(labeled["image"])
        features = self.network.features(torch.cat([image, *(view for view, _ in mixed)]))
        size = (image.shape[-2], image.shape[-1])
        logits = self.network.decode(self._share_channels(features, count), size)
        first, second = (
            self.unlabeled_loss(
                strong, label, confidence, unlabeled["strong_valid"][:, view], mixed[view][1]
            )
            for view, strong in enumerate(logits[count:].chunk(2))
        )
        loss_x = self.supervised_loss(logits[:count], labeled["mask"])
        return self.total_loss(loss_x, (first + second) / 2)

    def _share_channels(self, features: list[Tensor], count: int) -> list[Tensor]:
        """Drop channels of the strong views, which follow `count` labelled images."""
        places = [index % len(features) for index in self.network.decoder.inputs]
        widths = [features[place].shape[1] for place in places]
        plain = self.network.backbone.plain
        pairs, device = (len(features[0]) - count) // 2, features[0].device
        # One draw over all channels has the same intact pairs in every map.
        width = widths[0] if plain else sum(widths)
        drawn = draw_complementary_factors(pairs, width, self.hparams["intact_share"], device)
        factors = [drawn] * len(places) if plain else torch.split(drawn, widths, 1)
        shared = list(features)
        for place, own in zip(places, factors, strict=True):
            whole = torch.cat([own.new_ones(count, own.shape[1]), own])
            shared[place] = complementary_dropout(features[place], whole)
        return shared
