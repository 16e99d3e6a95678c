"""Segmentation networks on any backbone: DeepLabV3+, DeepLab-LargeFOV and U-Net."""

from typing import Literal

import torch.nn.functional as F
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from wsss_zoo.modules.backbone import Backbone
from wsss_zoo.modules.unet import UNet

Architecture = Literal["deeplabv3plus", "largefov", "unet"]


class Segmenter(nn.Module):
    """Backbone, decoder and a 1x1 class layer; logits at the size of the image, whatever it is.

    `features`, `decode` and the attributes ``backbone``, ``decoder`` and ``head`` are for methods
    that reach between them, for example to perturb features.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model; see `Backbone`.
        architecture: "deeplabv3plus" (Chen et al., ECCV 2018; decoder of
            segmentation_models_pytorch), "largefov" (Chen et al., TPAMI 2018; see `LargeFOV`) or
            "unet" (Ronneberger et al., MICCAI 2015; see `UNet`).
        weights: Weights of the backbone: None, "imagenet" or a path.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the backbone's running BatchNorm statistics in training.

    Raises:
        ValueError: If there is no class, or the backbone cannot carry the decoder.

    Unlike segmentation_models_pytorch's own DeepLabV3Plus, which wants sizes that the stride
    divides, the image is padded; and the last upsampling has align_corners=False.
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
            raise ValueError(
                f"num_classes is {num_classes}; give the number of classes with background"
            )
        self.backbone = Backbone(backbone, weights, output_stride, freeze_backbone_bn)
        if architecture == "deeplabv3plus":
            self.decoder: DeepLabV3Plus | LargeFOV | UNet = DeepLabV3Plus(self.backbone)
        elif architecture == "largefov":
            self.decoder = LargeFOV(self.backbone.channels[-1])
        elif architecture == "unet":
            self.decoder = UNet(self.backbone)
        else:
            raise ValueError(
                f"architecture is {architecture!r}; give 'deeplabv3plus', 'largefov' or 'unet'"
            )
        self.head = nn.Conv2d(self.decoder.out_channels, num_classes, kernel_size=1)

    def features(self, image: Tensor) -> list[Tensor]:
        """The backbone's feature maps of an image (N, 3, H, W) in [0, 1], shallow to deep."""
        features: list[Tensor] = self.backbone(image)
        return features

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits (N, C, H, W) of an image of `size` = (H, W), from its feature maps."""
        logits = self.head(self.decoder(features))
        stride = self.backbone.strides[-1]
        # Not -(-side // stride): ONNX rounds quotients of integers towards zero.
        padded = [(side + stride - 1) // stride * stride for side in size]
        logits = F.interpolate(logits, size=padded, mode="bilinear", align_corners=False)
        return logits[..., : size[0], : size[1]]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1]."""
        return self.decode(self.features(image), (image.shape[-2], image.shape[-1]))


class DeepLabV3Plus(nn.Module):
    """Atrous spatial pyramid on the last feature map, fused with the one of stride 4.

    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018; the decoder of segmentation_models_pytorch, in which a training batch
    whose pooled branch has one value per channel raises: here that BatchNorm uses its running
    statistics then.

    Args:
        backbone: The backbone whose feature maps come in.
        out_channels: Channels of the result.

    Raises:
        ValueError: If the backbone has no feature map of stride 4, or its output stride is not 8 or
            16.
    """

    def __init__(self, backbone: Backbone, out_channels: int = 256) -> None:
        super().__init__()
        self.out_channels = out_channels
        stride = backbone.strides[-1]
        if stride not in (8, 16) or 4 not in backbone.strides:
            raise ValueError(
                "DeepLabV3+ needs feature maps of stride 4 and of output stride 8 or 16; "
                f"{backbone.name} has strides {backbone.strides}: set output_stride to 16, or take "
                "architecture 'largefov'"
            )
        self._shallow = backbone.strides.index(4)
        #: Places of the feature maps that are used.
        self.inputs = (self._shallow, len(backbone.strides) - 1)
        # The decoder reads places 2 and -1 only.
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
        _accept_single_values(self.layers)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decoded map (N, out_channels, H/4, W/4) from feature maps, shallow to deep."""
        shallow, deep = features[self._shallow], features[-1]
        decoded: Tensor = self.layers([shallow, shallow, shallow, deep])
        return decoded


class LargeFOV(nn.Module):
    """DeepLab's large field of view: a strongly dilated 3x3 convolution and a 1x1, with ReLU.

    Chen et al., "DeepLab", TPAMI 2018, in the form that weakly supervised work uses (MCIS, ECCV
    2020): dilation 12, no bias, no dropout. The paper's output stride is 8.

    Args:
        in_channels: Channels of the last feature map.
        out_channels: Channels of both layers.
        dilation: Dilation of the 3x3 convolution, in cells of the feature map.
    """

    #: Places of the feature maps that are used.
    inputs = (-1,)

    def __init__(self, in_channels: int, out_channels: int = 1024, dilation: int = 12) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(
                in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False
            ),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.ReLU(),
        )
        self.out_channels = out_channels

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decoded map (N, out_channels, h, w) from feature maps, of which the last is used."""
        decoded: Tensor = self.layers(features[-1])
        return decoded


class _BatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that uses its running statistics where a batch has one value per channel."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


def _accept_single_values(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                replacement = _BatchNorm2d(
                    child.num_features, eps=child.eps, momentum=child.momentum
                )
                setattr(parent, name, replacement)
