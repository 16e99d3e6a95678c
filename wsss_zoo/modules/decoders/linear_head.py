"""Linear probe: normalised features, which the class layer reads as they are."""

import torch
from torch import Tensor, nn

from wsss_zoo.modules.backbones.backbone import Backbone
from wsss_zoo.modules.decoders.batch_norm import SingleValueBatchNorm2d


class LinearHead(nn.Module):
    """BatchNorm over the last feature maps; with a 1x1 class layer it is DINO's linear probe.

    Oquab et al., "DINOv2", TMLR 2024, section 7.4, as in the authors' code.

    Args:
        backbone: The backbone of the feature maps.
        layers: Number of maps, from the last on, that are concatenated. More than one needs maps of
            one grid: a plain ViT.

    Raises:
        ValueError: If there are not as many maps, or they lie on several grids.
    """

    def __init__(self, backbone: Backbone, layers: int = 1) -> None:
        super().__init__()
        count = len(backbone.channels)
        most = count if backbone.plain else 1
        if not 1 <= layers <= most:
            grids = "" if backbone.plain else ", whose maps lie on several grids"
            raise ValueError(
                f"layers is {layers} for {backbone.name}{grids}; give 1"
                + (f" to {most}" if most > 1 else "")
            )
        #: Indices of the used feature maps.
        self.inputs = tuple(range(count))[-layers:]
        #: Channels of the result.
        self.out_channels = sum(backbone.channels[place] for place in self.inputs)
        self.norm = SingleValueBatchNorm2d(self.out_channels)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Concatenate and normalise feature maps into one map (N, out_channels, h, w)."""
        normalised: Tensor = self.norm(torch.cat([features[place] for place in self.inputs], 1))
        return normalised
