"""Mixing against a loop, drawn boxes against the laws of the released code."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import cutmix, draw_cutmix_boxes, draw_cutmix_masks


@each("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@each("channels", [None, 3])
def test_mix_equals_the_loop(dtype, channels):
    torch.manual_seed(0)
    shape = (2, 4, 5) if channels is None else (2, channels, 4, 5)
    a, b = (torch.randint(0, 9, shape).to(dtype) for _ in range(2))
    mask = torch.rand(2, 4, 5) < 0.5
    mixed = cutmix(a, b, mask)
    assert mixed.dtype == dtype
    for n, y, x in np.ndindex(2, 4, 5):
        source = b if mask[n, y, x] else a
        assert torch.equal(mixed[n, ..., y, x], source[n, ..., y, x])


def test_mix_of_what_does_not_fit():
    image = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="differ"):
        cutmix(image, image.double(), torch.zeros(2, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask \(1, 4, 4\) does not fit"):
        cutmix(image, image, torch.zeros(1, 4, 4, dtype=torch.bool))


def released_area(rng, size):
    """The loop of the released code: height / width and place again until the box fits."""
    area = rng.uniform(0.02, 0.4) * size * size
    while True:
        ratio = rng.uniform(0.3, 1 / 0.3)
        width, height = int(np.sqrt(area / ratio)), int(np.sqrt(area * ratio))
        left, top = rng.integers(0, size), rng.integers(0, size)
        if left + width <= size and top + height <= size:
            return top, left, height, width


def edges(mask):
    """(top, left, height, width) of a mask that must be one full rectangle."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    assert int(mask.sum()) == height * width
    return top, left, height, width


def test_boxes_follow_the_law_of_the_released_loop():
    torch.manual_seed(0)
    rng, count, size = np.random.default_rng(0), 3000, 64
    boxes = np.array([edges(mask) for mask in draw_cutmix_boxes(count, (size, size), prob=1.0)])
    loop = np.array([released_area(rng, size) for _ in range(count)])
    for mine, theirs in ((boxes, loop),):
        areas, other = (b[:, 2] * b[:, 3] / size**2 for b in (mine, theirs))
        assert areas.mean() == pytest.approx(other.mean(), abs=0.012)
        assert areas.mean() == pytest.approx(0.206, abs=0.012)
        log_ratio, other_ratio = (np.log(b[:, 2] / b[:, 3]) for b in (mine, theirs))
        assert log_ratio.mean() == pytest.approx(other_ratio.mean(), abs=0.06)
        assert log_ratio.std() == pytest.approx(other_ratio.std(), abs=0.04)
        for column in (0, 1):
            assert mine[:, column].mean() == pytest.approx(theirs[:, column].mean(), abs=1.0)


@each(("prob", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_share_of_images_with_a_box(prob, expected):
    torch.manual_seed(0)
    some = draw_cutmix_boxes(2000, (16, 16), prob).flatten(1).any(1).float().mean()
    assert float(some) == pytest.approx(expected, abs=0.04)


def test_each_image_has_its_own_box():
    torch.manual_seed(0)
    masks = draw_cutmix_boxes(8, (32, 48), 1.0)
    assert masks.shape == (8, 32, 48)
    assert len({tuple(edges(mask)) for mask in masks}) == 8


def released_mask(rng, size):
    """French et al.'s boxes as TorchSemiSeg draws them: toggled, from zeros."""
    share = rng.uniform(0.25, 0.5, 3)
    height = np.exp(rng.uniform(0, 1, 3) * np.log(share))
    width = share / height
    heights, widths = (np.round(v * np.sqrt(1 / 3) * size) for v in (height, width))
    mask = np.zeros((size, size), dtype=bool)
    for box_height, box_width in zip(heights, widths, strict=True):
        top = round((size - box_height) * rng.uniform())
        left = round((size - box_width) * rng.uniform())
        region = np.s_[top : top + int(box_height), left : left + int(box_width)]
        mask[region] = ~mask[region]
    return mask


def test_masks_cover_what_the_released_loop_covers():
    torch.manual_seed(0)
    rng, count, size = np.random.default_rng(0), 1500, 48
    mine = draw_cutmix_masks(count, (size, size)).float().mean((1, 2)).numpy()
    theirs = np.array([released_mask(rng, size).mean() for _ in range(count)])
    assert mine.mean() == pytest.approx(0.251, abs=0.008)
    assert mine.mean() == pytest.approx(theirs.mean(), abs=0.008)
    assert mine.std() == pytest.approx(theirs.std(), abs=0.006)
    everywhere = draw_cutmix_masks(count, (size, size)).float().mean(0)
    assert everywhere[size // 2, size // 2] > everywhere[0, 0]


def test_draws_repeat_from_a_seed():
    for draw in (draw_cutmix_boxes, draw_cutmix_masks):
        torch.manual_seed(5)
        first = draw(4, (20, 30))
        torch.manual_seed(5)
        assert torch.equal(first, draw(4, (20, 30)))


@each("options", [{"ratio": 0}, {"prob": 1.5}, {"area": (0.5, 0.2)}])
def test_bad_laws(options):
    with pytest.raises(ValueError, match="give prob and area"):
        draw_cutmix_boxes(1, (8, 8), **options)


@each("options", [{"boxes": 0}, {"area": (0.0, 0.5)}])
def test_bad_masks(options):
    with pytest.raises(ValueError, match="at least one box"):
        draw_cutmix_masks(1, (8, 8), **options)
