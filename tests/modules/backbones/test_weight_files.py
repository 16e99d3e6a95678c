"""Files of ViTs and Swin, in the names of timm and of the authors, and files of other networks."""

import logging
import re

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


def metas_registers(own):
    """Meta's file of a DINOv2 with registers, whose position embedding has a row for the class."""
    state = state_of(REGISTERS)
    state["register_tokens"] = state.pop("reg_token")
    state["pos_embed"] = torch.cat([own, state["pos_embed"]], 1)
    return state | {"mask_token": torch.zeros(1, 24)}


def test_metas_names_of_dinov2_with_registers(write, caplog):
    own, expected = torch.rand(1, 1, 24), state_of(REGISTERS)
    prefixed = {f"backbone.{key}": value for key, value in metas_registers(own).items()}
    backbone = Backbone(REGISTERS, write(prefixed), output_stride=14)
    assert torch.equal(backbone.model.pos_embed, expected["pos_embed"])
    assert torch.equal(backbone.model.reg_token, expected["reg_token"])
    torch.testing.assert_close(backbone.model.cls_token, expected["cls_token"] + own)
    assert "resampled" not in caplog.text


def test_metas_registers_have_no_place_in_dinov2_without(write):
    """All other tensors fit."""
    path = write(metas_registers(torch.rand(1, 1, 24)))
    with pytest.raises(ValueError, match="no place for register_tokens; give a file made for this"):
        Backbone(DINO, path, output_stride=14)


def test_metas_names_of_dinov3(write, capsys):
    name = "vit_small_patch16_dinov3"
    renamed = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    state = {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.rand(4)}
    for key, value in state_of(name).items():
        *parents, last = key.split(".")
        state[".".join([*parents, renamed.get(last, last)])] = value
    for block in range(4):
        # Of keys the bias is masked, whatever the file has.
        bias = torch.cat([torch.zeros(32), torch.ones(32), torch.zeros(32)])
        state[f"blocks.{block}.attn.qkv.bias"] = bias
    backbone, expected = Backbone(name, write(state)), state_of(name)
    assert all(torch.equal(v, expected[k]) for k, v in backbone.model.state_dict().items())
    assert capsys.readouterr().out == ""
    state["blocks.2.attn.qkv.bias"][70] = 1
    with pytest.raises(ValueError, match=r"biases .* lacks \(blocks\.2\.attn.*with _qkvb in its"):
        Backbone(name, write(state))


def test_a_running_average_in_the_file_is_told(write, caplog):
    """As UniMatch V2's training leaves it."""
    state = {f"module.backbone.{key}": value for key, value in state_of(DINO).items()}
    Backbone(DINO, write({"model": state, "model_ema": state, "epoch": 3}), output_stride=14)
    assert "the tensors of 'model' are read, not those of model_ema" in caplog.text
    with pytest.raises(ValueError, match="no tensors, except in student, teacher: save one of"):
        Backbone(DINO, write({"student": state, "teacher": state}), output_stride=14)


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


def test_microsofts_names_of_swin(write, caplog):
    """Downsampling belongs to the layer before; tables come with their indices."""
    state, expected = {}, state_of(SWIN)
    for key, value in expected.items():
        match = re.fullmatch(r"layers\.(\d)\.(downsample.*)", key)
        if match:
            key = f"layers.{int(match[1]) - 1}.{match[2]}"
        key = key.replace("head.fc.", "head.")
        state[key] = value
        if key.endswith("relative_position_bias_table"):
            index = torch.zeros(49, 49, dtype=torch.int64)
            state[key.replace("bias_table", "index")] = index
    backbone = Backbone(SWIN, write({"model": state}), output_stride=32)
    flat = {canonical(key): value for key, value in expected.items()}
    own = backbone.model.state_dict()
    assert all(torch.equal(value, flat[canonical(key)]) for key, value in own.items())
    assert "resampled" not in caplog.text


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


def test_a_file_of_another_width_names_the_backbone_and_tensors(write, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(timm, "create_model", timm.models.create_model)
        path = write(state_of(DINO, embed_dim=48, depth=4, num_heads=2))
    message = (
        rf"weights\.pth: cls_token has the shape \(1, 1, 48\), the backbone {DINO} needs "
        r"\(1, 1, 24\); 62 of 62 tensors of the backbone have other shapes "
        r"\(cls_token, pos_embed, patch_embed\.proj\.weight, \.\.\.\): give a file made for this"
    )
    with pytest.raises(ValueError, match=message):
        Backbone(DINO, path, output_stride=14)


def test_a_file_with_more_in_each_block_is_of_another_network_but_no_deeper_one(write):
    message = r"another network than the backbone vit_tiny.* no place for blocks\.0\.ls1\.gamma, "
    with pytest.raises(ValueError, match=message):
        Backbone("vit_tiny_patch16_224", write(state_of(DINO) | _two_blocks_more()))


def _two_blocks_more():
    """The small ViT has six blocks, the small DINOv2 four."""
    state = {k: v for k, v in state_of("vit_tiny_patch16_224").items() if k.startswith("blocks.")}
    return {key: value for key, value in state.items() if key.split(".")[1] in ("4", "5")}


def test_a_mean_and_a_tag_of_their_own():
    assert Backbone("vit_base_patch16_siglip_224", output_stride=16).image_mean == (0.5, 0.5, 0.5)
    assert Backbone(f"{DINO}.lvd142m", output_stride=14).plain
