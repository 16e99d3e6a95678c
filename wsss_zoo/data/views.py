"""How a sample is read and a training crop is drawn from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.data.image_files import IGNORE_INDEX, ImageSource, UInt8Array
from wsss_zoo.data.transforms import Augmentation, Crop, crop_image, draw_crop

Sample = dict[str, Any]
# What the sampler gives: (index, draw); Lightning's own samplers give indices.
Position = tuple[int, int] | int
Labels = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Views:
    """How training crops are made.

    Args:
        crop_size: Side of the square crops, pixels.
        augmentation: Ranges and probabilities of the random changes.
        pad_color: Colour of padding and CutOut, three values in 0..255.
        seed: Seed of all draws.
    """

    crop_size: int
    augmentation: Augmentation
    pad_color: tuple[int, int, int]
    seed: int

    @property
    def pad(self) -> Tensor:
        """Padding colour, (3,) uint8."""
        return torch.tensor(self.pad_color, dtype=torch.uint8)

    def rng(self, index: int, draw: int) -> np.random.Generator:
        """Randomness of one sample: the same in every worker and after a resume."""
        return np.random.default_rng([self.seed, index, draw])

    def draw(self, image: Tensor, rng: np.random.Generator) -> tuple[Crop, Tensor]:
        """A random crop of an image (3, H, W) uint8: where it lies, and its weak view."""
        height, width = image.shape[1:]
        crop = draw_crop(rng, height, width, self.crop_size, self.augmentation)
        return crop, crop_image(image, crop, self.crop_size, self.pad)


def index_and_draw(position: Position) -> tuple[int, int]:
    """Index and draw of a sample; a bare index, as of ``overfit_batches``, is always the same draw.

    >>> index_and_draw((3, 40)), index_and_draw(3)
    ((3, 40), (3, 0))
    """
    return position if isinstance(position, tuple) else (position, 0)


def load_image(source: ImageSource, image_id: str) -> Tensor:
    """Image as (3, H, W) uint8, in the channels-last memory order that resizing is fast on."""
    return torch.from_numpy(source.read_image(image_id)).permute(2, 0, 1)


def load_mask(source: ImageSource, image_id: str) -> UInt8Array:
    """Mask of an image that must have one, (H, W)."""
    mask = source.read_mask(image_id)
    if mask is None:
        raise FileNotFoundError(f"image {image_id} has no mask")
    return mask


def labels_from_mask(mask: UInt8Array, num_fg_classes: int, first: int) -> NDArray[np.uint8]:
    """Presence of each foreground class in a mask, (K,); ``first`` is the index of the first."""
    # Four times as fast as numpy's, which first makes the mask eight times as large.
    counts = torch.bincount(torch.from_numpy(mask).ravel(), minlength=IGNORE_INDEX + 1)
    return (counts[first : first + num_fg_classes] > 0).numpy().astype(np.uint8)
