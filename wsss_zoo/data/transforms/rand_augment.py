"""RandAugment's photometric operations, as FixMatch uses them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

_LEVELS = 10


def _enhance(adjust: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """An enhancement by a factor from 0.14 to 0.95; 1 would leave the image as it is."""
    return lambda image, level: adjust(image, 0.9 * level / _LEVELS + 0.05)


# Name: what it does to a uint8 image at a level from 1 to 10.
OPERATIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "identity": lambda image, level: image,
    "auto_contrast": lambda image, level: tv.autocontrast(image),
    "equalize": lambda image, level: tv.equalize(image),
    "brightness": _enhance(tv.adjust_brightness),
    "color": _enhance(tv.adjust_saturation),
    "contrast": _enhance(tv.adjust_contrast),
    "sharpness": _enhance(tv.adjust_sharpness),
    # 4 to 8 bits are kept; 256 - level / 10 * 256 is where brightness is turned round.
    "posterize": lambda image, level: tv.posterize(image, level * 4 // _LEVELS + 4),
    "solarize": lambda image, level: tv.solarize(image, max(0, 255 - level * 256 // _LEVELS)),
}


def rand_augment(
    image: Tensor, rng: np.random.Generator, operations: int = 2, prob: float = 0.5
) -> Tensor:
    """Apply random operations to an image, (3, H, W) uint8, each at a random level.

    Of FixMatch's fourteen operations rotation, shears and translations are left out: a mask or a
    pseudo-label belongs to the image.

    Args:
        image: (3, H, W) uint8.
        rng: Source of all randomness.
        operations: Number of operations that are sampled.
        prob: Probability that a sampled operation is applied.

    Cubuk et al., "RandAugment", 2020, in the form of Sohn et al., "FixMatch", NeurIPS 2020
    (kekmodel/FixMatch-pytorch @ 040be3b: two operations, levels 1 to 9 of 10).
    """
    names = list(OPERATIONS)
    for name in rng.choice(names, size=operations):
        level = int(rng.integers(1, _LEVELS))
        if rng.random() < prob:
            image = OPERATIONS[name](image, level)
    return image.to(torch.uint8)
