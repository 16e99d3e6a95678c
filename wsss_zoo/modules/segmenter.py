"""Segmentation networks on any backbone, with one of five decoders."""

from typing import Literal, get_args

import torch.nn.functional as F
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from wsss_zoo.modules.backbones.backbone import Backbone
from wsss_zoo.modules.decoders.batch_norm import accept_single_values
from wsss_zoo.modules.decoders.dpt import DPT
from wsss_zoo.modules.decoders.linear_head import LinearHead

Architecture = Literal["deeplabv3plus", "largefov", "unet", "dpt", "linear"]
_UNET_CHANNELS = (256, 128, 64, 32, 16)


class Segmenter(nn.Module):
    """Segmentation network: backbone, decoder and 1x1 class layer; logits at the image's size.

    Methods that work on intermediate results, for example to perturb features, use `features`,
    `decode` and the attributes ``backbone``, ``decoder`` and ``head``.

    Args:
        num_classes: Number of classes C, background included, at least 1.
        backbone: Name of a timm model; see `Backbone`. It must fit the decoder.
        architecture: "deeplabv3plus" (Chen et al., ECCV 2018; decoder of
            segmentation_models_pytorch), "largefov" (Chen et al., TPAMI 2018; see `LargeFOV`),
            "unet" (Ronneberger et al., MICCAI 2015; see `UNet`), "dpt" (Ranftl et al., ICCV 2021;
            see `DPT`) or "linear" (see `LinearHead`). Plain ViTs take the last two and "largefov".
        weights: Weights of the backbone: None, "imagenet" or a path.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the backbone's running BatchNorm statistics in training.

    Differences from segmentation_models_pytorch's DeepLabV3Plus: images of any size are padded, and
    the last upsampling has align_corners=False.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        architecture: Architecture = "deeplabv3plus",
        weights: str | None = None,
        output_stride: int = 16,
        freeze_backbone_bn: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; count the classes with background")
        self.backbone = Backbone(backbone, weights, output_stride, freeze_backbone_bn)
        self.decoder = _make_decoder(architecture, self.backbone)
        self.head = nn.Conv2d(self.decoder.out_channels, num_classes, kernel_size=1)

    def features(self, image: Tensor) -> list[Tensor]:
        """Extract the backbone's feature maps of an image (N, 3, H, W) in [0, 1]."""
        features: list[Tensor] = self.backbone(image)
        return features

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Compute logits (N, C, H, W) of an image of `size` = (H, W) from its feature maps."""
        return self.upsample(self.head(self.decoder(features)), size)

    def upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge logits of the decoder's stride to an image of `size` = (H, W)."""
        stride = self.backbone.strides[-1]
        # Not -(-side // stride): ONNX rounds quotients of integers towards zero.
        padded = [(side + stride - 1) // stride * stride for side in size]
        logits = F.interpolate(logits, size=padded, mode="bilinear", align_corners=False)
        return logits[..., : size[0], : size[1]]

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1]."""
        return self.decode(self.features(image), (image.shape[-2], image.shape[-1]))


def _make_decoder(
    architecture: Architecture, backbone: Backbone
) -> "DeepLabV3Plus | LargeFOV | UNet | DPT | LinearHead":
    if architecture == "deeplabv3plus":
        return DeepLabV3Plus(backbone)
    if architecture == "largefov":
        return LargeFOV(backbone.channels[-1])
    if architecture == "unet":
        return UNet(backbone)
    if architecture == "dpt":
        return DPT(backbone)
    if architecture == "linear":
        return LinearHead(backbone)
    *names, last = map(repr, get_args(Architecture))
    raise ValueError(f"architecture is {architecture!r}; give {', '.join(names)} or {last}")


def _refuse_plain(backbone: Backbone, decoder: str) -> None:
    if backbone.plain:
        raise ValueError(
            f"{decoder} needs maps of growing stride, but all maps of {backbone.name} lie on the "
            "grid of its patches; take architecture 'dpt' or 'linear'"
        )


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ decoder: atrous spatial pyramid on the last map, fused with the map of stride 4.

    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018; the decoder of segmentation_models_pytorch. That decoder raises on a
    training batch whose pooled branch has one value per channel. In this implementation its
    BatchNorm then uses the running statistics.

    Args:
        backbone: The backbone, with a feature map of stride 4, and output stride 8 or 16.
        out_channels: Channels of the result.
    """

    def __init__(self, backbone: Backbone, out_channels: int = 256) -> None:
        super().__init__()
        _refuse_plain(backbone, "DeepLabV3+")
        self.out_channels = out_channels
        stride = backbone.strides[-1]
        if stride not in (8, 16) or 4 not in backbone.strides:
            raise ValueError(
                "DeepLabV3+ needs feature maps of stride 4 and of output stride 8 or 16; "
                f"{backbone.name} has strides {backbone.strides}: set output_stride to 16, if it "
                "can dilate, or take architecture 'dpt', 'unet' or 'largefov'"
            )
        self._shallow = backbone.strides.index(4)
        #: Indices of the used feature maps.
        self.inputs = (self._shallow, len(backbone.strides) - 1)
        # The decoder reads indices 2 and -1 only.
        channels = [0, 0, backbone.channels[self._shallow], backbone.channels[-1]]
        self.layers = DeepLabV3PlusDecoder(
            encoder_channels=channels,
            encoder_depth=5,
            out_channels=out_channels,
            atrous_rates=(12, 24, 36),
            output_stride=stride,
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        accept_single_values(self.layers)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decode feature maps, shallow to deep, into one map (N, out_channels, H/4, W/4)."""
        shallow, deep = features[self._shallow], features[-1]
        decoded: Tensor = self.layers([shallow, shallow, shallow, deep])
        return decoded


class LargeFOV(nn.Module):
    """DeepLab's large field of view: a strongly dilated 3x3 and a 1x1 convolution with ReLU.

    Chen et al., "DeepLab", TPAMI 2018, in the usual form of weakly supervised work (MCIS, ECCV
    2020): dilation 12, no bias, no dropout. The paper's output stride is 8.

    Args:
        in_channels: Channels of the last feature map.
        out_channels: Channels of both layers.
        dilation: Dilation of the 3x3 convolution, in cells of the feature map.
    """

    #: Indices of the used feature maps.
    inputs = (-1,)

    def __init__(self, in_channels: int, out_channels: int = 1024, dilation: int = 12) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, 1, dilation, dilation, bias=False),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.ReLU(),
        )
        self.out_channels = out_channels

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decode the last of the feature maps into one map (N, out_channels, h, w)."""
        decoded: Tensor = self.layers(features[-1])
        return decoded


class UNet(nn.Module):
    """U-Net decoder with one block per feature map.

    A block upsamples, concatenates the next shallower map and applies two 3x3 convolutions. The
    last block has the size of the padded image. Ronneberger et al., "U-Net", MICCAI 2015; the
    blocks of segmentation_models_pytorch.

    Args:
        backbone: The backbone of the feature maps.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        _refuse_plain(backbone, "U-Net")
        count = len(backbone.channels)
        self._first_stride = backbone.strides[0]
        #: Indices of the used feature maps.
        self.inputs = tuple(range(count))
        #: Channels of each block's output, deep to shallow.
        self.channels: tuple[int, ...] = _UNET_CHANNELS[-count:]
        self.out_channels = self.channels[-1]
        self.layers = UnetDecoder(
            # The first entry stands for the image, which is not concatenated.
            encoder_channels=[3, *backbone.channels],
            decoder_channels=list(self.channels),
            n_blocks=count,
        )

    def blocks(self, features: list[Tensor]) -> list[Tensor]:
        """Compute each block's output, of `channels` channels, from feature maps."""
        height, width = (self._first_stride * side for side in features[0].shape[-2:])
        skips = [*features[-2::-1], None]
        sizes = [*(tuple(skip.shape[-2:]) for skip in features[-2::-1]), (height, width)]
        outputs, current = [], self.layers.center(features[-1])
        for block, skip, size in zip(self.layers.blocks, skips, sizes, strict=True):
            current = block(current, *size, skip_connection=skip)
            outputs.append(current)
        return outputs

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decode feature maps, shallow to deep, into one map (N, out_channels, H, W)."""
        return self.blocks(features)[-1]
