"""Joint transforms of image and mask: one crop for all, weak and strong views."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from wsss_zoo.data.transforms.rand_augment import rand_augment
from wsss_zoo.files.decoding import IGNORE_INDEX

_GREY_LEVELS = 255
_JITTER = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images; the defaults are those of UniMatch (CVPR 2023).

    Scale, crop and flip make the weak view, for image and mask alike; the strong view adds the
    photometric changes and CutOut.

    Args:
        scale_range: Smallest and largest factor on the image's size.
        scale_base: Long side in pixels at factor 1; None for the image's own. ST++ uses 400 on VOC.
        flip_prob: Probability of a horizontal flip.
        photometric: "jitter": colour jitter, grey, blur (UniMatch); "rand_augment" (FixMatch): in
            place of these, see `rand_augment`.
        rand_augment_ops: Number of operations of "rand_augment".
        jitter: Strength of brightness, contrast, saturation (factor in [1 - x, 1 + x]) and hue
            (turn in [-x, x], at most 0.5).
        jitter_prob: Probability of the colour jitter.
        grey_prob: Probability of turning grey.
        blur_prob: Probability of a Gaussian blur.
        blur_sigma: Smallest and largest standard deviation of the blur, pixels.
        cutout_prob: Probability of a CutOut box in the strong view.
        cutout_area: Smallest and largest share of the crop that the box covers.
        cutout_ratio: Smallest height / width of the box; the largest is its inverse.
        cutout_size: Side in pixels of a square box with its centre anywhere in the crop, cut at the
            border (PseudoSeg); None for a box of random area inside the crop (ST++).
        cutout_fill: The mean colour, or noise per pixel (ST++).
    """

    scale_range: tuple[float, float] = (0.5, 2.0)
    scale_base: int | None = None
    flip_prob: float = 0.5
    photometric: Literal["jitter", "rand_augment"] = "jitter"
    rand_augment_ops: int = 2
    jitter: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.25)
    jitter_prob: float = 0.8
    grey_prob: float = 0.2
    blur_prob: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    cutout_prob: float = 0.0
    cutout_area: tuple[float, float] = (0.02, 0.4)
    cutout_ratio: float = 0.3
    cutout_size: int | None = None
    cutout_fill: Literal["mean", "noise"] = "mean"

    def __post_init__(self) -> None:
        low, high = self.scale_range
        if not 0 < low <= high:
            raise ValueError(
                f"scale_range must be two positive factors, smallest first, but got {low}, {high}"
            )
        if self.photometric not in ("jitter", "rand_augment"):
            raise ValueError(
                f"photometric is {self.photometric!r}; give 'jitter' or 'rand_augment'"
            )
        for name in ("flip_prob", "jitter_prob", "grey_prob", "blur_prob", "cutout_prob"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], but got {value}")


class Crop(NamedTuple):
    """A crop of an image: a box in it, the size it is brought to, and whether it is mirrored.

    The box always lies inside the image. Where it is resized to less than the crop size, the rest
    of the crop, right and bottom of it before any mirroring, is padding.
    """

    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int
    flip: bool

    def geometry(self) -> Tensor:
        """Return the crop as (5,): top, left, vertical and horizontal scale, mirrored (0 or 1).

        The unmirrored crop pixel (i, j) is centred on (top + (i + 0.5) / scale_y - 0.5, left + (j +
        0.5) / scale_x - 0.5) of the image.
        """
        scale_y, scale_x = self.out_height / self.height, self.out_width / self.width
        return torch.tensor([self.top, self.left, scale_y, scale_x, self.flip], dtype=torch.float32)


def sample_crop(
    rng: np.random.Generator, height: int, width: int, crop_size: int, augmentation: Augmentation
) -> Crop:
    """Sample scale, place and mirroring of a crop.

    Cutting the box out first and resizing it alone is the same as resizing the whole image and
    cutting the crop out, but costs the crop's pixels only.
    """
    scale = float(rng.uniform(*augmentation.scale_range))
    if augmentation.scale_base is not None:
        scale *= augmentation.scale_base / max(height, width)
    side = max(1, round(crop_size / scale))
    box_height, box_width = min(height, side), min(width, side)
    return Crop(
        top=int(rng.integers(0, height - box_height + 1)),
        left=int(rng.integers(0, width - box_width + 1)),
        height=box_height,
        width=box_width,
        # A box that is not cut off by the image fills the crop whatever the rounding.
        out_height=crop_size if side <= height else max(1, round(height * crop_size / side)),
        out_width=crop_size if side <= width else max(1, round(width * crop_size / side)),
        flip=bool(rng.random() < augmentation.flip_prob),
    )


def crop_image(image: Tensor, crop: Crop, crop_size: int, pad_color: Tensor) -> Tensor:
    """Cut, resize (bilinear, antialiased), pad and mirror an image, (3, H, W) uint8."""
    return _crop(image, crop, crop_size, pad_color, InterpolationMode.BILINEAR)


def crop_mask(mask: Tensor, crop: Crop, crop_size: int) -> Tensor:
    """Cut, resize (nearest), pad with 255 and mirror a mask, (H, W) uint8, like its image."""
    padding = torch.tensor([IGNORE_INDEX], dtype=mask.dtype)
    return _crop(mask[None], crop, crop_size, padding, InterpolationMode.NEAREST_EXACT)[0]


def _crop(
    image: Tensor, crop: Crop, crop_size: int, padding: Tensor, interpolation: InterpolationMode
) -> Tensor:
    box = image[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    box = tv.resize(box, [crop.out_height, crop.out_width], interpolation, antialias=True)
    if (crop.out_height, crop.out_width) != (crop_size, crop_size):
        canvas = padding[:, None, None].expand(len(padding), crop_size, crop_size).clone()
        canvas[:, : crop.out_height, : crop.out_width] = box
        box = canvas
    return box.flip(2) if crop.flip else box


def crop_valid(crop: Crop, crop_size: int) -> Tensor:
    """Mark where a crop shows the image, (crop_size, crop_size); False on its padding."""
    valid = torch.zeros(crop_size, crop_size, dtype=torch.bool)
    valid[: crop.out_height, : crop.out_width] = True
    return valid.flip(1) if crop.flip else valid


def photometric(image: Tensor, rng: np.random.Generator, augmentation: Augmentation) -> Tensor:
    """Apply colour jitter in random order, grey and blur, each by chance; or `rand_augment`."""
    if augmentation.photometric == "rand_augment":
        return rand_augment(image, rng, augmentation.rand_augment_ops)
    if rng.random() < augmentation.jitter_prob:
        image = _color_jitter(image, rng, augmentation.jitter)
    if rng.random() < augmentation.grey_prob:
        image = tv.rgb_to_grayscale(image, num_output_channels=3)
    if rng.random() < augmentation.blur_prob:
        sigma = float(rng.uniform(*augmentation.blur_sigma))
        # Reflection at the border needs a kernel smaller than the image.
        radius = min(math.ceil(3 * sigma), min(image.shape[1:]) - 1)
        image = tv.gaussian_blur(image, [2 * radius + 1, 2 * radius + 1], [sigma, sigma])
    return image


def _color_jitter(
    image: Tensor, rng: np.random.Generator, jitter: tuple[float, float, float, float]
) -> Tensor:
    factors = [float(rng.uniform(max(0.0, 1 - strength), 1 + strength)) for strength in jitter[:3]]
    factors.append(float(rng.uniform(-jitter[3], jitter[3])))
    for number in rng.permutation(4):
        image = _JITTER[number](image, factors[number])
    return image


def sample_cutout(
    rng: np.random.Generator, crop_size: int, augmentation: Augmentation
) -> tuple[int, int, int, int] | None:
    """Sample a CutOut box (y0, x0, y1, x1) in a square crop, or None.

    Area and ratio of a random box are sampled until it lies inside the crop, as in ST++'s code; so
    the mean area is smaller than the middle of ``cutout_area``.
    """
    if rng.random() >= augmentation.cutout_prob:
        return None
    if augmentation.cutout_size is not None:
        half = augmentation.cutout_size // 2
        y, x = (int(value) for value in rng.integers(0, crop_size, 2))
        y0, x0 = max(0, y - half), max(0, x - half)
        y1 = min(crop_size, y - half + augmentation.cutout_size)
        x1 = min(crop_size, x - half + augmentation.cutout_size)
        return y0, x0, y1, x1
    while True:
        area = rng.uniform(*augmentation.cutout_area) * crop_size**2
        ratio = rng.uniform(augmentation.cutout_ratio, 1 / augmentation.cutout_ratio)
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        y, x = (int(value) for value in rng.integers(0, crop_size, 2))
        if height and width and y + height <= crop_size and x + width <= crop_size:
            return y, x, y + height, x + width


def fill_box(
    image: Tensor,
    box: tuple[int, int, int, int],
    rng: np.random.Generator,
    fill: Literal["mean", "noise"],
    pad_color: Tensor,
) -> Tensor:
    """Copy an image, (3, H, W) uint8, with a box of the mean colour or of noise in it."""
    y0, x0, y1, x1 = box
    image = image.clone()
    if fill == "noise":
        noise = rng.integers(0, _GREY_LEVELS + 1, (3, y1 - y0, x1 - x0), dtype=np.uint8)
        image[:, y0:y1, x0:x1] = torch.from_numpy(noise)
    else:
        image[:, y0:y1, x0:x1] = pad_color[:, None, None]
    return image


def to_float(image: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1]."""
    return image.float().div_(_GREY_LEVELS)
