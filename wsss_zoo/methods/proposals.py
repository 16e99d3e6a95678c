"""What the methods with a mask transformer share."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.optimizer import Optimizer, split_undecayed
from wsss_zoo.methods.options import check_not_negative
from wsss_zoo.modules import MaskTransformer, undecayed


class ProposalMethod(BaseMethod, ABC):
    """A mask transformer, the weights of its losses, its optimiser and its start weights.

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
        mask_weight: Weight of the focal loss of masks.
        dice_weight: Weight of their dice loss.
        grad_clip: Largest norm of the gradient, unless the trainer has its own; 0 for none.
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay; norm layers and embeddings have none.
        optimizer: "sgd" (momentum 0.9), "nesterov" (the same with Nesterov's momentum), "adam" or
            "adamw".
        init_from: Checkpoint of a whole network to start from, of MaskFormer or SimFormer; parts
            besides the mask transformer may be missing.

    Raises:
        ValueError: If a weight is negative.
    """

    core = "model."

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
        check_not_negative(
            no_object_weight=no_object_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            grad_clip=grad_clip,
        )
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

    @abstractmethod
    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of a batch, a scalar."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbone and the rest, as for every method; norm layers and embeddings apart."""
        return split_undecayed(super().parameter_groups(), undecayed(self))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, else the norm of all gradients to ``grad_clip``."""
        if gradient_clip_val is None:
            gradient_clip_val, gradient_clip_algorithm = self.hparams["grad_clip"], "norm"
        self.clip_gradients(
            optimizer,
            gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm or "norm",
        )
