"""MaskFormer on any backbone: queries that each propose a class and a mask."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from wsss_zoo.functional import semantic_inference
from wsss_zoo.modules.backbones.backbone import Backbone
from wsss_zoo.modules.decoders.simple_pyramid import SimplePyramid
from wsss_zoo.modules.pixel_decoder import PixelDecoder
from wsss_zoo.modules.transformer_decoder import TransformerDecoder

# Layers without weight decay, including timm's variants.
_UNDECAYED = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.Embedding)


class Proposals(NamedTuple):
    """Proposals of a `MaskTransformer`'s L layers for a batch, with h and w at its `stride`."""

    #: Class logits (N, L, Q, K + 1), the last for "no object"; the final layer is last.
    class_logits: Tensor
    #: Mask logits (N, L, Q, h, w).
    mask_logits: Tensor
    #: Pixel embeddings (N, E, h, w); the mask logits are their products with the queries'.
    pixel_embeddings: Tensor


class MaskTransformer(nn.Module):
    """MaskFormer: backbone, pixel decoder, transformer decoder, and heads for classes and masks.

    The transformer decoder reads the last feature map. Class logits are linear in a query. Mask
    logits are the products of the query's embedding (an MLP of two hidden layers) with those of the
    pixels. All layers share both heads. Images of any size are padded as in `Backbone`; the
    transformer does not know the padding.

    Args:
        num_classes: Number of classes K >= 1, background included if there is one.
        backbone: Name of a timm model with feature maps of stride 4 and deeper, or of a plain ViT,
            whose pyramid is a `SimplePyramid`; see `Backbone`.
        weights: Weights of the backbone: None, "imagenet" or a path.
        queries: Number of queries Q, at least 1.
        channels: Channels E of queries and pixel embeddings, a multiple of 8 and of `heads`.
        decoder_layers: Number of layers of the transformer decoder, at least 1.
        heads: Number of attention heads, at least 1.
        feedforward: Hidden channels of the transformer's feed-forward parts, at least 1.
        dropout: Probability in [0, 1), in the transformer decoder.
        output_stride: Stride of the last feature map in pixels; 32 is the paper's.
        freeze_backbone_bn: Keep the backbone's running BatchNorm statistics in training. The
            authors' code freezes their affine parameters too.

    Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation"
    (MaskFormer), NeurIPS 2021, with its initial values; in the form of Chen et al., "Weak-shot
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
        #: Feature pyramid of a plain ViT; None for backbones with one of their own.
        self.pyramid = SimplePyramid(self.backbone) if self.backbone.plain else None
        #: Side of a cell of the masks in pixels: 4, and for plain ViTs a quarter of a patch.
        self.stride: float = self.backbone.strides[-1] / 4 if self.backbone.plain else 4
        self.pixel_decoder = PixelDecoder(self.pyramid or self.backbone, channels)
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
        """Compute every layer's proposals for images (N, 3, H, W) in [0, 1]."""
        layers, embeddings = self._decode(image)
        class_logits, mask_logits = self._heads(torch.cat(layers, 1), embeddings)
        shape = (len(image), len(layers), -1)
        return Proposals(
            class_logits.view(*shape, class_logits.shape[-1]),
            mask_logits.view(*shape, *mask_logits.shape[-2:]),
            embeddings,
        )

    def scores(self, image: Tensor) -> Tensor:
        """Compute scores (N, K, H, W), float32 from 0 to Q, of images (N, 3, H, W) in [0, 1].

        Runs `semantic_inference` on the last layer with bilinearly resized mask logits. Scores rank
        the classes but are no probabilities.
        """
        layers, embeddings = self._decode(image)
        class_logits, mask_logits = self._heads(layers[-1], embeddings)
        height, width = image.shape[-2:]
        stride = self.backbone.strides[-1]
        padded = [(side + stride - 1) // stride * stride for side in (height, width)]
        masks = F.interpolate(mask_logits.float(), padded, mode="bilinear", align_corners=False)
        return semantic_inference(class_logits, masks[..., :height, :width])

    def log_scores(self, image: Tensor) -> Tensor:
        """Compute logs of `scores`: logits (N, K, H, W), float32, with softmax as class shares."""
        scores = self.scores(image)
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()

    def _decode(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute each layer's queries (N, Q, E) and the pixel embeddings (N, E, h, w)."""
        features = self.backbone(image)
        maps = features if self.pyramid is None else self.pyramid(features)
        return self.decoder(features[-1]), self.pixel_decoder(maps)

    def _heads(self, queries: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits of classes (N, M, K + 1) and masks (N, M, h, w) from queries (N, M, E)."""
        masks = self.mask_head(queries) @ embeddings.flatten(2)
        return self.class_head(queries), masks.view(*masks.shape[:2], *embeddings.shape[2:])


def undecayed(module: nn.Module) -> list[nn.Parameter]:
    """List the parameters of norm layers and embeddings, which have no weight decay."""
    return [
        parameter
        for part in module.modules()
        if isinstance(part, _UNDECAYED)
        for parameter in part.parameters(recurse=False)
    ]
