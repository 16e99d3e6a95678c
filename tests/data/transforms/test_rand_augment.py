"""RandAugment's operations against Pillow's, from which FixMatch takes them."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tests.each import each
from wsss_zoo.data.transforms.joint import Augmentation, photometric
from wsss_zoo.data.transforms.rand_augment import OPERATIONS, rand_augment

PILLOW = {
    "identity": lambda image, level: image,
    "auto_contrast": lambda image, level: ImageOps.autocontrast(image),
    "equalize": lambda image, level: ImageOps.equalize(image),
    "brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(0.09 * level + 0.05),
    "color": lambda image, level: ImageEnhance.Color(image).enhance(0.09 * level + 0.05),
    "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(0.09 * level + 0.05),
    "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(0.09 * level + 0.05),
    "posterize": lambda image, level: ImageOps.posterize(image, level * 4 // 10 + 4),
    "solarize": lambda image, level: ImageOps.solarize(image, 256 - level * 256 // 10),
}


def photo():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(20, 230, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((48, 40), Image.Resampling.BICUBIC))


@each("level", [1, 5, 9])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_pillows(name, level):
    image = photo()
    own = OPERATIONS[name](torch.from_numpy(image.copy()).permute(2, 0, 1), level)
    other = np.asarray(PILLOW[name](Image.fromarray(image), level)).astype(int)
    difference = np.abs(own.permute(1, 2, 0).numpy().astype(int) - other)
    # Rounding; equalize and auto-contrast round their tables differently.
    assert np.percentile(difference, 99) <= 2
    assert difference.mean() < 1


def test_draws_are_a_function_of_the_generator():
    image = torch.from_numpy(photo().copy()).permute(2, 0, 1)
    draws = [rand_augment(image, np.random.default_rng(seed), 3) for seed in (1, 1, 2, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert any(not torch.equal(draws[0], other) for other in draws[2:])
    assert all(draw.dtype == torch.uint8 and draw.shape == image.shape for draw in draws)


def test_probability_zero_leaves_the_image():
    image = torch.from_numpy(photo().copy()).permute(2, 0, 1)
    assert torch.equal(rand_augment(image, np.random.default_rng(0), 5, prob=0), image)


def test_it_is_an_option_of_the_strong_view():
    image = torch.from_numpy(photo().copy()).permute(2, 0, 1)
    asked = Augmentation(photometric="rand_augment", rand_augment_ops=4)
    own = photometric(image, np.random.default_rng(3), asked)
    assert torch.equal(own, rand_augment(image, np.random.default_rng(3), 4))
    with pytest.raises(ValueError, match="photometric is 'mixup'"):
        Augmentation(photometric="mixup")
