"""Plain ViTs as backbones: maps of their tokens, at any size."""

import pytest
import timm
import torch
from torch import nn

from tests.each import each
from tests.modules.backbones.small import PLAIN, shrink
from wsss_zoo.modules import Backbone, token_maps
from wsss_zoo.modules.backbones.plain_vit import evenly_spaced_blocks

DINO = "vit_small_patch14_dinov2"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch)


def make(name=DINO, **options):
    torch.manual_seed(0)
    return Backbone(name, output_stride=PLAIN[name][0], **options).eval()


@pytest.mark.parametrize("name", PLAIN)
def test_last_map_is_that_of_timms_own_forward_at_odd_sizes(name):
    backbone, patch = make(name), PLAIN[name][0]
    assert backbone.plain
    assert backbone.strides == [patch] * 4
    model = backbone.model
    for height, width in ((33, 50), (1, 1), (70, 29)):
        image = torch.rand(2, 3, height, width)
        with torch.no_grad():
            prepared = backbone.prepare(image)
            tokens = model.forward_features(prepared)[:, getattr(model, "num_prefix_tokens", 1) :]
            if isinstance(model.norm, nn.Identity):
                tokens = model.fc_norm(tokens)
            maps = backbone(image)
        rows, columns = (-(-side // patch) for side in (height, width))
        assert all(map_.shape == (2, backbone.channels[-1], rows, columns) for map_ in maps)
        expected = tokens.reshape(2, rows, columns, -1).permute(0, 3, 1, 2)
        torch.testing.assert_close(
            maps[-1], expected, rtol=0, atol=1e-5 if "xcit" in name else 1e-6
        )


def test_every_map_is_the_normed_output_of_its_block():
    backbone, seen = make("vit_tiny_patch16_224"), []
    for index in (0, 2, 3, 5):
        block = backbone.model.blocks[index]
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    maps = backbone(torch.rand(1, 3, 48, 32))
    assert backbone.stages == ["blocks.0", "blocks.2", "blocks.3", "blocks.5"]
    for map_, tokens in zip(maps, seen, strict=True):
        normed = backbone.model.norm(tokens)[:, 1:]
        torch.testing.assert_close(map_.flatten(2).mT, normed)


@each(("count", "taken"), [(4, (0, 1, 2, 3)), (12, (2, 5, 8, 11)), (24, (4, 11, 17, 23))])
def test_blocks_that_are_taken(count, taken):
    assert evenly_spaced_blocks(count) == taken


def test_blocks_of_40():
    assert evenly_spaced_blocks(40) == (9, 19, 29, 39)
    with pytest.raises(ValueError, match="3 blocks, fewer than four"):
        evenly_spaced_blocks(3)


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224", "test_vit2", DINO])
def test_every_parameter_gets_a_gradient(name):
    backbone = make(name)
    sum(map_.square().sum() for map_ in backbone(torch.rand(1, 3, 40, 40))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


def test_stored_position_embedding_is_that_of_files():
    # DINOv2's grid is 37 x 37, whatever the image; test_vit2 has fc_norm.
    assert make().model.pos_embed.shape[1] == 37 * 37 + 1
    names = set(timm.create_model("test_vit2").state_dict())
    assert set(make("test_vit2").model.state_dict()) == names - {"head.weight", "head.bias"}


def test_token_maps_of_any_blocks():
    backbone = make()
    prepared = backbone.prepare(torch.rand(1, 3, 28, 42))
    (first,) = token_maps(backbone.model, [1], prepared)
    torch.testing.assert_close(first, backbone.extract(prepared)[1])


@each("count", [0, 1, 3, 4])
def test_frozen_stages_are_the_embedding_and_the_blocks_before(count):
    backbone = make("deit_tiny_distilled_patch16_224")
    backbone.freeze_stages(count)
    frozen = {name for name, p in backbone.model.named_parameters() if not p.requires_grad}
    prefixes = tuple(f"blocks.{index}." for index in range(count))
    expected = {
        name
        for name, _ in backbone.model.named_parameters()
        if count and name.startswith(("patch_embed", "cls_", "dist_", "pos_", *prefixes))
    }
    assert frozen == expected


def test_grad_cam_layer_is_a_leaf_of_a_map():
    backbone = make("vit_tiny_patch16_224")
    prepared = backbone.prepare(torch.rand(2, 3, 48, 32))
    leaf, last = backbone.extract_from(prepared, "blocks.5.norm1")
    torch.testing.assert_close(last, backbone.extract(prepared)[-1])
    (gradient,) = torch.autograd.grad(last.square().mul(last.detach()).sum(), leaf)
    assert leaf.shape == gradient.shape == (2, 24, 3, 2)
    assert gradient.abs().max() > 0
    normed, last = backbone.extract_from(prepared, "norm")
    assert torch.equal(normed, last)
    for layer in ("patch_embed", "head"):
        with pytest.raises(ValueError, match=f"{layer}' of .* does not give one feature map"):
            backbone.extract_from(prepared, layer)


def test_gradient_checkpointing_changes_no_gradient():
    image, found = torch.rand(2, 3, 40, 30), []
    for checkpointing in (False, True):
        backbone = make().train()
        if checkpointing:
            backbone.set_grad_checkpointing()
        backbone(image)[-1].square().sum().backward()
        found.append([parameter.grad for parameter in backbone.parameters()])
        assert backbone.model.grad_checkpointing is checkpointing
    for plain, other in zip(*found, strict=True):
        assert (plain is None) == (other is None)
        assert plain is None or torch.equal(plain, other)


def test_gradient_checkpointing_where_it_cannot_be(monkeypatch):
    with pytest.raises(ValueError, match="BatchNorm would count every batch twice"):
        Backbone("test_resnet").set_grad_checkpointing()
    Backbone("test_resnet", freeze_bn=True).set_grad_checkpointing()
    with pytest.raises(ValueError, match="vgg16 has no gradient checkpointing"):
        Backbone("vgg16", output_stride=8).set_grad_checkpointing()
    create, small = timm.create_model, {"depths": (1,) * 4, "embed_dims": (8,) * 4}
    small |= {"num_heads": (1,) * 4}
    monkeypatch.setattr(timm, "create_model", lambda name, **more: create(name, **small, **more))
    with pytest.raises(ValueError, match="twins_pcpvt_small has no gradient checkpointing"):
        Backbone("twins_pcpvt_small", freeze_bn=True, output_stride=32).set_grad_checkpointing()


def test_frozen_backbone_keeps_nothing_for_the_backward_pass():
    backbone = make()
    backbone.freeze()
    assert not backbone.train().training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(map_.grad_fn is None for map_ in backbone(torch.rand(1, 3, 28, 28)))


def test_layers_are_embedding_and_blocks():
    backbone = make("vit_tiny_patch16_224")
    names = {id(parameter): name for name, parameter in backbone.model.named_parameters()}
    layers = [{names[id(p)] for p in layer} for layer in backbone.layers()]
    assert len(layers) == 7
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= layers[0]
    assert all(name.startswith("blocks.0.") for name in layers[1])
    assert {"norm.weight", "blocks.5.mlp.fc2.bias"} <= layers[-1]
    assert sum(map(len, layers)) == len(names)


def test_initial_values_do_not_depend_on_what_is_tried():
    torch.manual_seed(3)
    expected = timm.create_model(DINO, num_classes=0, dynamic_img_size=True)
    torch.manual_seed(3)
    backbone = Backbone(DINO, output_stride=14)
    assert torch.equal(backbone.model.blocks[3].mlp.fc2.weight, expected.blocks[3].mlp.fc2.weight)
