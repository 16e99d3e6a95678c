"""How an image file stores its pixels, and its samples as they are stored.

Pillow opens most files. TIFFs that it does not know (five bands, colours as floating-point numbers)
are opened by tifffile, which scikit-image brings.
"""

import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsss_zoo.files.images.header_claims import check_claim
from wsss_zoo.files.images.pixels import PixelsRefusedError, Range

# Numbers of TIFF's tags.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _BANDS, _PLANES, _EXTRA, _FORMAT, _SUBFILE = 274, 277, 284, 338, 339, 254
_DESCRIPTION, _DEPTH = 270, 32997
_TAGS = (_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _BANDS, _PLANES, _EXTRA, _FORMAT)
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
# Colours by TIFF's photometric interpretation; of the others the decoder makes RGB.
_GREY, _RGB = (0, 1), 2
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHA = (1, 2, 999)  # TIFF's ExtraSamples: associated, unassociated, and Corel's
# What a viewer does with stored pixels, by EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = (5, 6, 7, 8)  # turns that swap width and height
# Pillow recognises these without decoding them, or starts another program to do it.
_NO_IMAGES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}


@dataclass(frozen=True)
class StoredImage:
    """An image file whose header has been read; valid in the block of `open_stored`.

    Args:
        path: The file.
        image: Pillow's image; None for a TIFF that only tifffile opens.
        format: Pillow's name of the file format.
        size: Height and width, upright, pixels.
        turn: EXIF orientation that the decoder does not apply, 1 for none.
        bands: Samples of a pixel.
        colors: 1 for grey, 3 for RGB, 0 if the file does not say which bands are colours.
        alpha: Index of the band of opacity; None if there is none.
        kind: Kind of the samples as numpy names it: u, i, f, c.
        bits: Bits of a sample.
        inverted: Whether 0 is white and Pillow does not turn it around.
        white_is_zero: Whether the file says that 0 is white.
        stated: Black and white, if the file states them itself.
        compression: Number of TIFF's compression; 0 for other formats.
        in_planes: Whether a TIFF stores one band after the other.
    """

    path: str
    image: Image.Image | None
    format: str
    size: tuple[int, int]
    turn: int
    bands: int
    colors: int
    alpha: int | None
    kind: str
    bits: int
    inverted: bool = False
    white_is_zero: bool = False
    stated: Range | None = None
    compression: int = 0
    in_planes: bool = False

    @property
    def is_deep(self) -> bool:
        """Whether the samples are no 8 bits, so that nobody knows white without being told."""
        return self.kind != "u" or self.bits > 8

    @property
    def extra_bands(self) -> int:
        """Number of bands that are neither colour nor opacity."""
        if self.colors == 0:
            return 0
        return max(0, self.bands - self.colors - (self.alpha is not None))

    def load(self) -> Image.Image:
        """Decode by Pillow, upright, in the mode of the file."""
        assert self.image is not None
        self.image.load()
        turn = _TURNS.get(self.turn)
        if turn is None:
            return self.image
        turned: Image.Image = self.image.transpose(turn)
        turned.format = self.image.format
        return turned

    def samples(self) -> NDArray[Any]:
        """Decode the samples as they are stored, (H, W, B), upright.

        Raises:
            PixelsRefusedError: If the file is of a kind whose samples cannot be read as stored.
        """
        if self.image is None or (self.is_deep and self.in_planes and self.bands > 1):
            # Pillow takes the planes of 16 bits for planes of 8.
            return _tiff_samples(self.path)
        values = _pillow_samples(self.image, self)
        values = values[:, :, None] if values.ndim == 2 else values
        return _turned(values, self.turn)

    def index_values(self) -> NDArray[Any]:
        """Decode a grey or palette image of at most 8 bits to the values in the file, (H, W).

        To be seen, Pillow spreads grey values of 2 and 4 bits, and those of a PGM file, over
        0..255.
        """
        assert self.image is not None
        if self.format == "PPM" and self.image.mode == "L":
            return _turned(_ppm_samples(self.image, self.path), self.turn)[..., 0]
        raw = _raw_mode(self.image)
        spread = {"L;2": 85, "L;4": 17}.get(raw.removesuffix("R"), 1)
        return np.array(self.load()) // spread if spread > 1 else np.array(self.load())

    def all_samples(self) -> NDArray[Any]:
        """Decode all bands as they are stored, also those that Pillow would drop."""
        if self.format != "TIFF" or self.image is None:
            return self.samples()
        photometric = int(self.image.tag_v2.get(_PHOTOMETRIC, 0))  # type: ignore[attr-defined]
        if photometric not in (*_GREY, _RGB):
            return self.samples()
        try:
            return _tiff_samples(self.path)
        except PixelsRefusedError:
            if self.bands > len(self.image.getbands()):
                raise
            return self.samples()


@contextmanager
def open_stored(path: str) -> Iterator[StoredImage]:
    """Read the header of an image file, and refuse a size that it cannot have.

    Raises:
        Exception: Whatever Pillow and its plugins raise for what is no image.
        ClaimError: If the claimed size is false or too large.
    """
    try:
        image = Image.open(path, formats=formats())
    except UnidentifiedImageError:
        stored = _open_tiff(path)
        if stored is None:
            raise
        yield stored
        return
    with image:
        width, height = image.size
        stored = _of_tiff(path, image) if image.format == "TIFF" else _of_others(path, image)
        tile = getattr(image, "tile", None)
        decoder = str(tile[0][0]) if tile else ""
        check_claim(path, width, height, decoder, image.mode, stored.compression)
        yield stored


@cache
def formats() -> tuple[str, ...]:
    """List Pillow's names of the file formats that are read, the most frequent first."""
    # It logs what tifffile is then asked to read.
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
    _register_heif()
    Image.init()
    common = ("JPEG", "PNG")
    return (*common, *(name for name in Image.ID if name not in _NO_IMAGES and name not in common))


def refuse_stack(stored: StoredImage) -> None:
    """Refuse a TIFF with several pages of one size: which of them the image is, nobody says.

    Raises:
        PixelsRefusedError: For the slices of a volume, channels or times that are pages.
    """
    count = _pages_of_the_first_size(stored)
    if count > 1:
        height, width = stored.size
        raise PixelsRefusedError(
            f"{stored.path} is a stack of {count} pages of {width} x {height} pixels, such as the "
            "slices of a volume, channels or times; save each as an image of its own, with a mask "
            "of its own, or the channels as bands of one page"
        )


def _pages_of_the_first_size(stored: StoredImage) -> int:
    if stored.format != "TIFF":
        return 1
    tags = getattr(stored.image, "tag_v2", None)
    # Asked first, as a second look at the file takes time: pages, or a stack in one (ImageJ).
    if tags is not None:
        several = getattr(stored.image, "is_animated", True) or _DEPTH in tags
        if not several and not str(tags.get(_DESCRIPTION, "")).startswith("ImageJ="):
            return 1
    with _tifffile(stored.path) as page:
        if page is None:
            return 1
        alike = [p for p in page.parent.pages if not _is_copy(p) and _size_of(p) == _size_of(page)]
        return max(len(alike), _stacked(page))


def _stacked(page: Any) -> int:
    """Count the images that stand behind each other in one page, as ImageJ and volumes have it."""
    described = dict(page.parent.imagej_metadata or {}).get("images", 1)
    return max(int(described), int(page.imagedepth))


def _size_of(page: Any) -> tuple[int, int]:
    return page.imagelength, page.imagewidth


def _is_copy(page: Any) -> bool:
    """Tell whether a page is a smaller copy, or the transparency of another."""
    return bool(int(_first(page.tags.valueof(_SUBFILE)) or 0) & 0b101)


def _register_heif() -> None:
    try:
        # An extra of the package: telephones save their photographs as HEIC.
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return


def has_frames(stored: StoredImage) -> bool:
    """Tell whether a file has several images; smaller copies in a TIFF do not count."""
    if stored.format == "TIFF":
        with _tifffile(stored.path) as page:
            if page is None:
                return False
            return _stacked(page) > 1 or any(not _is_copy(p) for p in page.parent.pages[1:])
    return stored.format != "MPO" and bool(getattr(stored.image, "is_animated", False))


def orientation_of(image: Image.Image) -> int:
    """Read the EXIF orientation that the decoder does not apply; 1 for none."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        # The method of PNG files would decode the whole file to look behind the pixels.
        turn = int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data, of which Pillow lets many errors through
        return 1
    return turn if turn in _TURNS else 1


def _of_others(path: str, image: Image.Image) -> StoredImage:
    turn, mode = orientation_of(image), image.mode
    width, height = image.size
    size = (width, height) if turn in _SWAPPED else (height, width)
    raw = _raw_mode(image)
    kind, bits, stated = "u", 8, None
    if mode.startswith("I") or ";16" in raw:
        kind, bits = ("u", 16) if ";16" in raw or mode != "I" else ("i", 32)
    elif mode == "F":
        kind, bits = "f", 32
    if image.format == "PPM":
        largest = _ppm_maximum(image)
        if largest > 255:
            kind, bits, stated = "u", 16, (0, largest) if largest < 65535 else None
    elif image.format == "JPEG2000":
        bits = _jpeg2000_bits(path)
        kind = "u"
        stated = (0, 2**bits - 1) if 8 < bits < 15 else None
    names = image.getbands()
    alpha = names.index("A") if "A" in names else None
    bands = 2 if raw == "LA;16B" else len(names)
    alpha = 1 if raw == "LA;16B" else alpha
    colors = bands - (alpha is not None)
    if image.format == "SGI" and Path(path).read_bytes()[3] == 2:
        bits = 16
    image_format = image.format or ""
    return StoredImage(
        path,
        image,
        image_format,
        size,
        turn,
        bands,
        colors,
        alpha,
        kind,
        bits,
        # In a PBM file 1 is black.
        white_is_zero=image.format == "PPM" and mode == "1",
        stated=stated,
    )


def _of_tiff(path: str, image: Image.Image) -> StoredImage:
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, height = image.size
    return _stored_tiff(path, image, (height, width), {tag: tags.get(tag) for tag in _TAGS})


def _open_tiff(path: str) -> StoredImage | None:
    """Read the header of a TIFF that Pillow does not know; None if it is no TIFF."""
    with Path(path).open("rb") as file:
        if file.read(4) not in _TIFF_STARTS:
            return None
    with _tifffile(path) as page:
        if page is None:
            return None
        tags = {tag: page.tags.valueof(tag) for tag in _TAGS}
        height, width = page.imagelength, page.imagewidth
        size = (width, height) if tags[_ORIENTATION] in _SWAPPED else (height, width)
        stored = _stored_tiff(path, None, size, tags)
        decoder = "raw" if stored.compression == 1 else "libtiff"
        check_claim(path, width, height, decoder, "L", stored.compression)
        return stored


def _stored_tiff(
    path: str, image: Image.Image | None, size: tuple[int, int], tags: Mapping[int, Any]
) -> StoredImage:
    first = {tag: _first(value) for tag, value in tags.items()}
    photometric = first[_PHOTOMETRIC] or 0
    bands = first[_BANDS] or 1
    bits = first[_BITS] or 1
    kind = _KINDS.get(first[_FORMAT] or 1, "c")
    extra = tags[_EXTRA]
    extras = tuple(extra) if isinstance(extra, tuple | list) else () if extra is None else (extra,)
    # A fourth band that the file says nothing of is opacity to Pillow and to viewers.
    unsaid = photometric == _RGB and bands == 4 and not extras
    colors = 1 if photometric in _GREY else 3
    alpha = colors if unsaid or (extras and extras[0] in _ALPHA) else None
    if photometric not in (*_GREY, _RGB) and image is not None:
        # Palettes, CMYK and others: Pillow makes colours of them.
        names = image.getbands()
        alpha = names.index("A") if "A" in names else None
        colors = bands - (alpha is not None) - len(extras[1:] if alpha else extras)
    elif colors == 1 and bands - (alpha is not None) > 1:
        colors = 0  # several grey bands, none of which is red
    deep = kind != "u" or bits > 8
    return StoredImage(
        path,
        image,
        "TIFF",
        size,
        1,
        bands,
        colors,
        alpha,
        kind,
        8 if not deep else bits,
        inverted=photometric == 0 and (image is None or deep),
        white_is_zero=photometric == 0,
        stated=(0, 2**bits - 1) if kind == "u" and 8 < bits < 16 else None,
        compression=int(first[_COMPRESSION] or 1),
        in_planes=first[_PLANES] == 2,
    )


def _first(value: Any) -> int | None:
    if isinstance(value, tuple | list):
        value = value[0] if value else None
    return None if value is None else int(value)


@contextmanager
def _tifffile(path: str) -> Iterator[Any]:
    """Yield the first page of a TIFF; None if it cannot be read."""
    import tifffile

    # Its warnings about tags that nobody asked for.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        file = tifffile.TiffFile(path)
        page: Any = file.pages[0]
    except Exception:  # struct.error, IndexError and more for a damaged file
        yield None
        return
    with file:
        yield page


def _tiff_samples(path: str) -> NDArray[Any]:
    with _tifffile(path) as page:
        if page is None:
            raise OSError("no page of this TIFF can be read")
        try:
            values: NDArray[Any] = page.asarray()
        except (ValueError, NotImplementedError, ImportError, KeyError) as error:
            if "imagecodecs" not in str(error):
                raise OSError(str(error)) from error
            raise PixelsRefusedError(
                f"{path} has samples of a kind that needs the package imagecodecs for its "
                f"compression {getattr(page.compression, 'name', page.compression)}; install it "
                "('pip install imagecodecs'), or save the file without compression or with deflate"
            ) from error
        axes, turn = page.axes, _first(page.tags.valueof(_ORIENTATION)) or 1
    if axes == "YX":
        values = values[:, :, None]
    elif axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    elif axes != "YXS":
        raise OSError(f"its axes are {axes}, which is no image")
    return _turned(values, turn)


def _pillow_samples(image: Image.Image, stored: StoredImage) -> NDArray[Any]:
    raw = _raw_mode(image)
    if image.format == "PPM" and stored.is_deep:
        return _ppm_samples(image, stored.path)
    if stored.format == "SGI" and stored.is_deep:
        return _sixteen_bits(image, stored, raw)
    if raw == "LA;16B":
        # Pillow keeps the upper bytes. Read as four bytes a pixel, both halves are there.
        _replace_raw_mode(image, "RGBA")
        image.load()
        halves = np.asarray(image).astype(np.uint16)
        return halves[..., ::2] << 8 | halves[..., 1::2]
    if ";16" in raw and not image.mode.startswith("I"):
        return _sixteen_bits(image, stored, raw)
    image.load()
    if image.mode in ("P", "PA", "1") or image.mode not in _AS_ARRAY:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    values = np.asarray(image)
    if stored.format == "JPEG2000" and stored.is_deep:
        if image.mode != "I;16":
            raise PixelsRefusedError(
                f"{stored.path} is a JPEG 2000 file with colours of {stored.bits} bits, of which "
                "only the upper eight can be read; save it as PNG or TIFF"
            )
        return values >> (16 - stored.bits)
    if stored.kind == "u" and stored.bits == 32 and values.dtype == np.int32:
        return values.view(np.uint32)
    if stored.kind == "i" and stored.bits == 8:
        return values.view(np.int8)
    return values


_AS_ARRAY = ("L", "LA", "RGB", "RGBA", "CMYK", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def _sixteen_bits(image: Image.Image, stored: StoredImage, raw: str) -> NDArray[np.uint16]:
    """Decode colours of 16 bits, of which Pillow keeps one byte: once for each of the two."""
    if stored.format not in ("PNG", "TIFF"):
        raise PixelsRefusedError(
            f"{stored.path} is a {stored.format} file of 16 bits, of which only the upper eight "
            "can be read; save it as PNG or TIFF"
        )
    name, order = raw[:-1], raw[-1]
    native = "L" if sys.byteorder == "little" else "B"
    order = native if order == "N" else order
    # Associated opacity would be divided out byte by byte.
    name = name.replace("RGBa", "RGBA")
    halves = []
    for wanted in (order, "L" if order == "B" else "B"):
        with Image.open(stored.path, formats=(stored.format,)) as again:
            _replace_raw_mode(again, name + wanted)
            again.load()
            halves.append(np.asarray(again).astype(np.uint16))
    return (halves[0] << 8 | halves[1]).astype(np.uint16)


def _raw_mode(image: Image.Image) -> str:
    tile = getattr(image, "tile", None)
    args = tile[0][3] if tile else ""
    args = args[0] if isinstance(args, tuple) and args else args
    return args if isinstance(args, str) else ""


def _replace_raw_mode(image: Image.Image, raw: str) -> None:
    tiles = []
    for tile in image.tile:  # type: ignore[attr-defined]
        args = tile.args
        tiles.append(tile._replace(args=(raw, *args[1:]) if isinstance(args, tuple) else raw))
    image.tile = tiles  # type: ignore[attr-defined]


def _ppm_maximum(image: Image.Image) -> int:
    """Read the value of white, which PPM files state."""
    args = image.tile[0].args  # type: ignore[attr-defined]
    if isinstance(args, tuple) and type(args[-1]) is int and args[-1] > 0:
        return args[-1]
    return 65535 if ";16" in _raw_mode(image) else 255


def _ppm_samples(image: Image.Image, path: str) -> NDArray[Any]:
    tile = image.tile[0]  # type: ignore[attr-defined]
    width, height = image.size
    bands = len(image.getbands())
    count = width * height * bands
    kind = ">u2" if _ppm_maximum(image) > 255 else "u1"
    if tile.codec_name == "ppm_plain":
        with Path(path).open("rb") as file:
            file.seek(tile.offset)
            values = np.array(file.read().split()[:count], dtype=np.uint16)
    else:
        values = np.fromfile(path, dtype=kind, count=count, offset=tile.offset)
    if values.size < count:
        raise OSError("image file is truncated")
    return values.astype(np.uint16).reshape(height, width, bands)


def _jpeg2000_bits(path: str) -> int:
    """Read the bits of a sample from the segment SIZ of a JPEG 2000 file; 8 if there is none."""
    with Path(path).open("rb") as file:
        head = file.read(1 << 16)
    start = head.find(b"\xff\x4f\xff\x51")
    # Markers, length, capabilities, eight sizes of four bytes and the number of bands come first.
    place = start + 4 + 2 + 2 + 32 + 2
    if start < 0 or place >= len(head):
        return 8
    return (head[place] & 0x7F) + 1


def _turned(values: NDArray[Any], turn: int) -> NDArray[Any]:
    """Turn stored samples, (H, W, B), as their EXIF orientation says."""
    if turn >= 5:
        values = values.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    return values
