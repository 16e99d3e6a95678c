import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.data.transforms.joint import (
    Augmentation,
    Crop,
    crop_image,
    crop_mask,
    crop_valid,
    fill_box,
    photometric,
    sample_crop,
    sample_cutout,
    to_float,
)

PAD = torch.tensor([10, 20, 30], dtype=torch.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(height: int, width: int) -> torch.Tensor:
    """An image whose red is its row, green its column."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[0] = torch.arange(height)[:, None]
    image[1] = torch.arange(width)[None]
    return image


@each("seed", range(20))
def test_crops_lie_in_the_image_and_fill_what_they_can(seed):
    augmentation = Augmentation()
    crop = sample_crop(rng(seed), 50, 90, 64, augmentation)
    assert 0 <= crop.top <= crop.top + crop.height <= 50
    assert 0 <= crop.left <= crop.left + crop.width <= 90
    scale_y, scale_x = crop.out_height / crop.height, crop.out_width / crop.width
    assert 0.47 < scale_y < 2.1
    assert scale_y == pytest.approx(scale_x, rel=0.06)
    # Padding only where the whole scaled image is smaller than the crop.
    assert crop.out_height == 64 or crop.height == 50
    assert crop.out_width == 64 or crop.width == 90


def test_scale_is_uniform_over_its_range():
    scales = []
    for seed in range(400):
        crop = sample_crop(rng(seed), 1000, 1000, 100, Augmentation(scale_range=(0.5, 2.0)))
        scales.append(crop.out_width / crop.width)
    assert np.mean(scales) == pytest.approx(1.25, abs=0.06)
    assert np.std(scales) == pytest.approx(1.5 / 12**0.5, abs=0.04)


def test_scale_base_is_the_long_side():
    augmentation = Augmentation(scale_range=(1.0, 1.0), scale_base=400)
    crop = sample_crop(rng(), 100, 200, 100, augmentation)
    assert (crop.height, crop.width) == (50, 50)


def test_image_and_mask_stay_together():
    image = ramp(50, 90)
    mask = image[1]
    for seed in range(20):
        crop = sample_crop(rng(seed), 50, 90, 64, Augmentation(scale_range=(1.0, 1.0)))
        cut, cut_mask = crop_image(image, crop, 64, PAD), crop_mask(mask, crop, 64)
        valid = crop_valid(crop, 64)
        assert torch.equal(cut[1][valid], cut_mask[valid])
        assert (cut_mask[~valid] == 255).all()
        assert torch.equal(cut[:, ~valid], PAD[:, None].expand(3, int((~valid).sum())))


def test_geometry_maps_crop_pixels_to_image_pixels():
    image = ramp(80, 120)
    for seed in range(20):
        crop = sample_crop(rng(seed), 80, 120, 64, Augmentation())
        cut = crop_image(image, crop, 64, PAD).flip(2) if crop.flip else None
        cut = crop_image(image, crop, 64, PAD) if cut is None else cut
        top, left, scale_y, scale_x, flip = crop.geometry().tolist()
        assert bool(flip) == crop.flip
        i, j = crop.out_height // 2, crop.out_width // 2
        assert cut[0, i, j] == pytest.approx(top + (i + 0.5) / scale_y - 0.5, abs=1.0)
        assert cut[1, i, j] == pytest.approx(left + (j + 0.5) / scale_x - 0.5, abs=1.0)


def test_flip_mirrors_padding_too():
    crop = Crop(0, 0, 10, 10, 10, 10, flip=True)
    valid = crop_valid(crop, 16)
    assert valid[:10, 6:].all()
    assert not valid[:, :6].any()
    assert (crop_mask(torch.zeros(10, 10, dtype=torch.uint8), crop, 16)[:10, 6:] == 0).all()


def test_photometric_is_a_function_of_the_generator():
    image = torch.from_numpy(rng(1).integers(0, 256, (3, 40, 40), dtype=np.uint8))
    first, second = (photometric(image, rng(5), Augmentation()) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8
    assert not torch.equal(first, photometric(image, rng(6), Augmentation()))


def test_photometric_can_be_off():
    image = torch.from_numpy(rng(1).integers(0, 256, (3, 20, 20), dtype=np.uint8))
    off = Augmentation(jitter_prob=0, grey_prob=0, blur_prob=0)
    assert torch.equal(photometric(image, rng(), off), image)


def test_grey_has_equal_channels():
    image = torch.from_numpy(rng(1).integers(0, 256, (3, 20, 20), dtype=np.uint8))
    grey = photometric(image, rng(), Augmentation(jitter_prob=0, grey_prob=1, blur_prob=0))
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def test_blur_keeps_the_mean_of_a_tiny_image():
    image = torch.full((3, 2, 2), 77, dtype=torch.uint8)
    only_blur = Augmentation(jitter_prob=0, grey_prob=0, blur_prob=1, blur_sigma=(2.0, 2.0))
    assert torch.equal(photometric(image, rng(), only_blur), image)


def test_cutout_boxes_have_the_area_of_the_released_code():
    augmentation = Augmentation(cutout_prob=1.0)
    areas = []
    for seed in range(600):
        y0, x0, y1, x1 = sample_cutout(rng(seed), 128, augmentation)
        assert 0 <= y0 < y1 <= 128
        assert 0 <= x0 < x1 <= 128
        areas.append((y1 - y0) * (x1 - x0) / 128**2)
    # Rejection makes the mean 0.137, not the 0.21 of the range's middle (measured on ST++).
    assert np.mean(areas) == pytest.approx(0.137, abs=0.012)


def test_fixed_cutout_has_the_mean_area_of_pseudoseg():
    augmentation = Augmentation(cutout_prob=1.0, cutout_size=100)
    boxes = [sample_cutout(rng(seed), 513, augmentation) for seed in range(3000)]
    areas = [(y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in boxes]
    assert np.mean(areas) == pytest.approx(9056, rel=0.02)


def test_cutout_off():
    assert sample_cutout(rng(), 64, Augmentation()) is None


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_fill_box_changes_the_box_only(fill):
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    filled = fill_box(image, (2, 3, 8, 9), rng(), fill, PAD)
    assert image.sum() == 0
    changed = (filled != 0).any(0)
    assert changed[2:8, 3:9].float().mean() > 0.9
    changed[2:8, 3:9] = False
    assert not changed.any()


def test_to_float():
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]


@each("scale_range", [(0.0, 1.0), (2.0, 1.0)])
def test_bad_scale_range(scale_range):
    with pytest.raises(ValueError, match="scale_range must be two positive factors"):
        Augmentation(scale_range=scale_range)


def test_bad_probability():
    with pytest.raises(ValueError, match=r"blur_prob must be in \[0, 1\], but got 1.5"):
        Augmentation(blur_prob=1.5)
