"""Files of weights: what fits, what is told, what is refused."""

import logging

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from tests.each import each
from wsss_zoo.modules import (
    Backbone,
    load_backbone_weights,
    load_network_weights,
    read_state_dict,
)

NAME = "test_resnet"


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return timm.create_model(NAME)


def equal(module, state, prefix=""):
    return all(
        torch.equal(value, state[prefix + name]) for name, value in module.state_dict().items()
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_classifier_file_fills_backbone_and_head_is_told(classifier, tmp_path, suffix, caplog):
    path = tmp_path / f"weights{suffix}"
    state = classifier.state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    with caplog.at_level(logging.WARNING):
        backbone = Backbone(NAME, str(path))
    assert equal(backbone.model, state)
    assert "fc.weight" in caplog.text
    assert str(path) in caplog.text


@each("wrapper", ["state_dict", "model", "model_state_dict"])
@each("prefix", ["module.", "network.backbone.model."])
def test_prefixes_and_wrappers(classifier, tmp_path, wrapper, prefix):
    state = {prefix + name: value for name, value in classifier.state_dict().items()}
    torch.save({"epoch": 3, wrapper: state}, tmp_path / "weights.pth")
    backbone = Backbone(NAME, str(tmp_path / "weights.pth"))
    assert equal(backbone.model, state, prefix)


def test_names_that_timm_flattens(tmp_path):
    full = timm.create_model("test_convnext")
    torch.save(full.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone("test_convnext", str(tmp_path / "weights.pth"))
    name = "stages.2.blocks.0.conv_dw.weight"
    flat = name.replace("stages.2", "stages_2")
    assert name in full.state_dict()
    assert torch.equal(backbone.model.state_dict()[flat], full.state_dict()[name])


def test_encoder_of_segmentation_models_pytorch(classifier, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    network = smp.Unet(f"tu-{NAME}", encoder_weights=None)
    load_backbone_weights(network.encoder.model, tmp_path / "weights.pth")
    assert equal(network.encoder.model, classifier.state_dict())


def test_missing_batch_counters_are_no_error(classifier, tmp_path):
    state = {k: v for k, v in classifier.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "weights.pth")
    Backbone(NAME, str(tmp_path / "weights.pth"))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        Backbone(NAME, str(tmp_path / "nowhere.pth"))


def test_missing_keys_are_named(classifier, tmp_path):
    state = classifier.state_dict()
    del state["layer3.0.conv1.weight"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth lacks 1 of .*layer3\.0\.conv1\.weight"):
        Backbone(NAME, str(tmp_path / "weights.pth"))


def test_weights_of_another_backbone(classifier, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"lacks .* tensors of the backbone"):
        Backbone("test_efficientnet", str(tmp_path / "weights.pth"))


def test_other_shape_is_named(classifier, tmp_path):
    state = classifier.state_dict()
    state["conv1.0.weight"] = torch.zeros(1, 2, 3, 4)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"conv1\.0\.weight has the shape \(1, 2, 3, 4\)"):
        Backbone(NAME, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@each("content", [b"", b"not a weights file at all", b"PK\x03\x04broken"])
def test_corrupt_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.* cannot be read"):
        read_state_dict(path)


def test_pickled_objects_are_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read.*never unpickled"):
        read_state_dict(tmp_path / "evil.pth")


def test_file_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        read_state_dict(tmp_path / "empty.pth")


def test_unknown_suffix(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"suffix '\.h5'; supported are \.safetensors"):
        read_state_dict(tmp_path / "weights.h5")


def network(classes=3):
    return torch.nn.ModuleDict(
        {"body": torch.nn.Conv2d(3, 4, 1), "head": torch.nn.Conv2d(4, classes, 1)}
    )


def test_network_starts_from_checkpoint(tmp_path):
    given, taken = network(), network()
    torch.save({"state_dict": given.state_dict()}, tmp_path / "last.ckpt")
    load_network_weights(taken, tmp_path / "last.ckpt")
    assert equal(taken, given.state_dict())


def test_network_refuses_missing_and_extra_names(tmp_path):
    state = network().state_dict()
    state["other.weight"] = state.pop("head.weight")
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"lacks 1 .*head\.weight.* 1 too many \(other\.weight\)"):
        load_network_weights(network(), tmp_path / "last.ckpt")


def test_network_refuses_another_number_of_classes(tmp_path):
    torch.save(network(5).state_dict(), tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"head\.weight has the shape \(5, 4, 1, 1\)"):
        load_network_weights(network(), tmp_path / "last.ckpt")


@pytest.mark.parametrize("other", ["absent", "shape", "extra"])
def test_weights_outside_the_core_may_differ(tmp_path, other, caplog):
    given, taken = network(), network()
    state, before = given.state_dict(), taken["head"].weight.clone()
    if other == "absent":
        state = {name: value for name, value in state.items() if not name.startswith("head.")}
    elif other == "shape":
        state = {**state, "head.weight": torch.zeros(7, 4, 1, 1), "head.bias": torch.zeros(7)}
    else:
        state["head.scale"] = torch.ones(1)
    torch.save(state, tmp_path / "last.ckpt")
    load_network_weights(taken, tmp_path / "last.ckpt", "body.")
    assert torch.equal(taken["body"].weight, given["body"].weight)
    assert torch.equal(taken["head"].weight, given["head"].weight if other == "extra" else before)
    assert ("start afresh: head.weight" in caplog.text) == (other != "extra")
