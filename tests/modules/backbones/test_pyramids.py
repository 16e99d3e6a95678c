"""Hierarchical networks that are no ordinary convolutional ones, as backbones."""

import pytest
import timm
import torch

from tests.modules.backbones.small import PYRAMIDS, shrink
from wsss_zoo.modules import Backbone
from wsss_zoo.modules.weights import canonical


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch)


def whole(name, backbone):
    """Timm's network with the weights of a backbone; its head is its own."""
    free = {"strict_img_size": False} if "swin" in name else {}
    model = timm.create_model(name, **free).eval()
    inner = getattr(backbone.model, "model", backbone.model)
    own = {canonical(key): value for key, value in inner.state_dict().items()}
    state = model.state_dict()
    state |= {key: own[canonical(key)] for key in state if canonical(key) in own}
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("name", PYRAMIDS)
def test_maps_are_those_of_timms_own_forward_at_odd_sizes(name):
    torch.manual_seed(0)
    backbone = Backbone(name, output_stride=32).eval()
    assert not backbone.plain
    assert backbone.strides == [4, 8, 16, 32]
    model = whole(name, backbone)
    for height, width in ((1, 1), (70, 40)):
        image = torch.rand(2, 3, height, width)
        with torch.no_grad():
            expected = model.forward_intermediates(
                backbone.prepare(image), indices=4, intermediates_only=True
            )
            maps = backbone(image)
        rows, columns = (-(-side // 32) for side in (height, width))
        for map_, other, channels, stride in zip(
            maps, expected, backbone.channels, backbone.strides, strict=True
        ):
            assert map_.shape == (2, channels, 32 // stride * rows, 32 // stride * columns)
            torch.testing.assert_close(map_, other, rtol=0, atol=1e-6)


def test_grad_cam_layer_of_a_network_with_channels_last():
    backbone = Backbone("swin_tiny_patch4_window7_224", output_stride=32).eval()
    prepared = backbone.prepare(torch.rand(1, 3, 64, 96))
    for layer in ("layers_2", "patch_embed.proj"):
        leaf, last = backbone.extract_from(prepared, layer)
        torch.testing.assert_close(last, backbone.extract(prepared)[-1])
        (gradient,) = torch.autograd.grad(last.square().sum(), leaf)
        sizes = {"layers_2": (1, 48, 4, 6), "patch_embed.proj": (1, 12, 16, 24)}
        assert gradient.shape == leaf.shape == sizes[layer]


def test_grad_cam_layer_of_a_getter_with_channels_last_inside():
    backbone = Backbone("hieradet_small", output_stride=32).eval()
    leaf, last = backbone.extract_from(torch.rand(1, 3, 64, 96), "model.blocks.1")
    assert leaf.shape == (1, 32, 8, 12)
    (gradient,) = torch.autograd.grad(last.square().sum(), leaf)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "hieradet_small"])
def test_frozen_stages_get_no_gradient_and_all_later_ones_do(name):
    backbone = Backbone(name, output_stride=32)
    backbone(torch.rand(1, 3, 64, 64))[1].square().sum().backward()
    used = {key for key, p in backbone.named_parameters() if p.grad is not None}
    backbone.freeze_stages(2)
    frozen = {key for key, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == used
    assert len(backbone.layers()) == 4
    assert backbone.training


def test_a_layer_of_twins_is_not_where_it_is_listed():
    backbone = Backbone("twins_pcpvt_small", output_stride=32)
    backbone.freeze_stages(1)
    frozen = {key for key, p in backbone.named_parameters() if not p.requires_grad}
    assert any("patch_embeds.0" in key for key in frozen)
    assert not any("patch_embeds.1" in key for key in frozen)


def test_no_stride_is_advised_to_a_network_bound_to_one_size(monkeypatch):
    create, small = timm.create_model, {"embed_dim": 16, "num_heads": 1, "stages": (1, 1, 2, 1)}
    monkeypatch.setattr(timm, "create_model", lambda name, **more: create(name, **small, **more))
    for stride in (16, 32):
        with pytest.raises(ValueError, match=r"'hiera_tiny_224' cannot give .* images of any size"):
            Backbone("hiera_tiny_224", output_stride=stride)
