"""PseudoSeg's branch: an image classifier on the encoder, with refined Grad-CAMs as logits."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.functional import classifier_grad_cam

# Score of hidden positions: 0 after the softmax, and within the range of half precision.
_HIDDEN = -1e4
_EPS = 1e-3
_DROPOUT = 0.5


class SelfAttentionCAM(nn.Module):
    """Self-attention refinement of Grad-CAMs (SGC), from K class maps to logits of C = K + 1.

    Every position adds the maps of positions with similar features to its own. The background
    scores 2 minus the highest class score. A 1x1 convolution and a batch normalisation with offset,
    without scale, make the logits. Only queries, keys and these two layers are trained; features
    and maps are detached.

    Args:
        in_channels: Number of channels of all feature maps together.
        num_classes: Number of classes C, background included, at least 2.
        dim: Channels of queries and keys.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021, in
    version 2 of the authors' code (googleinterns/wss @ b01acaf). As in that code, the statistics
    are always those of the batch (per rank); none are stored. Difference: the 1x1 convolution is
    initialised with the identity, not randomly, so that the first logits already reflect the maps.
    """

    def __init__(self, in_channels: int, num_classes: int, dim: int = 128) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"num_classes is {num_classes}; maps need background and a class: give at least 2"
            )
        self.query = nn.Conv2d(in_channels, dim, 1, bias=False)
        self.key = nn.Conv2d(in_channels, dim, 1, bias=False)
        self.project = nn.Conv2d(num_classes, num_classes, 1, bias=False)
        nn.init.dirac_(self.project.weight)
        self.offset = nn.Parameter(torch.zeros(num_classes))

    def forward(self, features: Sequence[Tensor], cam: Tensor, valid: Tensor) -> Tensor:
        """Compute logits (N, C, h, w), float32.

        Args:
            features: Feature maps to compare, each (N, D, h', w'), resized to the maps' grid.
            cam: Maps in [0, 1], (N, K, h, w).
            valid: False on padding, (N, h, w) bool. Padding is not attended to; its own attention
                is uniform.
        """
        dtype = torch.promote_types(cam.dtype, torch.float32)
        cam, (height, width) = cam.detach().to(dtype), cam.shape[2:]
        resized = [
            F.interpolate(feature, (height, width), mode="bilinear", align_corners=False)
            if feature.shape[2:] != cam.shape[2:]
            else feature
            for feature in features
        ]
        compared = torch.cat(resized, 1).detach()
        query, key = self.query(compared), self.key(compared)
        # Half precision is too coarse for the softmax over positions and for the statistics.
        with torch.autocast(cam.device.type, enabled=False):
            attention = _attention(query.to(dtype), key.to(dtype), valid.flatten(1))
            values = cam.flatten(2)
            scores = (values @ attention.transpose(1, 2) + values).view_as(cam)
            background = 2 - scores.amax(1, keepdim=True)
            logits = self.project(torch.cat([background, scores], 1))
            var, mean = torch.var_mean(logits, (0, 2, 3), correction=0, keepdim=True)
            normal: Tensor = (logits - mean) * (var + _EPS).rsqrt() + self.offset[:, None, None]
            return normal


def _attention(query: Tensor, key: Tensor, valid: Tensor) -> Tensor:
    """Compute each position's attention to the others, (N, P, P); rows sum to 1."""
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2) / math.sqrt(query.shape[1])
    seen = valid[:, :, None] & valid[:, None, :]
    return scores.masked_fill(~seen, _HIDDEN).softmax(-1)


class GradCAMBranch(nn.Module):
    """Classifier with global average pooling and dropout 0.5, and its refined Grad-CAMs.

    Args:
        channels: Channels of the encoder's feature maps, shallow to deep. The last map is
            classified; `SelfAttentionCAM` compares positions by the last two.
        num_classes: Number of classes C, background included, at least 2.
        dim: Channels of queries and keys.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, dim: int = 128) -> None:
        super().__init__()
        self.refinement = SelfAttentionCAM(sum(channels[-2:]), num_classes, dim)
        self.classifier = nn.Linear(channels[-1], num_classes - 1)

    def draw_dropout(self, features: Sequence[Tensor]) -> Tensor:
        """Sample dropout factors for each image's pooled channels, (N, D); all 1 in eval mode."""
        last = features[-1]
        return F.dropout(torch.ones(last.shape[:2], device=last.device), _DROPOUT, self.training)

    def scores(self, features: Sequence[Tensor], dropout: Tensor | None = None) -> Tensor:
        """Compute class scores before the sigmoid, (N, K), without dropout by default."""
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
        """Compute logits (N, C, h, w), float32, on the grid of the last feature map.

        Args:
            features: The encoder's feature maps, detached.
            image_labels: Tags that select the maps, (N, K).
            valid: False on padding, (N, H, W) bool; each cell takes its first pixel.
            dropout: Factors from `draw_dropout` that the scores were computed with.
        """
        weight, last = self.classifier.weight.detach(), features[-1].detach()
        if dropout is not None:
            weight = weight * dropout[:, None]
        cam = classifier_grad_cam(last, weight, image_labels)
        stride = valid.shape[-1] // cam.shape[-1]
        logits: Tensor = self.refinement(features[-2:], cam, valid[:, ::stride, ::stride])
        return logits
