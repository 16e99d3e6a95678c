"""Every method trains on a plain ViT, a window transformer and a ConvNeXt."""

from typing import Any

import pytest
import torch

from tests.methods.zoo import CASES, PLAIN, make_data, make_method
from tests.modules.backbones.small import shrink
from wsss_zoo import methods

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)
SWIN = "swin_tiny_patch4_window7_224"
DINO = "vit_small_patch14_dinov2"
# Backbone: options of all methods, and of those with a segmenter besides.
BACKBONES: dict[str, tuple[dict[str, Any], str]] = {
    "test_vit": ({"backbone": "test_vit", "output_stride": 16}, "dpt"),
    DINO: ({"backbone": DINO, "output_stride": 14}, "dpt"),
    SWIN: ({"backbone": SWIN, "output_stride": 32}, "unet"),
    "test_convnext": ({"backbone": "test_convnext", "output_stride": 16}, "deeplabv3plus"),
}
NAMES = sorted(case for case in PLAIN if case != "GATCorrector")
# One of each kind of network; the quickest backbone of a kind.
QUICK = {("CAM", "test_vit"), ("MaskFormer", DINO), ("SelfRegulation", DINO)}
QUICK |= {("Supervised", SWIN), ("PseudoSeg", "test_vit"), ("UniMatchV2", "test_convnext")}


def options_of(case, backbone):
    options, architecture = BACKBONES[backbone]
    if "architecture" in getattr(methods, CASES[case][0]).option_types():
        return options | {"architecture": architecture}
    if case == "CPC":  # patches of two cells
        return options | {"patch_size": 32, "patch_stride": 16}
    return options


@pytest.mark.parametrize(
    ("case", "backbone"),
    [
        pytest.param(case, name, marks=[] if (case, name) in QUICK else [pytest.mark.slow])
        for case in NAMES
        for name in BACKBONES
    ],
)
def test_two_steps_and_a_validation(case, backbone, trainer, tmp_path, monkeypatch):
    shrink(monkeypatch)
    torch.manual_seed(0)
    method = make_method(case, **options_of(case, backbone))
    before = {name: value.clone() for name, value in method.named_parameters()}
    size = 96 if case == "CPC" else 50
    data = make_data(case, tmp_path, image_size=size, crop_size=size)
    fit = trainer(max_steps=2, limit_val_batches=1)
    fit.fit(method, datamodule=data)
    assert fit.global_step == 2
    trained = dict(method.named_parameters())
    assert all(value.isfinite().all() for value in trained.values())
    changed = [name for name, value in trained.items() if not torch.equal(value, before[name])]
    assert any("backbone" in name for name in changed)


def test_gradient_checkpointing_trains_the_same(trainer, tmp_path):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        options = {"grad_checkpointing": checkpointing, "output_stride": 16, "layer_decay": 0.7}
        method = make_method("Supervised", backbone="test_vit", architecture="linear", **options)
        fit = trainer(max_steps=2, limit_val_batches=0)
        fit.fit(method, datamodule=make_data("Supervised", tmp_path))
        assert method.network.backbone.model.grad_checkpointing is checkpointing
        found.append(method.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_crops_that_patches_do_not_divide_are_told(trainer, tmp_path, caplog, monkeypatch):
    shrink(monkeypatch)
    options = {"backbone": DINO, "output_stride": 14, "architecture": "linear"}
    data = make_data("Supervised", tmp_path)
    with caplog.at_level("INFO", "wsss_zoo"):
        trainer(max_steps=1, limit_val_batches=0).fit(make_method("Supervised", **options), data)
    assert "data.crop_size 64 is no multiple of the 14 pixels of a patch" in caplog.text
    assert "take that or 56" in caplog.text
