"""Export of segmenters on ViTs: any image size, or a refusal with the reason."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models import vision_transformer

from tests.checkpoints import NAMES, with_opinions
from tests.each import each
from tests.modules.backbones.small import PLAIN, shrink
from wsss_zoo import Supervised
from wsss_zoo.deploy import export as exporting
from wsss_zoo.deploy.export import export_segmenter
from wsss_zoo.deploy.position_embedding import (
    free_grids,
    resample_position_embedding,
    resampling_matrix,
)
from wsss_zoo.runs.checkpoints.segmenter import TrainedSegmenter

DINO = "vit_small_patch14_dinov2"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch)


def segmenter(name=DINO, architecture="dpt"):
    torch.manual_seed(0)
    stride = PLAIN[name][0] if name in PLAIN else 32
    method = Supervised(3, name, architecture=architecture, output_stride=stride)
    return TrainedSegmenter(with_opinions(method).eval(), NAMES, True, True)


@each(("old", "new"), [(37, 37), (37, 16), (10, 23), (4, 1), (7, 14)])
def test_matrix_is_that_of_bicubic_resizing_with_antialiasing(old, new):
    x = torch.randn(1, 5, old, 3)
    expected = F.interpolate(x, (new, 3), mode="bicubic", antialias=True)
    found = torch.einsum("ij,ncjw->nciw", resampling_matrix(old, new, x.device), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@each(("prefix", "old_size"), [(1, None), (5, None), (0, (6, 9))])
def test_position_embeddings_are_those_of_timm(prefix, old_size):
    rows, columns = old_size or (6, 6)
    embedding = torch.randn(1, prefix + rows * columns, 8)
    options = {"new_size": (5, 11), "old_size": old_size, "num_prefix_tokens": prefix}
    expected = resample_abs_pos_embed(embedding, **options)
    found = resample_position_embedding(embedding, **options)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_timm_is_as_before_afterwards():
    before = vision_transformer.resample_abs_pos_embed
    network = segmenter().method
    with free_grids(network):
        assert vision_transformer.resample_abs_pos_embed is not before
    assert vision_transformer.resample_abs_pos_embed is before
    assert not network.network.backbone.model.patch_embed._forward_hooks


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        (DINO, "dpt"),
        pytest.param("vit_tiny_patch16_224", "linear", marks=pytest.mark.slow),
        pytest.param("vit_base_patch16_siglip_224", "dpt", marks=pytest.mark.slow),
        pytest.param("vit_small_patch16_dinov3", "dpt", marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", "unet", marks=pytest.mark.slow),
        pytest.param("convnextv2_atto", "dpt", marks=pytest.mark.slow),
    ],
)
def test_onnx(name, architecture, tmp_path):
    pytest.importorskip("onnxruntime")
    found = export_segmenter(segmenter(name, architecture), tmp_path / "a.onnx", "onnx")
    assert found.largest < 1e-4
    assert found.magnitude > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", [DINO, "vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_torch_export(name, tmp_path):
    found = export_segmenter(segmenter(name), tmp_path / "a.pt2", "torch_export")
    assert found.largest < 1e-4
    assert found.magnitude > 0.01


def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such operator\nlong trace")

    monkeypatch.setattr(exporting, "export_onnx", fail)
    message = r"cannot export this network to onnx \(no such operator\); nothing was written"
    with pytest.raises(ValueError, match=message):
        export_segmenter(segmenter(), tmp_path / "a.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_bound_to_the_exporters_size_is_refused_with_the_reason(
    tmp_path, monkeypatch
):
    """As torch.export leaves DINOv3 and ConvNeXt."""

    def write(network, path, metadata):
        path.write_text("a program")

        def run(image):
            raise AssertionError("Guard failed: (15 + image.size()[2]) // 16 == 6\nlong trace")

        return run

    monkeypatch.setattr(exporting, "export_program", write)
    message = (
        r"cannot take an image of \(\d, 3, \d+, \d+\) \(Guard failed: .* == 6\); nothing was "
        "written; try the other format"
    )
    with pytest.raises(ValueError, match=message):
        export_segmenter(segmenter(), tmp_path / "a.pt2", "torch_export")
    assert not list(tmp_path.iterdir())
