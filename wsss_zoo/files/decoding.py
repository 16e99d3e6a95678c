"""Image files to arrays: whatever Pillow reads, upright.

A file that is missing, empty, truncated or no image is an OSError that names it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.files.images.lossless import check_mask_file
from wsss_zoo.files.images.pixels import (
    AS_STORED,
    PixelOptions,
    PixelsRefusedError,
    Range,
    decide_range,
    scale,
    suggest_range,
)
from wsss_zoo.files.images.stored import StoredImage, formats, has_frames, open_stored, refuse_stack

UInt8Array = NDArray[np.uint8]
#: The only class index that is ignored.
IGNORE_INDEX = 255

#: Suspicious but legal contents of an image file.
PARTIAL_ALPHA = "images with partial transparency, laid over white"
ALL_CLEAR = "images that are transparent everywhere, and are read as white"
EXTRA_BANDS = "images with bands that are not read; 'bands' names the three that are"
SEVERAL_FRAMES = "images of several frames, of which the first is read"
CLIPPED = "images with values outside value_range, which are clipped"

_WITH_FRAMES = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")
# A photograph's soft edges are few; a fourth band that is no opacity is partial nearly everywhere.
_MOST_PARTIAL = 0.5


@dataclass(frozen=True)
class ImageFacts:
    """What a check of an image file found.

    Args:
        size: Height and width, pixels.
        notes: Suspicious but legal contents, as `PARTIAL_ALPHA`.
        extent: Smallest and largest value that is shown, of samples that are not 8 bits.
        shown: Black and white of these samples; None if nothing says them.
        kind: Kind of these samples, as numpy names it.
    """

    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    extent: Range | None = None
    shown: Range | None = None
    kind: str = "u"

    @property
    def is_undecided(self) -> bool:
        """Whether nothing says which value is white."""
        return self.extent is not None and self.shown is None


def readable_suffixes() -> frozenset[str]:
    """List the lower-case suffixes of the image files that can be read, such as ``.jpg``."""
    readable = set(formats())
    extensions = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in extensions if name in readable)


def heif_hint(paths: Iterator[str] | list[str]) -> str:
    """Say how HEIC files can be read, if any of the unreadable files is one; else nothing."""
    found = any(path.lower().endswith((".heic", ".heif", ".hif")) for path in paths)
    return "; HEIC files are read once 'pip install wsss_zoo[heif]' has been run" if found else ""


def read_rgb(path: str, options: PixelOptions = AS_STORED) -> UInt8Array:
    """Decode an image file to RGB, (H, W, 3) uint8, upright.

    Transparent pixels are laid over white. Of several frames the first is read. Samples that are
    not 8 bits are scaled from ``options.value_range``; without it, 16 bits are scaled from 0..65535
    if the file uses the highest bit. TIFFs in which 0 is white are turned around.

    Raises:
        ValueError: If nothing says which value is white, which bands are colours, or a band of
            opacity is none; the message names the option. If a TIFF has several pages of one size.
        OSError: If the file cannot be decoded.
    """
    with _naming(path), open_stored(path) as stored:
        if _is_plain(stored, options):
            return _shown(stored)
        samples = _samples(stored, options)
        shown = _bands(stored, options, samples)
        black_white = _range(stored, options, samples[..., list(dict.fromkeys(shown))])
        if black_white is None:
            raise PixelsRefusedError(_undecided_file(stored, samples[..., shown]))
        return _scaled(stored, options, samples, black_white)


def examine_image(path: str, options: PixelOptions = AS_STORED) -> ImageFacts:
    """Check an image file without reading more than is needed to know that `read_rgb` would.

    Files of 8 bits without opacity are not decoded. For the errors see `read_rgb`; that nothing
    says which value is white is none, but stands in the facts.
    """
    with _naming(path), open_stored(path) as stored:
        notes = [EXTRA_BANDS] if stored.extra_bands and options.bands is None else []
        if stored.format in _WITH_FRAMES and has_frames(stored):
            notes.append(SEVERAL_FRAMES)
        if _is_plain(stored, options):
            if stored.alpha is not None or _has_transparency(stored):
                alpha = np.asarray(stored.load().convert("RGBA"))[..., 3]
                notes += _notes_of_alpha(alpha, stored)
            return ImageFacts(stored.size, tuple(notes))
        samples = _samples(stored, options)
        shown = _bands(stored, options, samples)
        colors = samples[..., list(dict.fromkeys(shown))]
        black_white = _range(stored, options, colors)
        if not stored.is_deep:
            return ImageFacts(stored.size, tuple(notes))
        smallest, largest = _extent(colors)
        if black_white and (smallest < black_white[0] or largest > black_white[1]):
            notes.append(CLIPPED)
        alpha_band = None if options.bands else _alpha(stored, samples)
        if alpha_band is not None:
            notes += _notes_of_alpha(alpha_band, stored)
        extent = (smallest, largest)
        return ImageFacts(stored.size, tuple(notes), extent, black_white, stored.kind)


def is_several_frames(path: str) -> bool:
    """Tell whether an image file has several frames, of which `read_rgb` reads the first."""
    with suppress(Exception), open_stored(path) as stored:  # what is no image has none
        return stored.format in _WITH_FRAMES and has_frames(stored)
    return False


def undecided_problem(facts: dict[str, ImageFacts]) -> str | None:
    """Word that files, by path, have samples of which nothing says what is white; else None."""
    found = {path: fact for path, fact in facts.items() if fact.is_undecided}
    if not found:
        return None
    extents = [fact.extent for fact in found.values() if fact.extent is not None]
    smallest, largest = min(low for low, _ in extents), max(high for _, high in extents)
    kinds = {fact.kind for fact in found.values()}
    kind = "f" if "f" in kinds else "i" if "i" in kinds else "u"
    return (
        f"{len(found)} of {len(facts)} images have more than 8 bits, with values from {smallest:g} "
        f"to {largest:g}, and nothing says which value is white, first: {next(iter(found))}; "
        f"{_way_out(kind, smallest, largest)}"
    )


def read_index_mask(path: str) -> UInt8Array:
    """Decode a palette or grey image to its raw values, (H, W) uint8, upright.

    ValueError if the file has colours, opacity, several frames, values above 255, or may have been
    compressed with losses.
    """
    with _naming(path), open_stored(path) as stored:
        check_mask_file(stored)
        values = _mask_values(stored)
    if values.dtype.itemsize > 1 or values.dtype.kind == "i":
        wrong = values[(values < 0) | (values > 255)]
        if wrong.size:
            raise ValueError(
                f"{path} holds class index {wrong[0]} ({wrong.size} pixels are outside 0..255); "
                "save class indices, not ids of objects"
            )
    return values.astype(np.uint8)


def open_image(path: str) -> Image.Image:
    """Decode an image, upright, in the file's own mode."""
    with _naming(path), open_stored(path) as stored:
        return stored.load()


def open_mask(path: str) -> Image.Image:
    """Decode a mask, upright, in the file's own mode; for the ValueErrors see `check_mask_file`."""
    with _naming(path), open_stored(path) as stored:
        check_mask_file(stored)
        is_index = stored.image is not None and stored.image.mode.startswith("I")
        if stored.image is None or stored.extra_bands or (stored.is_deep and not is_index):
            raise PixelsRefusedError(
                f"{path} is a mask of {stored.bands} bands of {stored.bits} bits; colours that "
                "mean classes are three bands of 8 bits: save it as PNG"
            )
        return stored.load()


def image_size_of(path: str, options: PixelOptions = AS_STORED) -> tuple[int, int]:
    """Read height and width of an image as it is shown, from the file's header alone."""
    with _naming(path), open_stored(path) as stored:
        if stored.kind == "f" and options.value_range is None:
            raise PixelsRefusedError(f"{_no_white(path, 'f')}; {_way_out('f', 0, 1)}")
        return stored.size


def is_turned(path: str) -> bool:
    """Say whether a file's EXIF orientation turns or mirrors the image."""
    with _naming(path), open_stored(path) as stored:
        return stored.turn != 1


def has_alpha(path: str) -> bool:
    """Say whether a file has a band of opacity, or a transparent colour."""
    with _naming(path), open_stored(path) as stored:
        return stored.alpha is not None or _has_transparency(stored)


def _mask_values(stored: StoredImage) -> NDArray[Any]:
    path, bands = stored.path, stored.bands
    if stored.image is not None and stored.image.mode in ("P", "L", "1"):
        if bands == 1 and not stored.is_deep:
            return stored.index_values()
        values = stored.samples()
    elif bands == 1 and (stored.image is None or stored.image.mode.startswith("I")):
        values = stored.samples()
    else:
        mode = stored.image.mode if stored.image is not None else f"{bands} bands"
        opacity = (
            "Opacity is not read: if it holds the mask, save it alone as a grey PNG. "
            if stored.alpha is not None
            else ""
        )
        raise PixelsRefusedError(
            f"{path} is a mask of mode {mode}; expected class indices (a palette or a grey "
            f"PNG). {opacity}If its channels all hold the index, save one of them; if the colours "
            "in a Folder mean classes, write each behind the name in classes.txt ('cat 128 0 0')"
        )
    if stored.bands > 1:
        raise PixelsRefusedError(
            f"{path} is a mask of {bands} bands; save the one that holds class indices as PNG"
        )
    return values[..., 0]


def _is_plain(stored: StoredImage, options: PixelOptions) -> bool:
    """Tell whether Pillow's own conversion shows what the file says."""
    refuse_stack(stored)
    if stored.kind == "c":
        raise PixelsRefusedError(
            f"{stored.path} has complex numbers as pixels; save their magnitude, or what else is "
            "to be seen"
        )
    if stored.colors == 0 and options.bands is None:
        raise PixelsRefusedError(
            f"{stored.path} has {stored.bands} bands, and does not say which are red, green and "
            "blue; name three as bands, as '[1, 2, 3]' (--data.bands, for label --bands)"
        )
    mode = stored.image.mode if stored.image is not None else ""
    is_ink = mode in ("CMYK", "LAB", "YCbCr")
    return options.bands is None and stored.image is not None and (not stored.is_deep or is_ink)


def _shown(stored: StoredImage) -> UInt8Array:
    image = stored.load()
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)  # torch wants a writable copy
    if image.has_transparency_data:
        image = image.convert("RGBA")
        _notes_of_alpha(np.asarray(image)[..., 3], stored)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _has_transparency(stored: StoredImage) -> bool:
    return stored.image is not None and "transparency" in stored.image.info


def _samples(stored: StoredImage, options: PixelOptions) -> NDArray[Any]:
    return stored.samples() if options.bands is None else stored.all_samples()


def _bands(stored: StoredImage, options: PixelOptions, samples: NDArray[Any]) -> list[int]:
    """Give the indices of the three bands that are shown."""
    if options.bands is None:
        return [0, 0, 0] if stored.colors == 1 else [0, 1, 2]
    if max(options.bands) > samples.shape[2]:
        raise PixelsRefusedError(
            f"bands {list(options.bands)} names a band that {stored.path} does not have: it has "
            f"{samples.shape[2]}"
        )
    return [number - 1 for number in options.bands]


def _extent(colors: NDArray[Any]) -> tuple[float, float]:
    return colors.min().item(), colors.max().item()


def _range(stored: StoredImage, options: PixelOptions, colors: NDArray[Any]) -> Range | None:
    """Find black and white of a file's samples; None if nothing says them."""
    if colors.dtype.kind == "f":
        wrong = colors.size - int(np.isfinite(colors).sum())
        if wrong:
            raise PixelsRefusedError(
                f"{stored.path} has {wrong} values that are NaN or infinite, which have no colour; "
                "replace them in the file"
            )
    if not stored.is_deep:
        return (0, 255)
    if options.value_range is not None:
        return options.value_range
    return stored.stated or decide_range(stored.kind, stored.bits, _extent(colors)[1])


def _scaled(
    stored: StoredImage, options: PixelOptions, samples: NDArray[Any], black_white: Range
) -> UInt8Array:
    alpha = None if options.bands else _alpha(stored, samples)
    image = scale(samples[..., _bands(stored, options, samples)], *black_white)
    if stored.inverted:
        image = 255 - image
    if alpha is None:
        return np.ascontiguousarray(image)
    _notes_of_alpha(alpha, stored)
    share = alpha[..., None].astype(np.float32) / 255
    laid = image * share + 255 * (1 - share)
    return (laid + 0.5).astype(np.uint8)


def _alpha(stored: StoredImage, samples: NDArray[Any]) -> UInt8Array | None:
    """Opacity in 0..255, (H, W), of samples that are not 8 bits; None if all is opaque."""
    if stored.alpha is not None:
        band = samples[..., stored.alpha]
        if stored.kind == "f":
            return scale(band, 0, 1)
        return scale(band, 0, (2**stored.bits - 1) if stored.kind == "u" else 2**15 - 1)
    clear = stored.image.info.get("transparency") if stored.image is not None else None
    if isinstance(clear, int | tuple):
        return np.where((samples == np.array(clear)).all(2), 0, 255).astype(np.uint8)
    return None


def _notes_of_alpha(alpha: UInt8Array, stored: StoredImage) -> list[str]:
    """Note what is suspicious in opacity, (H, W); an error if it can be no opacity."""
    seen = np.count_nonzero(alpha)
    partial = seen - np.count_nonzero(alpha == 255)
    if partial > _MOST_PARTIAL * seen:
        bands = [1, 1, 1] if stored.colors == 1 else [1, 2, 3]
        raise PixelsRefusedError(
            f"{stored.path} has a band of opacity that is partial in "
            f"{100 * partial / alpha.size:.0f} % of the pixels, and so is none; give bands "
            f"'{bands}' (--data.bands, for label --bands) if it is something else, such as near "
            "infrared; if it is opacity, lay the image over a background and save that"
        )
    return [*([] if seen else [ALL_CLEAR]), *([PARTIAL_ALPHA] if partial else [])]


def _undecided_file(stored: StoredImage, colors: NDArray[Any]) -> str:
    smallest, largest = _extent(colors)
    problem = f"{_no_white(stored.path, stored.kind)}: values from {smallest:g} to {largest:g}"
    return f"{problem}; {_way_out(stored.kind, smallest, largest)}"


def _no_white(path: str, kind: str) -> str:
    pixels = "floating-point pixels" if kind == "f" else "pixels of more than 8 bits"
    return f"{path} has {pixels}, which have no defined white"


def _way_out(kind: str, smallest: float, largest: float) -> str:
    black, white = suggest_range(kind, smallest, largest)
    return (
        f"state black and white as value_range, perhaps '[{black:g}, {white:g}]' "
        "(--data.value_range, in classes.json, or for label --value_range), or save the files with "
        "8 or 16 bits that are used in full"
    )


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except PixelsRefusedError:
        raise
    except FileNotFoundError:
        target = f", a broken link to {Path(path).readlink()}" if Path(path).is_symlink() else ""
        raise FileNotFoundError(
            f"{path} is missing{target}; restore the file, or remove its line in a split list"
        ) from None
    except Image.DecompressionBombError as error:
        raise OSError(
            f"{path} cannot be decoded ({error}); cut the image into tiles. 'wsss-zoo label' reads "
            "images of any size"
        ) from error
    except Exception as error:  # plugins let SyntaxError, struct.error and more through
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        reason = "the file is empty, 0 bytes" if empty else str(error) or type(error).__name__
        raise OSError(
            f"{path} cannot be decoded ({reason}); replace the file, or remove it and its "
            "line in a split list"
        ) from error
