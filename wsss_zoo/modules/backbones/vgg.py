"""VGG-16 at output stride 8, as in weakly supervised segmentation."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import FeatureInfo
from torch import Tensor, nn

# Per block: width, number of 3x3 convolutions, their dilation, and (size, stride, padding) of the
# pooling before the block.
_BLOCKS = (
    (64, 2, 1, None),
    (128, 2, 1, (2, 2, 0)),
    (256, 3, 1, (2, 2, 0)),
    (512, 3, 1, (2, 2, 0)),
    (512, 3, 2, (3, 1, 1)),
)


class VGG16(nn.Module):
    """VGG-16's convolutions without BatchNorm, with a dilated last block.

    The fourth pooling is 3x3 of stride 1 with padding 1. The fifth block has dilation 2 and no
    pooling after it, so the last map has stride 8. Parameters have the names and shapes of
    torchvision's and timm's vgg16 (``features.0.weight`` .. ``features.28.bias``), so both
    libraries' files fit. The initial values are also theirs: normal with variance 2 / (9 * width),
    biases 0.

    Simonyan, Zisserman, "Very Deep Convolutional Networks", ICLR 2015; in the form of Sun et al.,
    "Mining Cross-Image Semantics", ECCV 2020 (GuoleiSun/MCIS_wsss @ 1fc8f75). The three 3x3
    convolutions that replace the fully connected layers in that paper are not included.

    >>> import torch
    >>> [tuple(f.shape[1:]) for f in VGG16()(torch.zeros(1, 3, 16, 24))]
    [(64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3), (512, 2, 3)]
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        described: list[dict[str, Any]] = []
        channels, stride = 3, 1
        for width, depth, dilation, pool in _BLOCKS:
            if pool is not None:
                layers.append(nn.MaxPool2d(*pool))
                stride *= pool[1]
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            name = f"features.{len(layers) - 1}"
            described.append({"num_chs": width, "reduction": stride, "module": name})
        self.features = nn.Sequential(*layers)
        #: Channels, strides and names of the five feature maps, as timm's extractors give them.
        self.feature_info = FeatureInfo(described, tuple(range(len(described))))
        #: Mean and standard deviation of ImageNet's colours.
        self.pretrained_cfg = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
        self._ends = {int(info["module"].removeprefix("features.")) for info in described}
        for parameter in self.features.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Extract maps after each block's last ReLU (conv1_2 .. conv5_3), strides 1, 2, 4, 8, 8.

        The sides of the normalised image (N, 3, H, W) are cut to multiples of 8.
        """
        maps: list[Tensor] = []
        for index, layer in enumerate(self.features):
            image = layer(image)
            if index in self._ends:
                maps.append(image)
        return maps
