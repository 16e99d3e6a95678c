"""ViTDet's pyramid, and the mask transformer that reads it."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.modules.backbones.small import shrink
from wsss_zoo.modules import Backbone, MaskTransformer, SimplePyramid

DINO = "vit_small_patch14_dinov2"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch)


def test_maps_against_plain_functions():
    torch.manual_seed(0)
    pyramid = SimplePyramid(Backbone(DINO, output_stride=14))
    last, state = torch.rand(2, 24, 3, 5), pyramid.state_dict()

    def up(x, name):
        return F.conv_transpose2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 2)

    inner = up(last, "layers.0.0").permute(0, 2, 3, 1)
    inner = F.layer_norm(inner, (12,), eps=1e-6).permute(0, 3, 1, 2)
    expected = [up(F.gelu(inner), "layers.0.3"), up(last, "layers.1"), last]
    expected.append(F.max_pool2d(last, 2, ceil_mode=True))
    for map_, other, channels in zip(pyramid([last]), expected, pyramid.channels, strict=True):
        assert map_.shape[1] == channels
        torch.testing.assert_close(map_, other, rtol=1e-4, atol=1e-5)


def test_a_pyramid_needs_none():
    with pytest.raises(ValueError, match="has a pyramid of its own"):
        SimplePyramid(Backbone("test_resnet"))


@each("size", [(20, 30), (28, 28)])
def test_masks_of_patches_of_14_lie_where_they_should(size):
    torch.manual_seed(0)
    network = MaskTransformer(3, DINO, None, 5, 16, 1, 2, 8, output_stride=14).eval()
    with torch.no_grad():
        proposals = network(torch.rand(2, 3, *size))
        scores = network.scores(torch.rand(2, 3, *size))
    rows, columns = (-(-side // 14) for side in size)
    assert proposals.mask_logits.shape[-2:] == (4 * rows, 4 * columns)
    assert network.stride == 3.5
    assert scores.shape == (2, 3, *size)
