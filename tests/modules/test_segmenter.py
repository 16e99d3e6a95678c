"""Segmentation networks against segmentation_models_pytorch, at sizes that it refuses."""

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.modules import Backbone, Segmenter, UNet

NAME = "test_resnet"


def segmenter(architecture="deeplabv3plus", **options):
    torch.manual_seed(0)
    return Segmenter(4, options.pop("backbone", NAME), architecture, **options)


@each("output_stride", [8, 16])
@pytest.mark.parametrize("name", [NAME, "test_efficientnet"])
def test_equals_smp_but_for_the_last_upsampling(name, output_stride):
    ours = segmenter(backbone=name, output_stride=output_stride).eval()
    theirs = smp.DeepLabV3Plus(
        f"tu-{name}", encoder_weights=None, encoder_output_stride=output_stride, classes=4
    ).eval()
    theirs.encoder.model.load_state_dict(ours.backbone.model.state_dict())
    theirs.decoder.load_state_dict(ours.decoder.layers.state_dict())
    theirs.segmentation_head[0].load_state_dict(ours.head.state_dict())
    theirs.segmentation_head[1] = torch.nn.Identity()
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        normalised = (image - ours.backbone.mean) / ours.backbone.std
        expected = F.interpolate(theirs(normalised), scale_factor=4, mode="bilinear")
        torch.testing.assert_close(ours(image), expected)


def test_largefov_equals_its_definition():
    ours = segmenter("largefov").eval()
    assert [tuple(p.shape) for p in ours.decoder.parameters()] == [
        (1024, ours.backbone.channels[-1], 3, 3),
        (1024, 1024, 1, 1),
    ]
    image = torch.rand(1, 3, 48, 32)
    with torch.no_grad():
        first, second = ours.decoder.parameters()
        hidden = F.conv2d(ours.features(image)[-1], first, padding=12, dilation=12).relu()
        logits = F.conv2d(F.conv2d(hidden, second).relu(), ours.head.weight, ours.head.bias)
        expected = F.interpolate(logits, scale_factor=16, mode="bilinear")
        torch.testing.assert_close(ours(image), expected)


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "largefov"])
@pytest.mark.parametrize("backbone", [NAME, "test_efficientnet", "test_convnext"])
def test_logits_at_the_size_of_the_image(architecture, backbone):
    network = segmenter(architecture, backbone=backbone).eval()
    for size in ((93, 130), (161, 100), (7, 5)):
        with torch.no_grad():
            assert network(torch.rand(1, 3, *size)).shape == (1, 4, *size), size


def test_padding_is_on_the_right_and_at_the_bottom_with_the_mean_colour():
    network = segmenter().eval()
    image = torch.rand(1, 3, 40, 50)
    padded = torch.full((1, 3, 48, 64), 0.5)
    padded[..., :40, :50] = image
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[..., :40, :50])


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "largefov"])
@each("size", [16, 32, 40])
def test_training_batch_of_one_image(architecture, size):
    # A frozen backbone, since at 16 pixels its own BatchNorm has a single value per channel too.
    network = segmenter(architecture, freeze_backbone_bn=True).train()
    network(torch.rand(1, 3, size, size)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_batch_norm_of_larger_batches_is_the_usual_one():
    network = segmenter().train()
    reference = torch.nn.BatchNorm2d(256)
    norm = network.decoder.layers.aspp[0].convs[-1][2]
    value = torch.randn(3, 256, 1, 1)
    torch.testing.assert_close(norm(value), reference(value))
    torch.testing.assert_close(norm.running_var, reference.running_var)


def test_decode_of_features_is_forward():
    network = segmenter().eval()
    image = torch.rand(2, 3, 33, 47)
    with torch.no_grad():
        assert torch.equal(network.decode(network.features(image), (33, 47)), network(image))


def test_strides_that_deeplab_cannot_take():
    with pytest.raises(ValueError, match=r"DeepLabV3\+ needs .*test_resnet has strides"):
        segmenter(output_stride=32)


def test_unknown_architecture():
    with pytest.raises(ValueError, match="architecture is 'fcn'; give"):
        segmenter("fcn")


def test_no_class():
    with pytest.raises(ValueError, match="num_classes is 0"):
        Segmenter(0, NAME)


def test_channels_last_gives_the_same():
    network = segmenter(backbone="test_efficientnet").eval()
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        expected = network(image)
        network.to(memory_format=torch.channels_last)
        actual = network(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@each("output_stride", [16, 32])
def test_unet_equals_the_library(output_stride):
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


@each("size", [(64, 64), (53, 70), (33, 100)])
def test_unet_logits_at_the_size_of_the_image(size):
    torch.manual_seed(0)
    network = Segmenter(4, "test_resnet", "unet", output_stride=32).eval()
    assert network(torch.rand(1, 3, *size)).shape == (1, 4, *size)
