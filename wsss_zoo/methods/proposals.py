"""What the methods with a mask transformer share."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import ClassTargets
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.optimizer import split_groups
from wsss_zoo.methods.options import check_not_negative
from wsss_zoo.methods.proposal_losses import Matches, class_loss, mask_losses, match_layers
from wsss_zoo.modules import MaskTransformer, Proposals, undecayed


class ProposalMethod(BaseMethod, ABC):
    """A mask transformer and the weights of its losses.

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
        weight_decay: Weight decay; norm layers and embeddings have none.
        init_from: Checkpoint of a whole network to start from, of MaskFormer or SimFormer; parts
            besides the mask transformer may be missing.
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
        weight_decay: float = 1e-4,
        init_from: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, init_from=init_from, **shared)
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
        """Compute the logs of the classes' scores, (N, K, H, W), of an image (N, 3, H, W)."""
        return self.model.log_scores(image)

    @abstractmethod
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss of a batch, a scalar."""

    def layer_losses(
        self, proposals: Proposals, mask: Tensor, targets: ClassTargets
    ) -> tuple[dict[str, Tensor], Matches]:
        """Match the proposals of all layers; compute their class, mask and dice losses."""
        matches = match_layers(proposals, mask, targets)
        of_class = class_loss(proposals.class_logits, matches, self.hparams["no_object_weight"])
        focal, dice = mask_losses(proposals.mask_logits, matches, mask, targets)
        return {"class": of_class, "mask": focal, "dice": dice}, matches

    def total_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Add the class loss and the others, each times its ``<name>_weight``; log all."""
        total = losses["class"]
        for name, value in losses.items():
            if name != "class":
                total = total + self.hparams[f"{name}_weight"] * value
        logged = {f"train/loss_{name}": value.detach() for name, value in losses.items()}
        self.log_dict({"train/loss": total.detach()} | logged)
        return total

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group as every method does, with norm layers and embeddings apart."""
        apart = undecayed(self)
        return split_groups(super().parameter_groups(), apart, "undecayed", weight_decay=0.0)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, else clip the norm of all gradients to ``grad_clip``."""
        if gradient_clip_val is None:
            gradient_clip_val, gradient_clip_algorithm = self.hparams["grad_clip"], "norm"
        self.clip_gradients(
            optimizer,
            gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm or "norm",
        )
