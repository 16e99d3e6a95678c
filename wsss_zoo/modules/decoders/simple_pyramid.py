"""ViTDet's simple feature pyramid: four grids from the last map of a plain ViT."""

from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from wsss_zoo.modules.backbones.backbone import Backbone


class SimplePyramid(nn.Module):
    """Maps on grids of 4g, 2g, g and g/2 cells a side, from a plain ViT's last map of g.

    Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (ViTDet), ECCV
    2022; facebookresearch/detectron2 @ 0818132. Differences from the authors' code: no convolutions
    after each map, for which `PixelDecoder` has its own; odd grids are halved upwards.

    Args:
        backbone: A plain ViT with D channels, D a multiple of 4.

    Raises:
        ValueError: If the backbone is no plain ViT.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        if not backbone.plain:
            raise ValueError(
                f"{backbone.name} has a pyramid of its own; give a plain ViT, or use its maps"
            )
        width = backbone.channels[-1]
        self.name = backbone.name
        #: Channels of the maps, shallow to deep.
        self.channels = [width // 4, width // 2, width, width]
        self.layers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, width // 2, 2, stride=2),
                    LayerNorm2d(width // 2),
                    nn.GELU(),
                    nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2),
                ),
                nn.ConvTranspose2d(width, width // 2, 2, stride=2),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Compute four maps, shallow to deep, from a ViT's maps (N, D, h, w)."""
        return [layer(features[-1]) for layer in self.layers]
