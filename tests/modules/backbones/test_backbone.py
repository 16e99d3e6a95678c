"""Any timm backbone: sizes, normalisation, weights, freezing."""

import os

import numpy as np
import pytest
import timm
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tests.each import each
from wsss_zoo.modules import Backbone


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
@each("output_stride", [8, 16, 32])
@each("size", [(213, 320), (161, 100), (1, 1)])
def test_every_level_covers_the_padded_image(name, output_stride, size):
    backbone = Backbone(name, output_stride=output_stride).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, *size))
    padded = [int(np.ceil(side / output_stride)) * output_stride for side in size]
    assert backbone.strides[-1] == output_stride
    for feature, channels, stride in zip(
        features, backbone.channels, backbone.strides, strict=True
    ):
        assert feature.shape == (2, channels, padded[0] // stride, padded[1] // stride)


def test_same_as_timm_on_a_normalised_and_padded_image():
    torch.manual_seed(0)
    backbone = Backbone("test_efficientnet").eval()
    image = torch.rand(1, 3, 40, 33)
    mean, std = np.array(backbone.image_mean), np.array(backbone.image_std)
    padded = np.tile(mean[:, None, None], (1, 48, 48))
    padded[:, :40, :33] = image[0].numpy()
    normalised = ((padded - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    reference = backbone.model(torch.from_numpy(normalised)[None])
    for feature, expected in zip(backbone(image), reference, strict=True):
        torch.testing.assert_close(feature, expected)


def test_normalisation_is_the_backbones_own():
    assert Backbone("test_resnet").image_mean == (0.5, 0.5, 0.5)
    assert Backbone("test_efficientnet").image_mean == pytest.approx((0.485, 0.456, 0.406))


@each(
    ("name", "output_stride", "reason"),
    [
        ("mobilevitv2_050", 32, "a map has the shape"),
        ("cait_xxs24_224", 16, "doesn't match model"),
        ("samvit_base_patch16", 16, "no four maps of tokens"),
        ("mixer_s32_224", 32, "it cannot take one of 96 x 64 pixels|makes no feature extractor"),
    ],
)
def test_backbones_without_dense_maps_of_any_size_are_refused_by_name(name, output_stride, reason):
    message = rf"{name}.*output stride {output_stride}.*({reason}).*vit_small_patch14.*resnet50"
    with pytest.raises(ValueError, match=message):
        Backbone(name, output_stride=output_stride)


@each(
    ("name", "output_stride", "message"),
    [
        ("vit_tiny_patch16_224", 14, "has patches of 16 pixels; set output_stride to 16"),
        ("test_vit", 32, "has patches of 16 pixels; set output_stride to 16"),
        ("efficientvit_b0", 16, "cannot dilate; set output_stride to 32"),
        ("efficientvit_b0", 14, "cannot dilate; set output_stride to 32"),
    ],
)
def test_an_impossible_output_stride_says_the_possible_one(name, output_stride, message):
    with pytest.raises(ValueError, match=message):
        Backbone(name, output_stride=output_stride)


def test_unknown_name_lists_similar_ones():
    with pytest.raises(ValueError, match=r"no backbone 'resnet5'; similar names: .*resnet50"):
        Backbone("resnet5")


def test_other_output_stride():
    with pytest.raises(ValueError, match="output_stride is 4; give 8, 16 or 32"):
        Backbone("test_resnet", output_stride=4)


def test_download_only_when_asked_for_and_failure_is_explained(monkeypatch):
    create, asked = timm.create_model, []

    def offline(name, **options):
        asked.append(options.pop("pretrained", False))
        if asked[-1]:
            raise OSError("no network")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    Backbone("test_resnet")
    assert not any(asked)
    with pytest.raises(RuntimeError, match=r"'test_resnet': .*; give weights the path"):
        Backbone("test_resnet", "imagenet")


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_frozen_batch_norm_keeps_statistics_and_trains_the_rest(name):
    backbone = Backbone(name, freeze_bn=True)
    parent = torch.nn.Sequential(torch.nn.Identity(), backbone)
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms), "frozen before anybody calls train()"
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    parent.eval()
    parent.train()
    assert backbone.training
    parent(torch.rand(2, 3, 32, 32))[-1].sum().backward()
    for name, value in backbone.named_buffers():
        assert torch.equal(value, before[name])
    assert all(norm.weight.requires_grad for norm in norms)
    assert norms[-1].bias.grad.abs().sum() > 0


def test_batch_norm_trains_unless_frozen():
    backbone = Backbone("test_resnet")
    backbone(torch.rand(2, 3, 32, 32))
    assert any(
        norm.num_batches_tracked for norm in backbone.modules() if isinstance(norm, _BatchNorm)
    )


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
@each("count", [0, 1, 3, -1])
def test_frozen_stages_get_no_gradient_and_all_later_ones_do(name, count):
    backbone = Backbone(name)
    levels = len(backbone.stages)
    count = levels if count == -1 else count
    # Independent of module order: what the first `count` maps depend on.
    for level in range(levels):
        backbone.zero_grad()
        backbone(torch.rand(2, 3, 32, 32))[level].square().sum().backward()
        used = {name for name, p in backbone.named_parameters() if p.grad is not None}
        backbone.zero_grad(set_to_none=True)
        if level == count - 1:
            expected = used
    backbone.freeze_stages(count)
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == (expected if count else set())


def test_too_many_frozen_stages():
    with pytest.raises(ValueError, match="cannot freeze 6 stages of test_resnet, which has 5"):
        Backbone("test_resnet").freeze_stages(6)


def test_extract_from_gives_the_gradient_of_the_layer_even_before_an_in_place_activation():
    torch.manual_seed(0)
    backbone = Backbone("test_resnet").eval()
    # Residual branches start at zero, and with them every gradient inside.
    for norm in backbone.modules():
        if isinstance(norm, _BatchNorm):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    prepared = torch.randn(1, 3, 32, 32)
    leaf, last = backbone.extract_from(prepared, "layer3.0.bn1")
    torch.testing.assert_close(last, backbone.extract(prepared)[-1])
    (gradient,) = torch.autograd.grad(last.square().sum(), leaf)

    # Central differences through the rest of the network.
    def rest(value):
        handle = backbone.model.layer3[0].bn1.register_forward_hook(lambda *_: value.clone())
        with handle, torch.no_grad():
            return backbone.extract(prepared)[-1].double().square().sum()

    direction = torch.randn_like(leaf)
    step = 1e-3
    assert gradient.abs().max() > 1e-4
    slope = (rest(leaf + step * direction) - rest(leaf - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=2e-2)


def test_layer_without_feature_map():
    backbone = Backbone("test_convnext").eval()
    with pytest.raises(ValueError, match=r"no layer 'layer9'; it has .*stages_3"):
        backbone.check_layer("layer9")
    backbone = Backbone("test_resnet")
    backbone.model.layer4.register_forward_hook(lambda module, inputs, output: output.mean((2, 3)))
    with pytest.raises(ValueError, match="'layer4' of test_resnet does not give one feature map"):
        backbone.extract_from(torch.rand(1, 3, 32, 32), "layer4")


def test_lite0_features_are_those_of_timms_own_loader():
    path = os.environ.get("WSSS_ZOO_WEIGHTS")
    if not path:
        pytest.skip("WSSS_ZOO_WEIGHTS names no tf_efficientnet_lite0 file")
    name = "tf_efficientnet_lite0"
    reference = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"file": path},
        features_only=True,
        output_stride=16,
    ).eval()
    image = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        expected = reference((image - 0.5) / 0.5)
        for feature, other in zip(Backbone(name, path).eval()(image), expected, strict=True):
            torch.testing.assert_close(feature, other)
