"""Images and masks on disk: where they are, how they are read, what is wrong with them."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.files.decoding import (
    IGNORE_INDEX,
    ImageFacts,
    UInt8Array,
    examine_image,
    image_size_of,
    read_index_mask,
    read_rgb,
    undecided_problem,
)
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions

logger = logging.getLogger(__name__)

T = TypeVar("T")
# A value that no mask may hold: the look-up table sends unknown class indices here.
_UNKNOWN = 254
_CHECK_THREADS = 4  # decoding releases the interpreter lock


#: What `mixed_white` finds, and the way out.
MIXED_WHITE = "masks of 0 and 255 only, where 255 occurs in hardly any other mask"
MIXED_WHITE_REMEDY = (
    "if 255 stands for a class in these masks and not for ignored pixels, write the index of the "
    "class in its place"
)


class Checks(NamedTuple):
    """What is checked of the files of images."""

    #: Whether each image needs a mask of its size.
    masks: bool
    #: Whether the masks are decoded to find unknown class indices.
    mask_values: bool = True
    #: False: look no further than whether the files were listed.
    open_files: bool = True


class ImageReader(Protocol):
    """Reads images; light enough to be sent to loader workers."""

    def read_image(self, image_id: str) -> UInt8Array:
        """Read an RGB image, (H, W, 3); OSError if it cannot be decoded."""


class ImageSource(ImageReader, Protocol):
    """What a data set must be able to read."""

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """Read the class index per pixel, (H, W), 255 = ignored; None where there is no mask.

        OSError if the file cannot be decoded, ValueError if it holds other values.
        """

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Read height and width, pixels."""

    def check(self, image_ids: Sequence[str], checks: Checks) -> None:
        """Check the files that will be used.

        Raises:
            FileNotFoundError: If an image or mask is missing; the first three are named.
            ValueError: If a mask differs in size from its image or holds an unknown class index.
            OSError: If a mask or an image's header cannot be read.
        """


@dataclass(frozen=True)
class ImageFiles:
    """Image files by id, mask files by id where there are any, and what the masks' values mean.

    ``index_map`` has the class index for each value in a mask file, 255 where the class is not
    used. Values beyond its end, other than 255, are errors. ``pixels`` says which values and bands
    of the images are shown.
    """

    images: dict[str, str]
    masks: dict[str, str]
    index_map: Sequence[int]
    pixels: PixelOptions = field(default=AS_STORED, kw_only=True)
    _table: UInt8Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.index_map) > _UNKNOWN:
            raise ValueError(
                f"{len(self.index_map)} classes are more than a mask of 8 bits can name; at most "
                f"{_UNKNOWN} are possible, as 255 means ignored"
            )
        table = np.full(256, _UNKNOWN, dtype=np.uint8)
        table[: len(self.index_map)] = self.index_map
        table[IGNORE_INDEX] = IGNORE_INDEX
        object.__setattr__(self, "_table", table)

    def read_image(self, image_id: str) -> UInt8Array:
        """Read an RGB image, (H, W, 3), turned as its EXIF orientation says."""
        return read_rgb(self.images[image_id], self.pixels)

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """See `ImageSource.read_mask`."""
        path = self.masks.get(image_id)
        return None if path is None else self.map_indices(self.read_values(path), path)

    def read_values(self, path: str) -> NDArray[Any]:
        """Read the raw values of a mask file, (H, W)."""
        return read_index_mask(path)

    def map_indices(self, values: NDArray[Any], path: str) -> UInt8Array:
        """Map the raw values of a mask file to class indices; ValueError for unknown ones."""
        mask: UInt8Array = self._table.take(values)
        if (mask == _UNKNOWN).any():
            counts = np.bincount(values[mask == _UNKNOWN])
            first = int(counts.nonzero()[0][0])
            others = np.count_nonzero(counts) - 1
            more = f" and {others} more unknown indices" if others else ""
            raise ValueError(
                f"{path} holds class index {first} ({counts[first]} pixels){more}, but the data "
                f"set has the indices 0..{len(self.index_map) - 1} and 255; correct the mask or "
                "the list of classes"
            )
        return mask

    def mask_size(self, image_id: str) -> tuple[int, int]:
        """Read height and width of a mask, pixels, from the file's header."""
        return image_size_of(self.masks[image_id])

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Read height and width, pixels, from the file's header."""
        return image_size_of(self.images[image_id], self.pixels)

    def examine(self, image_id: str) -> ImageFacts:
        """Check an image file, see `examine_image`."""
        return examine_image(self.images[image_id], self.pixels)

    def check(self, image_ids: Sequence[str], checks: Checks) -> None:
        """See `ImageSource.check`."""
        _raise_missing("image", self.images, image_ids)
        facts: dict[str, ImageFacts] = {}
        if checks.open_files:
            if checks.masks:
                _raise_missing("mask", self.masks, image_ids)
            facts = dict(zip(image_ids, _for_each(self.examine, image_ids), strict=True))
            problem = undecided_problem({self.images[i]: fact for i, fact in facts.items()})
            if problem is not None:
                raise ValueError(problem)
            for note, ids in notes_of(facts.items()).items():
                logger.warning("%s: %d, first: %s", note, len(ids), self.images[ids[0]])
        if checks.masks:
            occurs = check_masks(self, image_ids, lambda image_id: facts[image_id].size, checks)
            if occurs is not None and image_ids and len(self.index_map) > 1:
                _warn_of_background_alone(occurs, [self.masks[i] for i in image_ids])


def _warn_of_background_alone(occurs: NDArray[np.bool_], masks: Sequence[str]) -> None:
    """Log that no mask has any class besides index 0: it is seldom meant, but no error."""
    if occurs[1:IGNORE_INDEX].any():
        return
    remedy = "choose images that show the classes, or correct the masks"
    if occurs[IGNORE_INDEX]:
        remedy = (
            "if 255 stands for a class and not for ignored pixels, give --data.binary_masks true "
            "(black and white masks in a Folder), or give it that colour in classes.txt ('cat 255 "
            "255 255')"
        )
    text = "none of the %d masks has a class besides index 0, first: %s; %s"
    logger.warning(text, len(masks), masks[0], remedy)


def notes_of(facts: Iterable[tuple[str, ImageFacts]]) -> dict[str, list[str]]:
    """List image ids by what is suspicious about the files, given the facts of each id."""
    found: dict[str, list[str]] = defaultdict(list)
    for image_id, fact in facts:
        for note in fact.notes:
            found[note].append(image_id)
    return found


class BinaryMaskFiles(ImageFiles):
    """Image files with masks of two classes, in which 255 is class 1 and no pixel is ignored."""

    def read_values(self, path: str) -> UInt8Array:
        """Read the class indices in a mask file, (H, W)."""
        values = read_index_mask(path)
        values[values == IGNORE_INDEX] = 1
        return values


def check_masks(
    files: ImageFiles,
    image_ids: Sequence[str],
    size_of: Callable[[str], tuple[int, int]],
    checks: Checks,
) -> NDArray[np.bool_] | None:
    """Check the masks of images of known size, (height, width); see `ImageSource.check`.

    Returns:
        Which values occur in the masks, (256,), or None where they are not decoded.
    """
    _raise_missing("mask", files.masks, image_ids)
    if not checks.open_files:
        return None
    occurs = np.zeros(256, dtype=np.bool_)

    def check_one(image_id: str) -> tuple[bool, bool]:
        """Whether the mask has another class than index 0, and whether it has 0 and 255."""
        image_size = size_of(image_id)
        # Decoding tells the size too: a mask is opened once.
        mask = files.read_mask(image_id) if checks.mask_values else None
        mask_size = files.mask_size(image_id) if mask is None else mask.shape
        if mask_size != image_size:
            raise ValueError(
                size_problem(files.masks[image_id], mask_size, f"image {image_id}", image_size)
            )
        if mask is None:
            return True, True
        occurs[mask] = True
        # In eight bits 0 becomes 255 and 255 becomes 254.
        has_white = bool((mask == IGNORE_INDEX).any() and (mask == 0).any())
        return bool((mask - 1 < IGNORE_INDEX - 1).any()), has_white

    found = _for_each(check_one, image_ids)
    if not checks.mask_values:
        return None
    mixed = mixed_white(dict(zip(image_ids, found, strict=True)))
    if mixed:
        text = "%s: %d of %d, first: %s; %s"
        first = files.masks[mixed[0]]
        logger.warning(text, MIXED_WHITE, len(mixed), len(found), first, MIXED_WHITE_REMEDY)
    return occurs


def mixed_white(contents: Mapping[str, tuple[bool, bool]]) -> list[str]:
    """List the masks that may have been saved as black and white among others of class indices.

    ``contents`` says by image id whether a mask has a class besides index 0, and whether it has 0
    and 255. Masks of 0 and 255 alone are suspicious if there are several, and few masks have a
    class and 255.

    >>> mixed_white({"a": (True, False), "b": (False, True), "c": (False, True)})
    ['b', 'c']
    """
    white = [image_id for image_id, content in contents.items() if content == (False, True)]
    counts = Counter(contents.values())
    is_mixed = len(white) > 1 and counts[True, False] > 0 and counts[True, True] < len(white)
    return white if is_mixed else []


def size_problem(mask: str, mask_size: Sequence[int], image: str, image_size: Sequence[int]) -> str:
    """Say that a mask and its image, by their names, differ in size (height, width)."""
    (mask_height, mask_width), (height, width) = mask_size, image_size
    turned = (mask_height, mask_width) == (width, height)
    hint = "; a photo is turned as its EXIF orientation says" if turned else ""
    return (
        f"mask {mask} is {mask_width}x{mask_height} pixels (width x height), but {image} is "
        f"{width}x{height}; both must be equal{hint}"
    )


def _for_each(check_one: Callable[[str], T], image_ids: Sequence[str]) -> list[T]:
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        return list(pool.map(check_one, image_ids))


def _raise_missing(kind: str, files: dict[str, str], image_ids: Sequence[str]) -> None:
    missing = [image_id for image_id in image_ids if image_id not in files]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_ids)} listed ids have no {kind}, first: "
            f"{', '.join(missing[:3])}; add the files or take the ids off the list"
        )
