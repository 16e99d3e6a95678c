"""Scales, mirrors, windows and the CRF against loops written out."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.each import each
from wsss_zoo.functional import dense_crf, pixel_adaptive_refinement, sliding_windows
from wsss_zoo.modules import Evaluation, rescale
from wsss_zoo.modules import evaluation as module


class Network:
    """A convolution that is not symmetric, and a count of its calls and of the pixels they see."""

    def __init__(self, classes=3):
        torch.manual_seed(0)
        self.weight = torch.randn(classes, 3, 5, 5)
        self.calls = []

    def __call__(self, image):
        self.calls.append(tuple(image.shape))
        return F.conv2d(image, self.weight, padding=2)


@pytest.fixture
def image():
    torch.manual_seed(1)
    return torch.rand(2, 3, 23, 31)


def test_default_is_one_forward_pass(image):
    network = Network()
    assert torch.equal(Evaluation()(network, image), network(image).softmax(1))
    assert network.calls == [(2, 3, 23, 31)] * 2


def naive(image, network, window, stride, scales, flip):
    """One image at a time, one view at a time, one window at a time."""
    height, width = image.shape[-2:]
    total, views = 0, 0
    for scale in scales:
        size = (round(height * scale), round(width * scale))
        resized = image
        if size != (height, width):
            resized = F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)
        for mirrored in (False, True)[: 1 + flip]:
            view = resized.flip(-1) if mirrored else resized
            corners = [(0, 0, *size)]
            if window is not None:
                corners = sliding_windows(*size, window, stride)
            probs = torch.zeros(len(image), 3, *size)
            visits = torch.zeros(size)
            for y0, x0, y1, x1 in corners:
                # The same windows of the image itself, mirrored one by one.
                left, right = (size[1] - x1, size[1] - x0) if mirrored else (x0, x1)
                crop = view[..., y0:y1, left:right]
                probs[..., y0:y1, left:right] += network(crop).softmax(1)
                visits[y0:y1, left:right] += 1
            probs = probs / visits
            if mirrored:
                probs = probs.flip(-1)
            if size != (height, width):
                probs = F.interpolate(probs, (height, width), mode="bilinear")
            total, views = total + probs, views + 1
    return total / views


@each("window", [None, 8, 64])
@each("scales", [(1.0,), (0.5, 1.0, 1.7)])
@each("flip", [False, True])
def test_equals_the_loop(image, window, scales, flip):
    evaluation = Evaluation(window, 0.7, scales, flip)
    expected = naive(image, Network(), window, 5 if window == 8 else 44, scales, flip)
    probs = evaluation(Network(), image)
    torch.testing.assert_close(probs, expected)
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 23, 31))


@each(
    "options",
    [{}, {"window": 8}, {"scales": (0.5,)}, {"flip": True}, {"crf": True}, {"par": True}],
)
def test_preds_are_the_most_probable_classes(image, options):
    evaluation, network = Evaluation(**options), Network()
    preds = evaluation.preds(network, image)
    assert preds.dtype == torch.int64
    assert torch.equal(preds, evaluation(network, image).argmax(1))
    # Of equal classes the first, as argmax has it.
    assert evaluation.preds(lambda x: torch.ones_like(x), image).max() == 0


def test_image_and_mirror_share_a_batch(image):
    network = Network()
    Evaluation(scales=(0.5, 1.0), flip=True)(network, image)
    assert network.calls == [(4, 3, 12, 16), (4, 3, 23, 31)]


def test_windows_bound_what_the_network_sees():
    network = Network()
    Evaluation(window=8)(network, torch.rand(1, 3, 50, 60))
    assert set(network.calls) == {(1, 3, 8, 8)}


def test_half_precision_logits_give_float32_probabilities(image):
    probs = Evaluation(flip=True)(lambda x: Network()(x).bfloat16(), image)
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 23, 31))


def test_crf_runs_over_the_classes_that_win_a_pixel(monkeypatch):
    torch.manual_seed(0)
    image = torch.rand(1, 3, 12, 16)
    logits = torch.randn(1, 4, 12, 16)
    logits[:, 2] -= 20
    before = logits.softmax(1)[0]
    kept = before[[0, 1, 3]] / before[[0, 1, 3]].sum(0)
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    expected = dense_crf(np.ascontiguousarray(kept.numpy()), pixels, **module._CRF_OPTIONS)
    probs = Evaluation(crf=True)(lambda _: logits, image)[0]
    np.testing.assert_allclose(probs[[0, 1, 3]].numpy(), expected, atol=1e-6)
    assert probs[2].max() == 0
    assert not torch.equal(probs.argmax(0), before.argmax(0))


def test_crf_leaves_an_image_of_one_class_alone(monkeypatch):
    monkeypatch.setattr(module, "dense_crf", None)
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 5
    probs = Evaluation(crf=True)(lambda _: logits, torch.rand(1, 3, 4, 4))
    assert torch.equal(probs, logits.softmax(1))


def test_par_refines_and_renormalises_a_batch():
    torch.manual_seed(0)
    image, logits = torch.rand(2, 3, 12, 16), torch.randn(2, 4, 12, 16)
    logits[:, 2] = -torch.inf
    before = logits.softmax(1)
    refined = pixel_adaptive_refinement(image, before)
    probs = Evaluation(par=True)(lambda _: logits, image)
    torch.testing.assert_close(probs, refined / refined.sum(1, keepdim=True))
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 12, 16))
    assert probs[:, 2].max() == 0
    assert not torch.equal(probs.argmax(1), before.argmax(1))


def test_crf_and_par_exclude_each_other():
    with pytest.raises(ValueError, match=r"evaluation\.crf and evaluation\.par exclude"):
        Evaluation(crf=True, par=True)


@each("scale", [0.5, 0.73, 1.5, 2.0])
def test_rescale_is_pillows_bicubic(scale):
    # Middling values: Pillow rounds to bytes and clips after each of its two passes.
    pixels = np.random.default_rng(0).integers(90, 160, (37, 53, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    size = (round(53 * scale), round(37 * scale))
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    actual = (rescale(image, scale)[0].permute(1, 2, 0) * 255).numpy()
    assert np.abs(actual - expected).max() < 2


def test_rescale_keeps_one_pixel_and_does_nothing_at_its_own_size():
    image = torch.rand(1, 3, 2, 9)
    assert rescale(image, 0.1).shape == (1, 3, 1, 1)
    assert rescale(image, 1.0) is image


@each(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"window_stride": 0.0}, "window_stride is 0.0"),
        ({"window_stride": 1.5}, "window_stride is 1.5"),
        ({"scales": ()}, "scales is"),
        ({"scales": (1.0, 0.0)}, "scales is"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(**options)


@each("options", [{}, {"flip": True, "scales": (0.5, 1.0), "window": 16}])
def test_only_background_and_tagged_classes_win(image, options):
    tags = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]]).float()
    network = Network(classes=5)
    batch = {"image": image, "image_labels": tags}
    evaluation = Evaluation(**options, gate_by_tags=True)
    probs = evaluation(network, image, evaluation.tags(batch))
    assert probs[0, [2, 4]].max() == 0
    assert (probs[0, [0, 1, 3]] > 0).all()
    torch.testing.assert_close(probs[1, 0], torch.ones(23, 31))
    if not options:
        kept = network(image)[0].softmax(0)
        kept[[1, 3]] *= (1 - kept[0]) / kept[[1, 3]].sum(0)
        kept[1], kept[3] = kept[1] / kept[1].max(), kept[3] / kept[3].max()
        torch.testing.assert_close(probs[0, [0, 1, 3]], kept[[0, 1, 3]] / kept[[0, 1, 3]].sum(0))
    # Each view is gated: not what is left of probabilities that went to other classes.
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 23, 31))


@each("options", [{}, {"window": 16}, {"scales": (0.5, 1.0), "flip": True}])
def test_a_tagged_class_wins_where_it_is_most_probable_in_the_whole_image(image, options):
    def unsure(shown):
        brightness = shown.mean(1, keepdim=True)
        return torch.cat([torch.full_like(brightness, 5), brightness], 1)

    gated, plain = Evaluation(**options, gate_by_tags=True), Evaluation(**options)
    before = plain(unsure, image)
    probs = gated(unsure, image, torch.ones(2, 1))
    assert before.argmax(1).eq(0).all()
    for one, old in zip(probs, before, strict=True):
        assert one[1].argmax() == old[1].argmax()
        assert one.argmax(0)[old[1] == old[1].max()].eq(1).all()


def test_without_the_option_tags_do_nothing(image):
    assert Evaluation().tags({"image": image, "image_labels": torch.ones(2, 1)}) is None


def test_images_without_tags_cannot_be_gated(image):
    with pytest.raises(ValueError, match=r"needs the tags of every image, but a has none; give"):
        Evaluation(gate_by_tags=True).tags({"image": image, "image_id": ["a"]})


def test_every_option_is_an_attribute():
    names = inspect.signature(Evaluation).parameters
    assert set(names) == set(vars(Evaluation()))
