"""DPT against a plain formula of its own, on ViTs and pyramids."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.modules.backbones.small import shrink
from wsss_zoo.modules import DPT, Backbone, Segmenter

DINO = "vit_small_patch14_dinov2"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch)


def convolve(state, name, x, **options):
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def unit(state, name, x):
    inner = convolve(state, f"{name}.conv1", x.relu(), padding=1)
    return x + convolve(state, f"{name}.conv2", inner.relu(), padding=1)


def reference(state, maps, plain):
    """The decoder by its equations, from deep to shallow."""
    if plain:
        maps = [convolve(state, f"projects.{i}", map_) for i, map_ in enumerate(maps)]
        for i, stride in ((0, 4), (1, 2)):
            name = f"resize_layers.{i}"
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            maps[i] = F.conv_transpose2d(maps[i], weight, bias, stride)
        maps[3] = convolve(state, "resize_layers.3", maps[3], stride=2, padding=1)
    e = [convolve(state, f"entries.{i}", map_, padding=1) for i, map_ in enumerate(maps)]
    y = None
    for i in (3, 2, 1, 0):
        x = e[i] if y is None else y + unit(state, f"fusions.{i}.entering", e[i])
        x = unit(state, f"fusions.{i}.joined", x)
        size = e[i - 1].shape[-2:] if i else [2 * side for side in e[0].shape[-2:]]
        x = F.interpolate(x, size, mode="bilinear", align_corners=True)
        y = convolve(state, f"fusions.{i}.out_conv", x)
    return convolve(state, "last", y, padding=1).relu()


@each("size", [(42, 70), (56, 56), (14, 14)])
def test_decoder_of_a_vit_against_its_equations(size):
    torch.manual_seed(0)
    backbone = Backbone(DINO, output_stride=14).eval()
    decoder = DPT(backbone, width=8, channels=(4, 6, 8, 12))
    with torch.no_grad():
        maps = backbone(torch.rand(2, 3, *size))
        expected = reference(decoder.state_dict(), maps, plain=True)
        found = decoder(maps)
    assert found.shape == (2, 8, size[0] * 8 // 14, size[1] * 8 // 14)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["test_resnet", "swin_tiny_patch4_window7_224"])
def test_decoder_of_a_pyramid_reads_its_last_four_maps_as_they_are(name):
    torch.manual_seed(0)
    backbone = Backbone(name, output_stride=32).eval()
    decoder = DPT(backbone)
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, 64, 96))
        expected = reference(decoder.state_dict(), maps[-4:], plain=False)
        assert decoder.out_channels == 128
        assert decoder.inputs == ((1, 2, 3, 4) if name == "test_resnet" else (0, 1, 2, 3))
        torch.testing.assert_close(decoder(maps), expected)


class Maps:
    """What a decoder asks of a backbone."""

    name, plain, strides = "fake", True, (14,) * 4

    def __init__(self, width):
        self.channels = [width] * 4


@each(
    ("width", "out", "number"),
    [(384, 64, 2.66e6), (768, 128, None), (1024, 256, None), (1280, 384, None)],
)
def test_widths_follow_the_vit(width, out, number):
    decoder = DPT(Maps(width))
    assert decoder.out_channels == out
    if number is not None:
        parameters = sum(parameter.numel() for parameter in decoder.parameters())
        assert parameters == pytest.approx(number, rel=0.005)


def test_every_parameter_gets_a_gradient():
    network = Segmenter(5, DINO, "dpt", output_stride=14)
    network(torch.rand(1, 3, 28, 42)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@each("size", [(1, 1), (13, 13), (5, 200), (33, 50)])
@each("architecture", ["dpt", "linear", "largefov"])
def test_logits_have_the_size_of_the_image(size, architecture):
    network = Segmenter(5, DINO, architecture, output_stride=14).eval()
    with torch.no_grad():
        logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


@each("architecture", ["deeplabv3plus", "unet"])
def test_decoders_of_pyramids_refuse_a_vit(architecture):
    with pytest.raises(ValueError, match=r"growing stride.*take architecture 'dpt' or 'linear'"):
        Segmenter(5, DINO, architecture, output_stride=14)


def test_channels_that_do_not_fit():
    with pytest.raises(ValueError, match=r"channels is .*four maps"):
        DPT(Maps(24), channels=(1, 2))
    with pytest.raises(ValueError, match="not projected; leave it out"):
        DPT(Backbone("test_resnet"), channels=(1, 2, 3, 4))
