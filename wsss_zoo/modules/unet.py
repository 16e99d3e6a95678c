"""U-Net's decoder on any backbone, with its blocks within reach."""

from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from wsss_zoo.modules.backbone import Backbone

_CHANNELS = (256, 128, 64, 32, 16)


class UNet(nn.Module):
    """One block per feature map: upsample, join the next shallower map, two 3x3 convolutions.

    Ronneberger et al., "U-Net", MICCAI 2015; the blocks of segmentation_models_pytorch. The last
    one is at the size of the padded image.

    Args:
        backbone: The backbone whose feature maps come in.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        count = len(backbone.channels)
        self._first_stride = backbone.strides[0]
        #: Places of the feature maps that are used.
        self.inputs = tuple(range(count))
        #: Channels of each block's output, deep to shallow.
        self.channels: tuple[int, ...] = _CHANNELS[-count:]
        self.out_channels = self.channels[-1]
        self.layers = UnetDecoder(
            # The first entry stands for the image, which is not joined.
            encoder_channels=[3, *backbone.channels],
            decoder_channels=list(self.channels),
            n_blocks=count,
        )

    def blocks(self, features: list[Tensor]) -> list[Tensor]:
        """Output of each block, of channels `channels`, from feature maps, shallow to deep."""
        height, width = (self._first_stride * side for side in features[0].shape[-2:])
        skips = [*features[-2::-1], None]
        sizes = [*(tuple(skip.shape[-2:]) for skip in features[-2::-1]), (height, width)]
        outputs, current = [], self.layers.center(features[-1])
        for block, skip, size in zip(self.layers.blocks, skips, sizes, strict=True):
            current = block(current, *size, skip_connection=skip)
            outputs.append(current)
        return outputs

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decoded map (N, out_channels, H, W) from feature maps, shallow to deep."""
        return self.blocks(features)[-1]
