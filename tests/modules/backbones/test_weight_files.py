"""Files of ViTs and Swin, in the names of timm and of the authors, and files of other networks."""

import logging

import pytest
import timm
import torch

from tests.each import each
from tests.modules.backbones.small import shrink
from wsss_zoo.modules import Backbone
from wsss_zoo.modules.weights import canonical

DINO, REGISTERS = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"
SWIN = "swin_tiny_patch4_window7_224"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture
def write(tmp_path):
    def write(state):
        path = tmp_path / "weights.pth"
        torch.save(state, path)
        return str(path)

    return write


def state_of(name, **options):
    torch.manual_seed(1)
    return timm.create_model(name, **options).state_dict()


@pytest.mark.parametrize("name", [DINO, REGISTERS, "vit_base_patch16_siglip_224", "test_vit2"])
def test_a_classifiers_file_fills_the_backbone(name, write, caplog):
    state = state_of(name, num_classes=5)
    stride = 14 if "14" in name else 16
    backbone = Backbone(name, write({"model": state}), output_stride=stride)
    assert all(torch.equal(v, state[k]) for k, v in backbone.model.state_dict().items())
    assert "have no place in the backbone" in caplog.text


def test_metas_names_of_dinov2_with_registers(write):
    state = state_of(REGISTERS)
    patches = state.pop("pos_embed")
    state["register_tokens"] = state.pop("reg_token")
    cls, own = state.pop("cls_token"), torch.rand(1, 1, 24)
    state |= {"cls_token": cls, "pos_embed": torch.cat([own, patches], 1)}
    state["mask_token"] = torch.zeros(1, 24)
    prefixed = {f"backbone.{key}": value for key, value in state.items()}
    backbone = Backbone(REGISTERS, write(prefixed), output_stride=14)
    assert torch.equal(backbone.model.pos_embed, patches)
    torch.testing.assert_close(backbone.model.cls_token, cls + own)


def test_position_embedding_of_another_grid_is_resampled_and_told(write, caplog):
    state = state_of(DINO, img_size=56)
    assert state["pos_embed"].shape[1] == 17
    with caplog.at_level(logging.WARNING):
        backbone = Backbone(DINO, write(state), output_stride=14)
    assert "pos_embed is resampled from (1, 17, 24) to (1, 1370, 24)" in caplog.text
    own = backbone.model.pos_embed
    assert torch.equal(own[:, 0], state["pos_embed"][:, 0])
    torch.testing.assert_close(
        own[:, 1:].mean(), state["pos_embed"][:, 1:].mean(), atol=1e-3, rtol=0
    )
    assert torch.equal(backbone.model.blocks[0].mlp.fc1.weight, state["blocks.0.mlp.fc1.weight"])


def test_swins_bias_tables_are_resampled(write, caplog):
    state = state_of(SWIN, window_size=4, num_classes=3)
    backbone = Backbone(SWIN, write(state), output_stride=32)
    assert "relative_position_bias_table is resampled from (49, 1)" in caplog.text
    flat = {canonical(key): value for key, value in backbone.model.state_dict().items()}
    key = "layers.3.blocks.0.mlp.fc1.weight"
    assert torch.equal(flat[canonical(key)], state[key])


@each(
    ("name", "other", "options"),
    [
        (REGISTERS, DINO, {}),
        (DINO, REGISTERS, {}),
        (DINO, "test_resnet", {}),
        (DINO, DINO, {"embed_dim": 32}),
        (DINO, SWIN, {}),
        (SWIN, DINO, {}),
        (SWIN, "convnextv2_atto", {}),
        ("hieradet_small", DINO, {}),
    ],
)
def test_a_file_of_another_network_is_refused(name, other, options, write, monkeypatch):
    if options:
        with monkeypatch.context() as context:
            context.setattr(timm, "create_model", timm.models.create_model)
            options = {"depth": 4, "num_heads": 2} | options
            path = write(state_of(other, **options))
    else:
        path = write(state_of(other))
    with pytest.raises(ValueError, match=r"weights\.pth") as caught:
        Backbone(name, path, output_stride=14 if "14_" in name else 32)
    message = str(caught.value)
    assert "give a file" in message
    assert message.count(",") >= 2, "names some tensors"


@each(
    ("name", "other"),
    [("resnet10t", "resnet18d"), (DINO, "deeper"), ("test_convnext", "convnext deeper")],
)
def test_a_file_of_a_deeper_network_is_refused(name, other, write, monkeypatch):
    if other == "deeper":
        with monkeypatch.context() as context:
            context.setattr(timm, "create_model", timm.models.create_model)
            state = state_of(DINO, embed_dim=24, depth=6, num_heads=2)
    elif other == "convnext deeper":
        state = state_of("test_convnext")
        state |= {"stages.2.blocks.9.gamma": torch.zeros(48)}
    else:
        state = state_of(name)
        state |= {"layer3.1.conv1.weight": torch.zeros(256, 256, 3, 3)}
    with pytest.raises(ValueError, match=r"deeper network than the backbone .*further blocks"):
        Backbone(name, write(state), output_stride=14 if name == DINO else 32)


def test_a_mean_and_a_tag_of_their_own():
    assert Backbone("vit_base_patch16_siglip_224", output_stride=16).image_mean == (0.5, 0.5, 0.5)
    assert Backbone(f"{DINO}.lvd142m", output_stride=14).plain
