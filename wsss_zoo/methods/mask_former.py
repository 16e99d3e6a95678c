"""MaskFormer: a mask transformer trained on masks, true or pseudo."""

from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import class_targets
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.optimizer import Optimizer, clip_gradients, split_undecayed
from wsss_zoo.methods.proposal_losses import (
    check_weights,
    class_loss,
    mask_losses,
    match_layers,
    padded,
)
from wsss_zoo.modules import MaskTransformer, undecayed


class MaskFormer(BaseMethod):
    """A mask transformer trained on masks or ``pseudo_label_dir``.

    The upper bound and the second stage of weak-shot segmentation, and a segmenter like any other.

    In every layer of the transformer, queries matched with the classes of the crop learn class and
    mask (20 focal + dice), the others "no object". Pixels of 255 belong to no class's mask.

    Args:
        num_classes: Number of classes K, background included.
        backbone: Name of a timm model with a feature map of stride 4.
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels; the paper's is 32.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        queries: Number of proposals.
        channels: Channels of queries and pixel embeddings, a multiple of 8.
        decoder_layers: Layers of the transformer decoder; each is trained.
        feedforward: Hidden channels of its feed-forward parts.
        no_object_weight: Weight of "no object" in the cross-entropy.
        mask_weight: Weight of the focal loss.
        dice_weight: Weight of the dice loss.
        grad_clip: Largest norm of the gradient, unless the trainer has its own.
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay; norm layers and embeddings have none.
        optimizer: "adamw", or another of `Supervised`'s.
        init_from: Checkpoint of a whole network to start from, SimFormer's too.

    Raises:
        ValueError: If a weight is negative.

    Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic
    Segmentation", NeurIPS 2021, with the loss weights and the clipping of Chen et al. (SimFormer),
    NeurIPS 2022.
    """

    supervision = "mask"
    fresh_heads = ("sim_net.", "pair_queue")

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        weights: str | None = None,
        output_stride: int = 32,
        freeze_backbone_bn: bool = False,
        queries: int = 100,
        channels: int = 256,
        decoder_layers: int = 6,
        feedforward: int = 2048,
        no_object_weight: float = 0.1,
        mask_weight: float = 20.0,
        dice_weight: float = 1.0,
        grad_clip: float = 0.01,
        lr: float = 1e-5,
        head_lr_mult: float = 10.0,
        weight_decay: float = 1e-4,
        optimizer: Optimizer = "adamw",
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        check_weights(self.hparams)
        self.model = MaskTransformer(
            num_classes,
            backbone,
            weights,
            queries,
            channels,
            decoder_layers,
            feedforward=feedforward,
            output_stride=output_stride,
            freeze_backbone_bn=freeze_backbone_bn,
        )
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, H, W) of an image (N, 3, H, W) in [0, 1]: logs of the classes' scores."""
        return self.model.log_scores(image)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Class and mask losses of all layers."""
        proposals = self.model(batch["image"])
        mask = padded(batch["mask"], proposals, 255)
        targets = class_targets(mask, self.hparams["num_classes"])
        matches = match_layers(proposals, mask, targets)
        of_class = class_loss(proposals.class_logits, matches, self.hparams["no_object_weight"])
        focal, dice = mask_losses(proposals.mask_logits, matches, mask, targets)
        loss: Tensor = (
            of_class + self.hparams["mask_weight"] * focal + self.hparams["dice_weight"] * dice
        )
        self.log_dict(
            {
                "train/loss": loss.detach(),
                "train/loss_class": of_class.detach(),
                "train/loss_mask": focal.detach(),
                "train/loss_dice": dice.detach(),
            }
        )
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbone and the rest, as for every method; norm layers and embeddings apart."""
        return split_undecayed(super().parameter_groups(), undecayed(self))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm to ``grad_clip`` where the trainer has no value of its own."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)
