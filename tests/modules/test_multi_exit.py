"""Exits: where they sit, what they see, and the cells they are compared on."""

import pytest
import torch

from tests.each import each
from wsss_zoo.modules import (
    MultiExit,
    Segmenter,
    inner_features,
    mask_of_cells,
    padded_size,
    to_cells,
)


def network(architecture="deeplabv3plus", output_stride=16):
    torch.manual_seed(0)
    return Segmenter(4, "test_efficientnet", architecture, output_stride=output_stride).eval()


@pytest.mark.parametrize(
    ("architecture", "output_stride", "inner"),
    [("deeplabv3plus", 16, 4), ("largefov", 8, 4), ("unet", 32, 9)],
)
def test_one_exit_per_stage_and_one_pass(architecture, output_stride, inner):
    net = network(architecture, output_stride)
    image, passes = torch.rand(2, 3, 50, 70), []
    net.backbone.register_forward_hook(lambda *_: passes.append(1))
    maps, decoded = inner_features(net, image)
    assert len(passes) == 1
    assert len(maps) == inner
    logits = net.head(decoded)
    resized = to_cells([logits], padded_size(net.backbone, image), 1)[0][..., :50, :70]
    torch.testing.assert_close(resized, net(image))
    exits = MultiExit(net, 4).eval()
    seg, scores = exits(maps, logits)
    assert len(seg) == len(scores) == inner + 1
    assert seg[-1] is logits
    assert all(map_.shape[2:] == own.shape[2:] for map_, own in zip(maps, seg, strict=False))
    for layer, map_, score in zip(exits.class_layers, seg, scores, strict=True):
        torch.testing.assert_close(score, layer(map_.mean((2, 3))))


def test_fewer_exits_are_the_deepest_ones():
    net = network()
    maps, decoded = inner_features(net, torch.rand(1, 3, 64, 64))
    exits = MultiExit(net, 4, exits=3).eval()
    seg, _ = exits(maps, net.head(decoded))
    assert [tuple(map_.shape[2:]) for map_ in seg[:-1]] == [
        tuple(map_.shape[2:]) for map_ in maps[-2:]
    ]


@each("count", [1, 6])
def test_more_exits_than_stages_or_fewer_than_two_are_refused(count):
    with pytest.raises(ValueError, match=rf"exits is {count}, but test_efficientnet .* has 5"):
        MultiExit(network(), 4, exits=count)


def test_unknown_heads_are_refused():
    with pytest.raises(ValueError, match="exit_head is 'heavy'"):
        MultiExit(network(), 4, head="heavy")


def test_full_heads_are_the_released_ones():
    head = MultiExit(network(), 4, head="full").heads[0]
    kinds = [(type(layer).__name__, getattr(layer, "kernel_size", None)) for layer in head]
    stem = [("Conv2d", (3, 3)), ("BatchNorm2d", None), ("ReLU", None)]
    assert kinds == [*stem, *stem, ("Conv2d", (1, 1))]
    assert head[0].out_channels == head[3].out_channels == 256


def test_projections_bring_deeper_maps_to_the_shallowest_ones_channels():
    net = network()
    maps, decoded = inner_features(net, torch.rand(1, 3, 64, 64))
    students, first = MultiExit(net, 4, projections=True).project(maps, decoded)
    assert first is maps[0]
    assert {student.shape[1] for student in students} == {maps[0].shape[1]}
    assert len(students) == len(maps)


def test_a_cell_has_the_class_of_its_middle_and_padding_has_none():
    mask = torch.arange(6 * 9).view(1, 6, 9)
    cells = mask_of_cells(mask, (8, 16), 4)
    assert cells.tolist() == [[[20, 24, 255, 255], [255, 255, 255, 255]]]
    assert torch.equal(mask_of_cells(mask, (6, 9), 1), mask)


def test_maps_and_masks_have_the_same_cells():
    net, image = network(), torch.rand(1, 3, 53, 70)
    padded = padded_size(net.backbone, image)
    mask = torch.zeros(1, 53, 70, dtype=torch.int64)
    for cell in (1, 4):
        resized = to_cells([torch.rand(1, 4, 5, 5)], padded, cell)[0]
        assert resized.shape[2:] == mask_of_cells(mask, padded, cell).shape[1:]
