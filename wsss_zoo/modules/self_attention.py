"""Class activation maps spread over look-alike positions by self-attention."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Attention to hidden positions: 0 after the softmax, and within the range of half precision.
_HIDDEN = -1e4
_EPS = 1e-3


class SelfAttentionCAM(nn.Module):
    """Self-attention refinement of Grad-CAMs (SGC): from maps of K classes to logits of C = K + 1.

    Every position gathers the maps of the positions whose features are alike, and adds its own; the
    background's score is 2 less the highest class's. A 1x1 convolution and a batch normalisation
    with offset, without scale, make logits of that. Only queries, keys and these two are trained:
    features and maps are taken as they are.

    Args:
        in_channels: Channels of all feature maps together.
        num_classes: Number of classes C, background included.
        dim: Channels of queries and keys.

    Raises:
        ValueError: If the background is the only class.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021, in
    version 2 of the released code (googleinterns/wss @ b01acaf). There too the statistics are
    always the batch's (of one rank), so there are no running ones. Different: the 1x1 convolution
    starts as the identity, not at random, so that the first logits already say what the maps say.
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
        """Logits (N, C, h, w) float32.

        Args:
            features: Feature maps to compare positions by, each (N, D, h', w'), resized to the
                maps' grid.
            cam: Maps in [0, 1], (N, K, h, w).
            valid: Where there is something to see, (N, h, w) bool. Positions on padding are not
                attended to; their own attention is uniform.
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
    """How much each position looks at each other, (N, P, P); rows sum to 1."""
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2) / math.sqrt(query.shape[1])
    seen = valid[:, :, None] & valid[:, None, :]
    return scores.masked_fill(~seen, _HIDDEN).softmax(-1)
