"""Labels from activation maps and saliency against a loop over pixels."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import saliency_label

TAGS = torch.tensor([0, 1, 0, 1, 1])


def scene(seed: int = 0, size: tuple[int, int] = (23, 31)) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps, and saliency of 8 bits, in which many values are extreme: every rule acts."""
    rng = np.random.default_rng(seed)
    cam = (1.4 * rng.beta(0.6, 0.8, (5, *size)) - 0.2).clip(0, 1)
    saliency = np.rint(255 * rng.beta(0.3, 0.5, size)) / 255
    return torch.from_numpy(cam).float(), torch.from_numpy(saliency).float()


def loop(cam, tags, saliency, fg=0.3, conflict=0.99, att=0.95, sal=32 / 255, least=0.01):
    """The rules one after the other, one pixel at a time, in double precision."""
    _, height, width = cam.shape
    present = [k for k in range(len(tags)) if tags[k] > 0]
    stretched = {}
    for k in present:
        values = [float(cam[k, y, x]) for y in range(height) for x in range(width)]
        low, high = min(values), max(values)
        stretched[k] = {
            (y, x): (float(cam[k, y, x]) - low) / (high - low + 1e-8)
            for y in range(height)
            for x in range(width)
        }
    label, foreground = np.zeros((height, width), dtype=np.int64), 0
    for y, x in np.ndindex(height, width):
        salient = float(saliency[y, x])
        scores = [(0, 1 - salient)] + [(k + 1, stretched[k][y, x]) for k in present]
        scores = [(index, 0.0 if value < fg else value) for index, value in scores]
        best = 0.0
        for index, value in scores:
            if value > best:
                best, label[y, x] = value, index
        if any(stretched[k][y, x] > att for k in present):
            salient = 1.0
        conflicts = sum(value > conflict for _, value in scores) > 1
        if conflicts or (label[y, x] == 0 and salient >= sal - 1e-6):
            label[y, x] = 255
        foreground += label[y, x] not in (0, 255)
    if foreground / (height * width) < least:
        label[:] = 255
    return label


@each("seed", range(4))
def test_equals_the_loop(seed):
    cam, saliency = scene(seed)
    label = saliency_label(cam, TAGS, saliency)
    assert label.dtype == torch.int64
    np.testing.assert_array_equal(label.numpy(), loop(cam, TAGS, saliency))
    assert set(label.unique().tolist()) == {0, 2, 4, 5, 255}


@each(
    ("ours", "loops"),
    [
        ({"fg_threshold": 0.6}, {"fg": 0.6}),
        ({"conflict_threshold": 0.7}, {"conflict": 0.7}),
        ({"attention_threshold": 0.5}, {"att": 0.5}),
        ({"saliency_threshold": 0.5}, {"sal": 0.5}),
        ({"min_foreground": 0.9}, {"least": 0.9}),
    ],
)
def test_every_threshold_acts_as_in_the_loop(ours, loops):
    cam, saliency = scene(7)
    label = saliency_label(cam, TAGS, saliency, **ours)
    np.testing.assert_array_equal(label.numpy(), loop(cam, TAGS, saliency, **loops))
    assert not torch.equal(label, saliency_label(cam, TAGS, saliency))


def test_all_8_bit_saliencies():
    # First row: hardly attended; second row: attended and salient.
    saliency = torch.arange(256).view(1, 256).float() / 255
    cam = torch.full((1, 2, 256), 0.2)
    cam[0, 1], cam[0, 0, 0] = 0.9, 0.0
    label = saliency_label(cam, torch.ones(1), torch.cat([saliency, torch.ones(1, 256)]))
    expected = np.where(np.arange(256) >= 32, 255, 0)
    np.testing.assert_array_equal(label[0].numpy(), expected)
    assert (label[1] == 1).all()


def test_strong_attention_puts_the_background_in_doubt():
    # 0.96 loses to the background's 1.0, and is no conflict.
    cam = torch.tensor([[[0.0, 0.96, 1.0, 0.94]]])
    label = saliency_label(cam, torch.ones(1), torch.tensor([[0.0, 0.0, 0.5, 0.0]]))
    assert label.tolist() == [[0, 255, 1, 0]]


def test_two_certain_classes_are_a_conflict():
    cam = torch.tensor([[[1.0, 1.0, 0.0, 0.5]], [[1.0, 0.98, 0.0, 0.5]]])
    saliency = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    assert saliency_label(cam, torch.ones(2), saliency).tolist() == [[255, 1, 0, 1]]


def test_weak_background_is_cut_too_and_then_in_doubt():
    # Saliency 0.8 leaves the background 0.2: below 0.3, as the map's 0.25 is.
    cam = torch.tensor([[[0.25, 0.0, 1.0]]])
    label = saliency_label(cam, torch.ones(1), torch.tensor([[0.8, 0.0, 0.9]]))
    assert label.tolist() == [[255, 0, 1]]


@each(("count", "kept"), [(0, False), (6, False), (7, True), (8, True)])
def test_too_little_foreground_is_all_in_doubt(count, kept):
    cam, saliency = torch.zeros(1, 7, 100), torch.zeros(7, 100)
    cam.view(-1)[:count] = 1.0
    saliency.view(-1)[:count] = 1.0
    label = saliency_label(cam, torch.ones(1), saliency)
    expected = (cam[0] > 0).long() if kept else torch.full((7, 100), 255)
    assert torch.equal(label, expected)


def test_constant_map_is_no_attention():
    cam = torch.full((1, 4, 4), 0.7)
    label = saliency_label(cam, torch.ones(1), torch.zeros(4, 4), min_foreground=0.0)
    assert not label.any()


def test_without_tags_all_is_background():
    cam, saliency = scene()
    assert not saliency_label(cam, torch.zeros(5), saliency).any()


def test_absent_classes_have_no_influence():
    cam, saliency = scene()
    other = cam.clone()
    other[[0, 2]] = torch.nan
    expected = saliency_label(cam, TAGS, saliency)
    assert torch.equal(saliency_label(other, TAGS, saliency), expected)
    assert torch.equal(saliency_label(cam, TAGS.float(), saliency), expected)
    assert torch.equal(saliency_label(cam, TAGS > 0, saliency), expected)


def test_maps_are_stretched_so_that_scale_and_offset_do_not_matter():
    cam, saliency = scene()
    expected = saliency_label(cam.double(), TAGS, saliency)
    # Where 1e-8 is a smaller part of the range, 1.0 comes nearer to 1: both exceed all thresholds.
    assert torch.equal(saliency_label(4 * cam.double() + 2, TAGS, saliency.double()), expected)


def test_half_precision_maps():
    cam, saliency = scene()
    half = cam.half()
    assert torch.equal(
        saliency_label(half, TAGS, saliency), saliency_label(half.float(), TAGS, saliency)
    )


@each(
    ("cam", "tags", "saliency"),
    [((1, 2, 3, 4), (2,), (3, 4)), ((2, 3, 4), (3,), (3, 4)), ((2, 3, 4), (2,), (4, 3))],
)
def test_shapes_that_do_not_fit(cam, tags, saliency):
    with pytest.raises(ValueError, match=r"do not fit; give \(K, H, W\), \(K,\) and \(H, W\)"):
        saliency_label(torch.rand(cam), torch.ones(tags), torch.rand(saliency))


def test_saliency_of_8_bits_is_refused():
    with pytest.raises(ValueError, match=r"saliency is torch\.uint8; .*divide 8 bits by 255"):
        saliency_label(torch.rand(2, 3, 4), torch.ones(2), torch.zeros(3, 4, dtype=torch.uint8))
