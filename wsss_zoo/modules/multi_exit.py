"""Training-time heads on the inner feature maps of a segmenter."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.modules.backbones.backbone import Backbone
from wsss_zoo.modules.segmenter import Segmenter, UNet

ExitHead = Literal["light", "full"]
_FULL, _LIGHT = 256, 64
# Largest side in pixels of the cells on which light heads are compared.
_CELL = 4


class MultiExit(nn.Module):
    """Exits at the inner feature maps of a segmenter: a segmentation head and a class layer each.

    Exits run from shallow to deep: the backbone's feature maps except the last; in U-Net also the
    last one and the decoder's blocks. The network's own output is the deepest exit and only gets a
    class layer. The network itself is not part of this module.

    Args:
        network: The segmenter.
        num_classes: Number of classes C, background included.
        exits: Number of exits from the deepest on, the network's own included: at least 2, at most
            those of the network; None for all.
        head: "full", as in the authors' code: two 3x3 convolutions of 256 channels with BatchNorm
            and ReLU and a 1x1, compared at the size of the image. "light": 1x1 to 64 channels, one
            3x3 of 64, 1x1, compared on cells of 4 x 4 pixels (2 x 2 with patches of 14).
        projections: Also project the deeper exits' feature maps to the shallowest one's channels.

    Zhang et al., "Self-Regulation for Semantic Segmentation", ICCV 2021. The class layer reads the
    averaged logits, as in the authors' code (dongzhang89/SR-SS @ 90a8e86), whose heads never train
    their BatchNorm.
    """

    def __init__(
        self,
        network: Segmenter,
        num_classes: int,
        exits: int | None = None,
        head: ExitHead = "light",
        projections: bool = False,
    ) -> None:
        super().__init__()
        if head not in ("light", "full"):
            raise ValueError(f"exit_head is {head!r}; give 'light' or 'full'")
        channels = inner_channels(network)
        count = len(channels) + 1 if exits is None else exits
        if not 2 <= count <= len(channels) + 1:
            raise ValueError(
                f"exits is {count}, but {network.backbone.name} with this decoder has "
                f"{len(channels) + 1}, its own output included; give 2 to {len(channels) + 1}"
            )
        self.inner = count - 1
        channels = channels[-self.inner :]
        stride = network.backbone.strides[-1]
        #: Side in pixels of the cells on which feature maps are compared: of whole cells is the
        #: padded image.
        self.light_cell = next(c for c in range(_CELL, 0, -1) if stride % c == 0)
        #: That on which exits are compared.
        self.cell = 1 if head == "full" else self.light_cell
        self.heads = nn.ModuleList(_head(width, num_classes, head) for width in channels)
        self.class_layers = nn.ModuleList(nn.Linear(num_classes, num_classes) for _ in range(count))
        deeper = [*channels[1:], network.decoder.out_channels] if projections else []
        self.projections = nn.ModuleList(nn.Conv2d(width, channels[0], 1) for width in deeper)

    def forward(self, inner: Sequence[Tensor], logits: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Compute segmentation logits, each at its own size, and class logits (N, C).

        Takes the maps of `inner_features` and the network's logits before upsampling, (N, C, h, w).
        """
        maps = [head(map_) for head, map_ in zip(self.heads, inner[-self.inner :], strict=True)]
        maps.append(logits)
        layers = zip(self.class_layers, maps, strict=True)
        return maps, [layer(map_.mean((2, 3))) for layer, map_ in layers]

    def project(self, inner: Sequence[Tensor], decoded: Tensor) -> tuple[list[Tensor], Tensor]:
        """Project the deeper feature maps to the shallowest one's channels; return all."""
        first, *deeper = inner[-self.inner :]
        layers = zip(self.projections, [*deeper, decoded], strict=True)
        return [layer(map_) for layer, map_ in layers], first


def inner_channels(network: Segmenter) -> list[int]:
    """List the channels of the maps of `inner_features`."""
    if isinstance(network.decoder, UNet):
        return [*network.backbone.channels, *network.decoder.channels[:-1]]
    return network.backbone.channels[:-1]


def inner_features(network: Segmenter, image: Tensor) -> tuple[list[Tensor], Tensor]:
    """Run on images (N, 3, H, W) in [0, 1]; return inner maps, shallow to deep, and decoded map."""
    features = network.features(image)
    if isinstance(network.decoder, UNet):
        *blocks, decoded = network.decoder.blocks(features)
        return [*features, *blocks], decoded
    return features[:-1], network.decoder(features)


def to_cells(maps: Sequence[Tensor], padded: tuple[int, int], cell: int) -> list[Tensor]:
    """Resize maps (N, C, h, w) of the padded image to cells with this side in pixels."""
    size = [-(-side // cell) for side in padded]
    return [F.interpolate(map_, size, mode="bilinear", align_corners=False) for map_ in maps]


def mask_of_cells(mask: Tensor, padded: tuple[int, int], cell: int) -> Tensor:
    """Sample a mask (N, H, W) at the middle pixel of each cell; 255 on padding."""
    below, right = (whole - side for whole, side in zip(padded, mask.shape[-2:], strict=True))
    middle = cell // 2
    return F.pad(mask, (0, right, 0, below), value=255)[:, middle::cell, middle::cell]


def padded_size(backbone: Backbone, image: Tensor) -> tuple[int, int]:
    """Compute height and width of an image padded by a backbone, in pixels."""
    stride = backbone.strides[-1]
    height, width = (-(-side // stride) * stride for side in image.shape[-2:])
    return height, width


def _head(in_channels: int, num_classes: int, kind: ExitHead) -> nn.Sequential:
    width, size = (_FULL, 3) if kind == "full" else (_LIGHT, 1)
    first = nn.Conv2d(in_channels, width, size, padding=size // 2)
    return nn.Sequential(
        *(first, nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Conv2d(width, num_classes, 1),
    )
