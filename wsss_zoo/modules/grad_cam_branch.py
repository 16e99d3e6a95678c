"""An image classifier on a segmenter's encoder, whose Grad-CAMs give logits of their own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.functional import classifier_grad_cam
from wsss_zoo.modules.self_attention import SelfAttentionCAM

_DROPOUT = 0.5


class GradCAMBranch(nn.Module):
    """Global average pooling, dropout 0.5 and a linear classifier; its Grad-CAMs, refined.

    Args:
        channels: Channels of the encoder's feature maps, shallow to deep; the last is classified,
            the last two are what `SelfAttentionCAM` compares positions by.
        num_classes: Number of classes C, background included.
        dim: Channels of queries and keys.

    Raises:
        ValueError: If the background is the only class.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, dim: int = 128) -> None:
        super().__init__()
        self.refinement = SelfAttentionCAM(sum(channels[-2:]), num_classes, dim)
        self.classifier = nn.Linear(channels[-1], num_classes - 1)

    def draw_dropout(self, features: Sequence[Tensor]) -> Tensor:
        """Factors on the pooled channels of each image, (N, D); all 1 in eval mode."""
        last = features[-1]
        return F.dropout(torch.ones(last.shape[:2], device=last.device), _DROPOUT, self.training)

    def scores(self, features: Sequence[Tensor], dropout: Tensor | None = None) -> Tensor:
        """Class scores before the sigmoid, (N, K); no dropout without factors."""
        last = features[-1]
        pooled = last.to(torch.promote_types(last.dtype, torch.float32)).mean((2, 3))
        scores: Tensor = self.classifier(pooled if dropout is None else pooled * dropout)
        return scores

    def forward(
        self,
        features: Sequence[Tensor],
        image_labels: Tensor,
        valid: Tensor,
        dropout: Tensor | None = None,
    ) -> Tensor:
        """Logits (N, C, h, w) float32 on the grid of the last feature map.

        Args:
            features: The encoder's feature maps; no gradient flows to them.
            image_labels: Tags of the maps to make, (N, K).
            valid: False on padding, (N, H, W) bool; each cell takes its first pixel.
            dropout: Factors of `draw_dropout`, for the Grad-CAMs of the scores that they gave.
        """
        weight, last = self.classifier.weight.detach(), features[-1].detach()
        if dropout is not None:
            weight = weight * dropout[:, None]
        cam = classifier_grad_cam(last, weight, image_labels)
        stride = valid.shape[-1] // cam.shape[-1]
        logits: Tensor = self.refinement(features[-2:], cam, valid[:, ::stride, ::stride])
        return logits
