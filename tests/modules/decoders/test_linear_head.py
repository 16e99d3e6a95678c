"""The linear probe's normalisation."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.modules import Backbone, LinearHead


@each("layers", [1, 4])
def test_it_normalises_the_last_maps(layers):
    torch.manual_seed(0)
    backbone = Backbone("test_vit", output_stride=16)
    head, maps = LinearHead(backbone, layers), [torch.rand(2, 64, 3, 2) for _ in range(4)]
    together = torch.cat(maps[-layers:], 1)
    assert head.out_channels == 64 * layers
    torch.testing.assert_close(head(maps), F.batch_norm(together, None, None, training=True))


def test_one_value_per_channel_is_normalised_by_the_running_statistics():
    head = LinearHead(Backbone("test_vit", output_stride=16))
    maps = [torch.rand(1, 64, 1, 1)] * 4
    torch.testing.assert_close(head.train()(maps), maps[0] / (1 + head.norm.eps) ** 0.5)


@each(
    ("name", "layers", "message"), [("test_vit", 5, "1 to 4"), ("test_resnet", 2, "several grids")]
)
def test_maps_that_there_are_not(name, layers, message):
    with pytest.raises(ValueError, match=message):
        LinearHead(Backbone(name, output_stride=16), layers)
