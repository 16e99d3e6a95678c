"""MaskFormer on any backbone: queries that each propose a class and a mask."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from wsss_zoo.functional import semantic_inference
from wsss_zoo.modules.backbone import Backbone
from wsss_zoo.modules.pixel_decoder import PixelDecoder
from wsss_zoo.modules.transformer_decoder import TransformerDecoder

# Those whose weights are not decayed, timm's variants included.
_UNDECAYED = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.Embedding)


class Proposals(NamedTuple):
    """What the L layers of a `MaskTransformer` propose for a batch; h and w are of stride 4."""

    #: Class logits (N, L, Q, K + 1), the last for "no object"; the final layer is last.
    class_logits: Tensor
    #: Mask logits (N, L, Q, h, w).
    mask_logits: Tensor
    #: Pixel embeddings (N, E, h, w); their products with the queries' are the mask logits.
    pixel_embeddings: Tensor


class MaskTransformer(nn.Module):
    """Backbone, pixel decoder, transformer decoder on the last feature map, class and mask heads.

    A query's class logits are linear in it; its mask logits are the products of its embedding (an
    MLP of two hidden layers) with those of the pixels. Both heads are shared by the layers. Images
    of any size are padded as `Backbone` says; the transformer is not told what is padding.

    Args:
        num_classes: Number of classes K, background included if there is one.
        backbone: Name of a timm model with a feature map of stride 4; see `Backbone`.
        weights: Weights of the backbone: None, "imagenet" or a path.
        queries: Number of queries Q.
        channels: Channels E of queries and pixel embeddings, a multiple of 8 and of `heads`.
        decoder_layers: Number of layers of the transformer decoder.
        heads: Number of attention heads.
        feedforward: Hidden channels of the transformer's feed-forward parts.
        dropout: Probability in [0, 1), in the transformer decoder.
        output_stride: Stride of the last feature map in pixels; 32 is the paper's.
        freeze_backbone_bn: Keep the backbone's running BatchNorm statistics in training. The
            paper's code freezes their affine parameters too.

    Raises:
        ValueError: If there is no class, the backbone has no feature map of stride 4 with one after
            it, or an option of the decoders is out of range.

    Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation"
    (MaskFormer), NeurIPS 2021, with its start values; in the form of Chen et al., "Weak-shot
    Semantic Segmentation via Dual Similarity Transfer" (SimFormer), NeurIPS 2022.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        weights: str | None = None,
        queries: int = 100,
        channels: int = 256,
        decoder_layers: int = 6,
        heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
        output_stride: int = 32,
        freeze_backbone_bn: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; give the number of classes")
        self.backbone = Backbone(backbone, weights, output_stride, freeze_backbone_bn)
        self.pixel_decoder = PixelDecoder(self.backbone, channels)
        self.decoder = TransformerDecoder(
            self.backbone.channels[-1],
            *(channels, queries, decoder_layers, heads, feedforward, dropout),
        )
        self.class_head = nn.Linear(channels, num_classes + 1)
        self.mask_head = nn.Sequential(
            *(nn.Linear(channels, channels), nn.ReLU(inplace=True)),
            *(nn.Linear(channels, channels), nn.ReLU(inplace=True)),
            nn.Linear(channels, channels),
        )

    def forward(self, image: Tensor) -> Proposals:
        """Proposals of every layer for images (N, 3, H, W) in [0, 1]; stride 4 of the padded."""
        layers, embeddings = self._decode(image)
        class_logits, mask_logits = self._heads(torch.cat(layers, 1), embeddings)
        shape = (len(image), len(layers), -1)
        return Proposals(
            class_logits.view(*shape, class_logits.shape[-1]),
            mask_logits.view(*shape, *mask_logits.shape[-2:]),
            embeddings,
        )

    def scores(self, image: Tensor) -> Tensor:
        """Scores (N, K, H, W), float32 from 0 to Q, of images (N, 3, H, W) in [0, 1].

        `semantic_inference` of the last layer, whose mask logits are resized bilinearly. No
        probabilities, but their order is that of the classes.
        """
        layers, embeddings = self._decode(image)
        class_logits, mask_logits = self._heads(layers[-1], embeddings)
        height, width = image.shape[-2:]
        masks = _enlarged(mask_logits)[..., :height, :width]
        return semantic_inference(class_logits, masks)

    def log_scores(self, image: Tensor) -> Tensor:
        """Logs of `scores`: logits (N, K, H, W), float32, whose softmax is each class's share."""
        scores = self.scores(image)
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()

    def _decode(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Queries (N, Q, E) of each layer and pixel embeddings (N, E, h, w)."""
        features = self.backbone(image)
        return self.decoder(features[-1]), self.pixel_decoder(features)

    def _heads(self, queries: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of classes (N, M, K + 1) and masks (N, M, h, w) of queries (N, M, E)."""
        masks = self.mask_head(queries) @ embeddings.flatten(2)
        return self.class_head(queries), masks.view(*masks.shape[:2], *embeddings.shape[2:])


def undecayed(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of norm layers and embeddings, which MaskFormer trains without weight decay."""
    return [
        parameter
        for part in module.modules()
        if isinstance(part, _UNDECAYED)
        for parameter in part.parameters(recurse=False)
    ]


def _enlarged(mask_logits: Tensor) -> Tensor:
    """Mask logits (N, Q, h, w) of stride 4 at the size of the padded image, float32."""
    height, width = mask_logits.shape[-2:]
    size = (4 * height, 4 * width)
    return F.interpolate(mask_logits.float(), size, mode="bilinear", align_corners=False)
