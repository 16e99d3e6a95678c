"""MaskFormer's pixel decoder against its formulae, and backbones that cannot carry it."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.modules import Backbone, PixelDecoder


def decoder(backbone="test_resnet", output_stride=32, channels=16):
    torch.manual_seed(0)
    made = Backbone(backbone, None, output_stride).eval()
    result = PixelDecoder(made, channels)
    for parameter in result.parameters():
        # GroupNorms begin as identities, which would hide them.
        torch.nn.init.normal_(parameter, std=0.2)
    return made, result


def naive(backbone, features, state, groups):
    """The formulae of the specification, with nearest enlargement by repetition."""

    def block(name, x):
        x = F.conv2d(x, state[f"{name}.0.weight"], padding=state[f"{name}.0.weight"].shape[-1] // 2)
        scale, shift = state[f"{name}.1.weight"], state[f"{name}.1.bias"]
        grouped = x.unflatten(1, (groups, -1)).flatten(2)
        mean, std = grouped.mean(2, keepdim=True), (grouped.var(2, unbiased=False) + 1e-5).sqrt()
        normal = ((grouped - mean) / std[:, :, None]).view_as(x)
        return normal * scale[:, None, None] + shift[:, None, None]

    used = [f for f, stride in zip(features, backbone.strides, strict=True) if stride >= 4]
    strides = [stride for stride in backbone.strides if stride >= 4]
    y = block(f"smooth.{len(used) - 1}.0", used[-1]).clamp(min=0)
    for i in range(len(used) - 2, -1, -1):
        factor = strides[i + 1] // strides[i]
        y = y.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        y = block(f"smooth.{i}.0", block(f"lateral.{i}", used[i]) + y).clamp(min=0)
    return F.conv2d(y, state["last.weight"], state["last.bias"], padding=1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "output_stride"),
    [("test_resnet", 32), ("test_resnet", 8), ("test_efficientnet", 16), ("test_convnext", 32)],
)
def test_equals_its_definition(name, output_stride):
    backbone, ours = decoder(name, output_stride)
    features = backbone(torch.rand(2, 3, 61, 90))
    expected = naive(backbone, features, ours.state_dict(), groups=2)
    assert expected.shape == (2, 16, 16, 24)
    torch.testing.assert_close(ours(features), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_start_values_and_groups():
    layers = PixelDecoder(Backbone("test_resnet", None, 32)).modules()
    convs = []
    for layer in layers:
        if isinstance(layer, torch.nn.GroupNorm):
            assert layer.num_groups == 32
        if isinstance(layer, torch.nn.Conv2d):
            convs.append(layer)
            bound = (3 / layer.weight[0].numel()) ** 0.5
            assert 0.99 * bound < layer.weight.abs().max() <= bound
            assert layer.bias is None or not layer.bias.any()
    assert sum(conv.bias is not None for conv in convs) == 1


@each("strides", [[2, 4], [8, 16, 32], [1, 2]])
def test_backbones_with_too_few_maps(strides):
    backbone = Backbone("test_resnet", None, 32)
    backbone.strides = strides
    with pytest.raises(ValueError, match=r"stride 4 and a deeper one, but test_resnet has strides"):
        PixelDecoder(backbone)


@each("channels", [0, 12])
def test_channels_are_a_multiple_of_eight(channels):
    with pytest.raises(ValueError, match=f"channels is {channels}; give a multiple of 8"):
        PixelDecoder(Backbone("test_resnet", None, 32), channels)
