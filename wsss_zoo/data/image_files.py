"""Images and masks on disk: where they are, how they are read, what is wrong with them."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

logger = logging.getLogger(__name__)

IGNORE_INDEX = 255
# A value no mask may hold; the look-up table sends unknown class indices here, so that they are
# found.
_UNKNOWN = 254
_EXIF_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_CHECK_THREADS = 4  # decoding releases the interpreter lock

UInt8Array = NDArray[np.uint8]
T = TypeVar("T")


class ImageSource(Protocol):
    """What a data set must be able to read; light enough to be sent to loader workers."""

    def read_image(self, image_id: str) -> UInt8Array:
        """RGB image, (H, W, 3)."""

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """Class index per pixel, 255 = ignored, (H, W); None where the image has no mask."""

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Height and width, pixels."""

    def check(self, image_ids: Sequence[str], *, masks: bool, mask_values: bool = True) -> None:
        """Raise an error that names the first files that are missing or do not fit."""


@dataclass(frozen=True)
class ImageFiles:
    """Image and mask files by image id, and what the values in the masks mean.

    Args:
        images: Image file by id.
        masks: Mask file by id, for the images that have one.
        index_map: Class index for each value in a mask file; 255 where the class is not used.
            Values beyond its end, other than 255, are errors.
    """

    images: dict[str, str]
    masks: dict[str, str]
    index_map: Sequence[int]
    _table: UInt8Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = np.full(256, _UNKNOWN, dtype=np.uint8)
        table[: len(self.index_map)] = self.index_map
        table[IGNORE_INDEX] = IGNORE_INDEX
        object.__setattr__(self, "_table", table)

    def read_image(self, image_id: str) -> UInt8Array:
        """RGB image, (H, W, 3), turned as its EXIF orientation says.

        Raises:
            OSError: If the file cannot be decoded.
        """
        return read_rgb(self.images[image_id])

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """Class index per pixel, (H, W), 255 = ignored; None where the image has no mask.

        Raises:
            OSError: If the file cannot be decoded.
            ValueError: If it is not an index mask or holds a class index outside the list.
        """
        path = self.masks.get(image_id)
        if path is None:
            return None
        return self.map_indices(read_index_mask(path), path)

    def map_indices(self, values: UInt8Array, path: str) -> UInt8Array:
        """Class indices for the raw values of a mask file, (H, W).

        Raises:
            ValueError: If a value is no class index of the data set; the message names the file.
        """
        mask: UInt8Array = self._table.take(values)
        if (mask == _UNKNOWN).any():
            found = [v for v in np.unique(values).tolist() if self._table[v] == _UNKNOWN]
            raise ValueError(
                f"{path} holds class index {found[0]}, but the data set has the indices "
                f"0..{len(self.index_map) - 1} and 255; correct the mask or the list of classes"
            )
        return mask

    def mask_size(self, image_id: str) -> tuple[int, int]:
        """Height and width of a mask, pixels, from the file's header.

        Raises:
            OSError: If the header cannot be read.
        """
        return image_size_of(self.masks[image_id])

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Height and width, pixels, from the file's header.

        Raises:
            OSError: If the header cannot be read.
        """
        return image_size_of(self.images[image_id])

    def check(self, image_ids: Sequence[str], *, masks: bool, mask_values: bool = True) -> None:
        """Look at the files that will be used, before an hour of training is spent.

        Args:
            image_ids: Ids to look at.
            masks: Whether each of them needs a mask of its image's size.
            mask_values: Whether the masks are decoded to look for unknown class indices.

        Raises:
            FileNotFoundError: If an image or mask is missing (the first three are named).
            ValueError: If a mask differs in size from its image or holds an unknown class index.
            OSError: If a mask or an image's header cannot be read.
        """
        _raise_missing("image", self.images, image_ids)
        if masks:
            check_masks(self, image_ids, self.image_size, mask_values=mask_values)


def check_masks(
    files: ImageFiles,
    image_ids: Sequence[str],
    size_of: Callable[[str], tuple[int, int]],
    *,
    mask_values: bool = True,
) -> None:
    """Raise if an image has no mask, one of another size, or one with unknown class indices.

    Args:
        files: Where the masks are.
        image_ids: Ids to look at.
        size_of: Height and width of an image.
        mask_values: Whether the masks are decoded, which finds unknown class indices.

    Raises:
        FileNotFoundError: If a mask is missing (the first three are named).
        ValueError: If a mask differs in size from its image or holds an unknown class index.
        OSError: If a file cannot be read.
    """
    _raise_missing("mask", files.masks, image_ids)

    def check_one(image_id: str) -> None:
        path = files.masks[image_id]
        (height, width), (mask_height, mask_width) = size_of(image_id), files.mask_size(image_id)
        if (height, width) != (mask_height, mask_width):
            raise ValueError(
                f"mask {path} is {mask_width}x{mask_height} pixels (width x height), but image "
                f"{image_id} is {width}x{height}; both must be equal"
            )
        if mask_values:
            files.read_mask(image_id)

    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        for _ in pool.map(check_one, image_ids):
            pass


def read_rgb(path: str) -> UInt8Array:
    """Decode an image file to RGB, (H, W, 3) uint8, upright.

    Raises:
        OSError: If the file is missing, truncated or no image; the message names it.
    """

    def decode(image: Image.Image) -> UInt8Array:
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bit: the upper byte is what a screen shows
            grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))  # torch wants a writable copy

    return _open(path, decode)


def read_index_mask(path: str) -> UInt8Array:
    """Decode a palette or grey PNG to its raw values, (H, W) uint8.

    Raises:
        OSError: If the file is missing, truncated or no image.
        ValueError: If the file has colours where class indices are expected.
    """

    def decode(image: Image.Image) -> UInt8Array:
        if image.mode not in ("P", "L", "1"):
            raise ValueError(
                f"{path} is a mask of mode {image.mode}; expected class indices (a palette or an "
                "8 bit grey PNG)"
            )
        return np.array(image, dtype=np.uint8)

    return _open(path, decode)


def image_size_of(path: str) -> tuple[int, int]:
    """Height and width of an image as it is shown, from the file's header alone.

    Raises:
        OSError: If the header cannot be read.
    """

    def size(image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        if image.getexif().get(_EXIF_ORIENTATION, 1) in _TRANSPOSED:
            return width, height
        return height, width

    return _open(path, size)


def _open(path: str, action: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(path) as image:
            return action(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; it was there or listed at setup") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        # Pillow raises SyntaxError for some broken PNG chunks.
        raise OSError(
            f"{path} cannot be decoded ({error}); replace the file or take it off its split list"
        ) from error


def _raise_missing(kind: str, files: dict[str, str], image_ids: Sequence[str]) -> None:
    missing = [image_id for image_id in image_ids if image_id not in files]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_ids)} listed ids have no {kind}, first: "
            f"{', '.join(missing[:3])}; add the files or take the ids off the list"
        )


def files_by_stem(directory: Path, suffixes: Iterable[str]) -> dict[str, str]:
    """Files below a directory by their path without suffix, relative to it.

    Args:
        directory: Folder to list, sub-folders included; one that does not exist holds nothing.
        suffixes: Lower-case suffixes that count, such as ``.jpg``; case in the files is ignored.

    Raises:
        ValueError: If two files have the same stem.
    """
    wanted = set(suffixes)
    found: dict[str, str] = {}
    for path in sorted(directory.rglob("*")) if directory.is_dir() else []:
        if path.suffix.lower() not in wanted or path.name.startswith("."):
            continue
        stem = path.relative_to(directory).with_suffix("").as_posix()
        if stem in found:
            raise ValueError(f"{found[stem]} and {path} have the same id {stem!r}; rename one")
        found[stem] = str(path)
    return found
