"""Training crops: how images are read and random crops of them made."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wsss_zoo.data.reading.image_files import ImageReader, ImageSource
from wsss_zoo.data.transforms import joint
from wsss_zoo.data.transforms.joint import Augmentation, Crop
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array

# A batch of the contract without N.
Sample = Mapping[str, Any]
# What the sampler gives: (index, visit); Lightning's own samplers give indices.
Position = tuple[int, int] | int
Labels = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Crops:
    """How training crops are made; ``seed`` is that of all random choices."""

    #: Side of the square crops, pixels.
    crop_size: int
    augmentation: Augmentation
    #: Colour of padding and CutOut, three values in 0..255.
    pad_color: tuple[int, int, int]
    seed: int

    @property
    def pad(self) -> Tensor:
        """Padding colour, (3,) uint8."""
        return torch.tensor(self.pad_color, dtype=torch.uint8)

    def rng(self, index: int, visit: int) -> np.random.Generator:
        """Seed the randomness of one sample: the same in every worker and after a resume."""
        return np.random.default_rng([self.seed, index, visit])

    def sample(self, image: Tensor, rng: np.random.Generator) -> tuple[Crop, Tensor]:
        """Sample a crop of an image (3, H, W) uint8: where it lies, and its weak view."""
        height, width = image.shape[1:]
        crop = joint.sample_crop(rng, height, width, self.crop_size, self.augmentation)
        return crop, joint.crop_image(image, crop, self.crop_size, self.pad)

    def photometric(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Change the colours of a crop, (3, S, S) uint8."""
        return joint.photometric(image, rng, self.augmentation)

    def cut_out(
        self, image: Tensor, valid: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cover a box of a crop, by chance; the returned ``valid``, (S, S), is False there."""
        box = joint.sample_cutout(rng, self.crop_size, self.augmentation)
        if box is None:
            return image, valid
        valid = valid.clone()
        valid[box[0] : box[2], box[1] : box[3]] = False
        return joint.fill_box(image, box, rng, self.augmentation.cutout_fill, self.pad), valid

    def strong_view(
        self, weak: Tensor, valid: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Make a strong view of a crop, (3, S, S) uint8, and say where it shows the image."""
        image = self.photometric(weak, rng)
        # Blur and jitter would bleed into the padding; it keeps its colour.
        image = torch.where(valid, image, self.pad[:, None, None])
        return self.cut_out(image, valid, rng)


@dataclass(eq=False)
class CroppedImages(Dataset[Sample]):
    """Training images; a sample is a random crop of one."""

    ids: Sequence[str]
    source: ImageReader
    crops: Crops

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> Sample:
        index, visit = index_and_visit(position)
        return self.sample(self.ids[index], self.crops.rng(index, visit))

    @abstractmethod
    def sample(self, image_id: str, rng: np.random.Generator) -> Sample:
        """Augment one image."""


def index_and_visit(position: Position) -> tuple[int, int]:
    """Split a position into index and visit; a bare index, as of ``overfit_batches``, is visit 0.

    >>> index_and_visit((3, 40)), index_and_visit(3)
    ((3, 40), (3, 0))
    """
    return position if isinstance(position, tuple) else (position, 0)


def load_image(source: ImageReader, image_id: str) -> Tensor:
    """Read an image as (3, H, W) uint8, in channels-last memory, which resizing is fast on."""
    return torch.from_numpy(source.read_image(image_id)).permute(2, 0, 1)


def load_mask(source: ImageSource, image_id: str) -> UInt8Array:
    """Read the mask of an image that must have one, (H, W)."""
    mask = source.read_mask(image_id)
    if mask is None:
        raise FileNotFoundError(f"image {image_id} has no mask")
    return mask


def labels_from_mask(mask: UInt8Array, num_fg_classes: int, first: int) -> NDArray[np.uint8]:
    """Find the foreground classes in a mask, (K,) 0 or 1; ``first`` is the index of the first."""
    # Four times as fast as numpy's, which first makes the mask eight times as large.
    counts = torch.bincount(torch.from_numpy(mask).ravel(), minlength=IGNORE_INDEX + 1)
    return (counts[first : first + num_fg_classes] > 0).numpy().astype(np.uint8)
