"""Image files to arrays: whatever Pillow reads, upright.

A file that is missing, empty, truncated or no image is an OSError that names it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

UInt8Array = NDArray[np.uint8]
#: The only class index that is ignored.
IGNORE_INDEX = 255

_EXIF_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow recognises these without decoding them, or starts another program to do it.
_NO_IMAGES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}


def readable_suffixes() -> frozenset[str]:
    """List the lower-case suffixes of the image files that can be read, such as ``.jpg``."""
    readable = set(_formats())
    extensions = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in extensions if name in readable)


def read_rgb(path: str) -> UInt8Array:
    """Decode an image file to RGB, (H, W, 3) uint8, upright.

    Transparent pixels are laid over white. Of 16 bits the upper eight are kept, of several frames
    the first. ValueError for floating-point pixels, which have no white.
    """
    image = _decode(path)
    with _naming(path):
        if image.mode == "RGB" and "transparency" not in image.info:
            return np.array(image)  # torch wants a writable copy
        if image.mode.startswith("I"):  # 16 bit: the upper byte is what a screen shows
            grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return np.array(image.convert("RGB"))


def read_index_mask(path: str) -> UInt8Array:
    """Decode a palette or grey image to its raw values, (H, W) uint8, upright.

    ValueError if the file has colours, values above 255, or is a JPEG.
    """
    image = open_mask(path)
    if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
        raise ValueError(
            f"{path} is a mask of mode {image.mode}; expected class indices (a palette or a grey "
            "PNG). If its channels all hold the index, save one of them; if the colours in a "
            "Folder mean classes, write each behind the name in classes.txt ('cat 128 0 0')"
        )
    values = np.array(image)
    if values.dtype.itemsize > 1 and (values.min() < 0 or values.max() > 255):
        wrong = values[(values < 0) | (values > 255)]
        raise ValueError(
            f"{path} holds class index {wrong[0]} ({wrong.size} pixels are outside 0..255); save "
            "class indices, not ids of objects"
        )
    return values.astype(np.uint8)


def open_mask(path: str) -> Image.Image:
    """Decode a mask, upright, in the file's own mode; ValueError for a JPEG or floating point."""
    image = _decode(path)
    if image.format == "PNG":
        # Decoding does not compare the checksums of the pixels: a changed byte would be a class.
        with _naming(path), Image.open(path, formats=("PNG",)) as file:
            file.verify()
    if image.format in ("JPEG", "MPO"):
        raise ValueError(
            f"{path} is a JPEG, which changes the values of a mask; save the mask as PNG where it "
            "was made"
        )
    return image


def image_size_of(path: str) -> tuple[int, int]:
    """Read height and width of an image as it is shown, from the file's header alone."""
    with _naming(path), Image.open(path, formats=_formats()) as image:
        (width, height), mode = image.size, image.mode
        if _orientation(image) in _TRANSPOSED:
            width, height = height, width
    _refuse_float(path, mode)
    return height, width


def is_turned(path: str) -> bool:
    """Say whether a file's EXIF orientation turns or mirrors the image."""
    with _naming(path), Image.open(path, formats=_formats()) as image:
        return _orientation(image) in _TURNS


def _decode(path: str) -> Image.Image:
    with _naming(path), Image.open(path, formats=_formats()) as file:
        turn = _TURNS.get(_orientation(file))
        file.load()
        image: Image.Image = file
        if turn is not None:
            image = file.transpose(turn)
            image.format = file.format
    _refuse_float(path, image.mode)
    return image


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        # The method of PNG files would decode the whole file to look behind the pixels.
        return int(Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF data, of which Pillow lets many errors through
        return 1


def _refuse_float(path: str, mode: str) -> None:
    if mode == "F":
        raise ValueError(
            f"{path} has floating-point pixels, which have no defined white; save it with 8 or 16 "
            "bits"
        )


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    common = ("JPEG", "PNG")
    return (*common, *(name for name in Image.ID if name not in _NO_IMAGES and name not in common))


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        target = f", a broken link to {Path(path).readlink()}" if Path(path).is_symlink() else ""
        raise FileNotFoundError(
            f"{path} is missing{target}; restore the file or remove its line in the split list"
        ) from None
    except Exception as error:  # plugins let SyntaxError, struct.error and more through
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        reason = "the file is empty, 0 bytes" if empty else str(error) or type(error).__name__
        raise OSError(
            f"{path} cannot be decoded ({reason}); replace the file, or remove it and its "
            "line in the split list"
        ) from error
