"""VGG-16 at output stride 8 against torchvision's, timm's and loops over positions."""

import copy
import logging

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from tests.each import each
from wsss_zoo.modules import Backbone, Segmenter
from wsss_zoo.modules.backbones.vgg import VGG16

CHANNELS = [64, 128, 256, 512, 512]
STRIDES = [1, 2, 4, 8, 8]


@pytest.fixture(scope="module")
def network() -> VGG16:
    torch.manual_seed(0)
    return VGG16().eval()


def backbone(**options) -> Backbone:
    torch.manual_seed(0)
    return Backbone("vgg16", output_stride=8, **options)


def officials() -> dict[str, nn.Module]:
    """The classifiers whose files must fit, without memory for their 138 million numbers."""
    with torch.device("meta"):
        return {"torchvision": torchvision.models.vgg16(), "timm": timm.create_model("vgg16")}


@each("size", [(64, 48), (49, 36), (8, 8), (1, 1)])
def test_every_level_covers_the_padded_image(size):
    network = backbone()
    assert (network.channels, network.strides) == (CHANNELS, STRIDES)
    with torch.no_grad():
        features = network(torch.rand(1, 3, *size))
    padded = [-(-side // 8) * 8 for side in size]
    for feature, channels, stride in zip(features, CHANNELS, STRIDES, strict=True):
        assert feature.shape == (1, channels, padded[0] // stride, padded[1] // stride)


def test_parameters_are_those_of_timm_and_torchvision():
    ours = {name: value.shape for name, value in VGG16().state_dict().items()}
    assert sum(shape.numel() for shape in ours.values()) == 14_710_464 + 4_224
    for official in officials().values():
        features = official.features.state_dict(prefix="features.")
        assert list(ours) == list(features)
        assert ours == {name: value.shape for name, value in features.items()}


def test_first_four_blocks_are_torchvisions(network):
    official = officials()["torchvision"].features.to_empty(device="cpu").eval()
    official.load_state_dict(network.features.state_dict())
    image = torch.randn(2, 3, 48, 64)
    ends = {3: 0, 8: 1, 15: 2, 22: 3}  # conv1_2, conv2_2, conv3_3, conv4_3 after their ReLU
    with torch.no_grad():
        maps, value = network(image), image
        for index, layer in enumerate(official[:23]):
            value = layer(value)
            if index in ends:
                torch.testing.assert_close(maps[ends[index]], value)
        # The fourth pooling differs in stride, and its windows contain torchvision's.
        ours, theirs = network.features[23](value), official[23](value)
    assert ours.shape[2:] == value.shape[2:]
    assert theirs.shape[2:] == (3, 4)
    assert (ours[..., ::2, ::2] >= theirs).all()


def test_fourth_pooling_and_dilation_are_a_loop_over_positions(network):
    torch.manual_seed(1)
    with torch.no_grad():
        maps = network(torch.randn(1, 3, 40, 32))
    value = maps[3][0].double().numpy()
    _, height, width = value.shape
    pooled = np.empty_like(value)
    for y, x in np.ndindex(height, width):
        window = value[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        pooled[:, y, x] = window.max(axis=(1, 2))
    value = pooled
    for layer in (24, 26, 28):
        weight = network.features[layer].weight.detach().double().numpy()
        result = np.zeros_like(value)
        for y, x, dy, dx in np.ndindex(height, width, 3, 3):
            row, column = y + 2 * (dy - 1), x + 2 * (dx - 1)
            if 0 <= row < height and 0 <= column < width:
                result[:, y, x] += weight[:, :, dy, dx] @ value[:, row, column]
        value = np.maximum(result + network.features[layer].bias.detach().numpy()[:, None, None], 0)
    np.testing.assert_allclose(maps[4][0].numpy(), value, rtol=1e-4, atol=1e-5)


def test_initial_convolutions_keep_the_scale_of_the_paper(network):
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(
                (2 / (9 * layer.out_channels)) ** 0.5, rel=0.05
            )
            assert not layer.bias.any()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_file_of_a_classifier_fits_and_its_rest_is_said(network, tmp_path, caplog, suffix):
    state = network.state_dict() | {
        "classifier.0.weight": torch.zeros(4, 4),
        "classifier.6.bias": torch.zeros(4),
    }
    path = tmp_path / f"vgg16{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    with caplog.at_level(logging.WARNING):
        loaded = Backbone("vgg16", str(path), output_stride=8)
    assert "2 tensors have no place in the backbone: classifier.0.weight" in caplog.text
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)


def test_file_of_another_network(tmp_path):
    torch.save(Backbone("test_resnet").model.state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"lacks 26 of 26 tensors .*features\.0\.weight"):
        Backbone("vgg16", str(tmp_path / "resnet.pth"), output_stride=8)
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist"):
        Backbone("vgg16", str(tmp_path / "none.pth"), output_stride=8)


def test_imagenet_weights_are_timms_and_loaded_only_when_asked_for(network, monkeypatch):
    class Classifier(nn.Module):
        features = network.features

    asked = []

    def create(name, **options):
        asked.append((name, options))
        return Classifier()

    monkeypatch.setattr(timm, "create_model", create)
    assert not torch.equal(backbone().model.features[28].weight, network.features[0].weight)
    assert asked == []
    torch.manual_seed(7)
    loaded = Backbone("vgg16", "imagenet", output_stride=8)
    assert asked == [("vgg16.tv_in1k", {"pretrained": True})]
    assert torch.equal(loaded.model.features[28].weight, network.features[28].weight)

    def offline(name, **options):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RuntimeError, match=r"'vgg16': .*; give weights the path"):
        Backbone("vgg16", "imagenet", output_stride=8)


def test_normalisation_is_imagenets():
    config = timm.get_pretrained_cfg("vgg16")
    network = backbone()
    assert (network.image_mean, network.image_std) == (tuple(config.mean), tuple(config.std))


@each("output_stride", [16, 32])
def test_other_output_strides_are_refused(output_stride):
    with pytest.raises(
        ValueError, match=rf"'vgg16' .* output stride {output_stride}.*set output_stride to 8"
    ):
        Backbone("vgg16", output_stride=output_stride)


def test_vgg_with_batch_norm_is_refused_by_name():
    with pytest.raises(
        ValueError, match="'vgg16_bn' cannot dilate; set output_stride to 32, not 8"
    ):
        Backbone("vgg16_bn", output_stride=8)


@each(("count", "first_trained"), [(0, 0), (1, 5), (3, 17), (5, 99)])
def test_frozen_stages_are_the_first_blocks(count, first_trained):
    network = backbone()
    network.freeze_stages(count)
    for name, parameter in network.model.named_parameters():
        assert parameter.requires_grad == (int(name.split(".")[1]) >= first_trained)


@pytest.mark.parametrize("layer", ["features.28", "features.29", "features.22", None])
def test_gradients_for_grad_cam_do_not_suffer_from_in_place_activations(layer):
    network = backbone().eval()
    prepared = torch.randn(1, 3, 32, 24)
    leaf, last = network.extract_from(prepared, layer)
    (gradient,) = torch.autograd.grad(last.square().sum(), leaf)
    plain = copy.deepcopy(network.model)
    for module in plain.features:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    kept = []
    handle = plain.get_submodule(layer or "features.29").register_forward_hook(
        lambda module, inputs, output: kept.append(output)
    )
    with handle:
        expected = plain(prepared)[-1]
    torch.testing.assert_close(leaf, kept[0])
    torch.testing.assert_close(last, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), kept)[0])
    assert gradient.abs().max() > 0


def test_maps_are_not_changed_after_they_are_given():
    network = backbone().eval()
    image = torch.rand(1, 3, 16, 16)
    maps = network(image)
    sum(feature.square().mean() for feature in maps).backward()
    assert all(p.grad.abs().sum() > 0 for name, p in network.named_parameters() if "weight" in name)
    assert all((feature >= 0).all() for feature in maps)


@pytest.mark.parametrize("architecture", ["largefov", "deeplabv3plus"])
def test_segmenters_give_logits_at_the_size_of_the_image(architecture):
    network = Segmenter(4, "vgg16", architecture, output_stride=8).eval()
    for size in ((93, 60), (61, 100)):
        with torch.no_grad():
            assert network(torch.rand(1, 3, *size)).shape == (1, 4, *size)
