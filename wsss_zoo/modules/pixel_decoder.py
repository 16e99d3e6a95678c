"""MaskFormer's pixel decoder: a feature pyramid that ends in one map of stride 4."""

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.modules.backbones.backbone import Backbone
from wsss_zoo.modules.decoders.simple_pyramid import SimplePyramid

_FINEST = 4
# Equals the paper's 32 groups at 256 channels. Groups of one channel fail on maps of one pixel.
_GROUP = 8


class PixelDecoder(nn.Module):
    """Fusion of the feature maps from stride 4 on, from deep to shallow.

    The deepest map becomes ``y = ReLU(GN(conv3x3(x)))``. Each shallower map is joined by ``y =
    ReLU(GN(conv3x3(GN(conv1x1(x)) + nearest(y))))``; maps of equal stride (of a dilated backbone)
    are not resized. The last layer is a 3x3 convolution with bias.

    Args:
        backbone: The backbone, with a feature map of stride 4 and a deeper one; or the pyramid of a
            plain ViT, of which all maps are used: its finest has a quarter of a patch.
        channels: Channels E of the result, a multiple of 8.

    Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation"
    (MaskFormer), NeurIPS 2021. Convolutions are initialised as in the paper: uniform (Kaiming's
    with a = 1), biases 0. The paper's GroupNorm always has 32 groups. In this implementation a
    group has 8 channels, which is the same at the paper's 256.
    """

    def __init__(self, backbone: Backbone | SimplePyramid, channels: int = 256) -> None:
        super().__init__()
        if channels < 1 or channels % _GROUP:
            raise ValueError(f"channels is {channels}; give a multiple of {_GROUP}, such as 256")
        self.out_channels = channels
        #: Indices of the used feature maps, shallow to deep.
        self.inputs = tuple(range(_first_map(backbone), len(backbone.channels)))
        *shallower, deepest = (backbone.channels[place] for place in self.inputs)
        #: 1x1 convolutions of all maps except the deepest, shallow to deep.
        self.lateral = nn.ModuleList(_conv(width, channels, 1) for width in shallower)
        #: 3x3 convolutions of all maps, shallow to deep.
        self.smooth = nn.ModuleList(
            nn.Sequential(_conv(width, channels, 3), nn.ReLU(inplace=True))
            for width in [*[channels] * len(shallower), deepest]
        )
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        init_conv(self.last)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Compute pixel embeddings (N, E, h, w), as large as the shallowest used map."""
        *shallower, deepest = (features[place] for place in self.inputs)
        current: Tensor = self.smooth[-1](deepest)
        for i in reversed(range(len(shallower))):
            lateral = self.lateral[i](shallower[i])
            current = self.smooth[i](lateral + F.interpolate(current, lateral.shape[-2:]))
        embeddings: Tensor = self.last(current)
        return embeddings


def _first_map(backbone: Backbone | SimplePyramid) -> int:
    if isinstance(backbone, SimplePyramid):
        return 0
    if _FINEST not in backbone.strides[:-1]:
        raise ValueError(
            f"the mask transformer needs a feature map of stride {_FINEST} and a deeper one, "
            f"but {backbone.name} has strides {backbone.strides}; take another backbone, such "
            "as resnet50"
        )
    return backbone.strides.index(_FINEST)


def init_conv(conv: nn.Conv2d) -> None:
    """Initialise a convolution uniformly in +-sqrt(3 / fan-in), and its bias, if any, with 0."""
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _conv(in_channels: int, channels: int, size: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, size, padding=size // 2, bias=False)
    init_conv(conv)
    return nn.Sequential(conv, nn.GroupNorm(channels // _GROUP, channels))
