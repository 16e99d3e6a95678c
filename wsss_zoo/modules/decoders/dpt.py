"""DPT: the decoder of dense prediction transformers, for plain ViTs and pyramids."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.modules.backbones.backbone import Backbone

# Largest number of channels D of a plain ViT's maps, and for it: width F, channels m_i of the maps.
_SIZES: tuple[tuple[int, int, tuple[int, int, int, int]], ...] = (
    (384, 64, (48, 96, 192, 384)),
    (768, 128, (96, 192, 384, 768)),
    (1024, 256, (256, 512, 1024, 1024)),
)
_LARGEST = 384, (1536, 1536, 1536, 1536)
_PYRAMID_WIDTH = 128
_MAPS = 4


class DPT(nn.Module):
    """Fusion of four feature maps from deep to shallow by residual units.

    The maps of a plain ViT, all on a grid of g cells a side, first become a pyramid: a 1x1
    convolution each, then grids of 4g, 2g, g and g/2. The last four maps of other networks are
    taken as they are. The result has twice the side of the shallowest map.

    Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, in the form of Depth
    Anything and UniMatch V2 (LiheYoung/UniMatch-V2 @ f6afb4d): no readout token, no BatchNorm,
    torch's initial values. Differences from the authors' code:

    * Parameters that never get a gradient are left out: the deepest level has one residual unit.
    * Pyramids of other networks are our reading.

    Args:
        backbone: The backbone of the feature maps.
        width: Channels F of the fusion, and of the result; None for those of the authors' code by
            the ViT's channels, and 128 for pyramids.
        channels: Channels of the four maps of a plain ViT after the 1x1 convolutions, shallow to
            deep; None for those of the authors' code.

    Raises:
        ValueError: If ``channels`` are given for a pyramid, or are not four.
    """

    def __init__(
        self,
        backbone: Backbone,
        width: int | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        count = len(backbone.channels)
        #: Indices of the used feature maps.
        self.inputs = tuple(range(count))[-_MAPS:]
        own = [backbone.channels[place] for place in self.inputs]
        if backbone.plain:
            sizes = next((size[1:] for size in _SIZES if own[-1] <= size[0]), _LARGEST)
            width, channels = width or sizes[0], channels or sizes[1]
            if len(channels) != _MAPS:
                raise ValueError(f"channels is {list(channels)}; give those of four maps")
        elif channels is not None:
            raise ValueError(
                f"channels is {list(channels)}, but the maps of {backbone.name} are not projected; "
                "leave it out"
            )
        else:
            width, channels = width or _PYRAMID_WIDTH, own
        #: Channels of the result.
        self.out_channels = width
        pairs = list(zip(own, channels, strict=True)) if backbone.plain else []
        self.projects = nn.ModuleList(nn.Conv2d(given, made, 1) for given, made in pairs)
        self.resize_layers = nn.ModuleList(_resizing(channels) if backbone.plain else [])
        self.entries = nn.ModuleList(
            nn.Conv2d(given, width, 3, padding=1, bias=False) for given in channels
        )
        deepest = len(channels) - 1
        self.fusions = nn.ModuleList(Fusion(width, i < deepest) for i in range(len(channels)))
        self.last = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decode feature maps, shallow to deep, into one map (N, out_channels, 2h, 2w)."""
        maps = [features[place] for place in self.inputs]
        if self.projects:
            layers = zip(self.resize_layers, self.projects, maps, strict=True)
            maps = [resize(project(map_)) for resize, project, map_ in layers]
        entered = [enter(map_) for enter, map_ in zip(self.entries, maps, strict=True)]
        height, width = entered[0].shape[-2:]
        sizes = [(2 * height, 2 * width), *((e.shape[-2], e.shape[-1]) for e in entered[:-1])]
        current: Tensor | None = None
        for level in reversed(range(len(entered))):
            current = self.fusions[level](entered[level], current, sizes[level])
        decoded: Tensor = self.last(current).relu()
        return decoded


class Fusion(nn.Module):
    """A level of `DPT`: joins the deeper result with a map, and enlarges the sum.

    Args:
        width: Channels of both.
        joins: Whether there is a deeper result.
    """

    def __init__(self, width: int, joins: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.entering = ResidualUnit(width) if joins else None
        self.joined = ResidualUnit(width)

    def forward(self, entered: Tensor, deeper: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Compute the result (N, width, H, W) of a map (N, width, h, w), at `size` = (H, W)."""
        if deeper is not None and self.entering is not None:
            entered = deeper + self.entering(entered)
        result = self.joined(entered)
        result = F.interpolate(result, size, mode="bilinear", align_corners=True)
        fused: Tensor = self.out_conv(result)
        return fused


class ResidualUnit(nn.Module):
    """x + conv3x3(ReLU(conv3x3(ReLU(x)))).

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        result: Tensor = x + self.conv2(self.conv1(x.relu()).relu())
        return result


def _resizing(channels: Sequence[int]) -> list[nn.Module]:
    """Layers that take a ViT's maps to grids of 4g, 2g, g and g/2, rounded up."""
    first, second, _, last = channels
    return [
        nn.ConvTranspose2d(first, first, 4, stride=4),
        nn.ConvTranspose2d(second, second, 2, stride=2),
        nn.Identity(),
        nn.Conv2d(last, last, 3, stride=2, padding=1),
    ]
