"""U-Net's decoder against segmentation_models_pytorch's own loop."""

import pytest
import torch

from wsss_zoo.modules import Backbone, Segmenter, UNet


@pytest.mark.parametrize("output_stride", [16, 32])
def test_equals_the_library(output_stride):
    torch.manual_seed(0)
    backbone = Backbone("test_efficientnet", None, output_stride).eval()
    decoder = UNet(backbone).eval()
    image = torch.rand(2, 3, 64, 96)
    features = backbone(image)
    expected = decoder.layers([image, *features])
    torch.testing.assert_close(decoder(features), expected)
    blocks = decoder.blocks(features)
    assert [block.shape[1] for block in blocks] == list(decoder.channels)
    assert decoder.out_channels == expected.shape[1]


@pytest.mark.parametrize("size", [(64, 64), (53, 70), (33, 100)])
def test_logits_at_the_size_of_the_image(size):
    torch.manual_seed(0)
    network = Segmenter(4, "test_resnet", "unet", output_stride=32).eval()
    assert network(torch.rand(1, 3, *size)).shape == (1, 4, *size)
