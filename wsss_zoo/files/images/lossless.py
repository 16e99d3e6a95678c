"""Refuse masks whose file format may have changed their values."""

from pathlib import Path

from PIL import Image

from wsss_zoo.files.images.pixels import PixelsRefusedError
from wsss_zoo.files.images.stored import StoredImage, has_frames

# Formats without losses; TIFF and WebP depend on the file.
_LOSSLESS = {
    *("BMP", "DIB", "GIF", "ICO", "IM", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN"),
    *("TGA", "TIFF", "WEBP", "XPM"),
}
# TIFF's compressions without losses: none, fax (2 to 4), LZW, deflate, PackBits, LZMA, zstd.
_LOSSLESS_TIFF = {1, 2, 3, 4, 5, 8, 32771, 32773, 32809, 32946, 34925, 50000}
_TIFF_NAMES = {6: "JPEG", 7: "JPEG", 50001: "WebP", 34887: "LERC", 34712: "JPEG 2000"}


def check_mask_file(stored: StoredImage) -> None:
    """Refuse a mask whose values may not be those that were drawn.

    Raises:
        PixelsRefusedError: If the format has losses, in whatever container, 0 is white, or there
            are several frames.
        Exception: What Pillow raises for a PNG with a wrong checksum.
    """
    path = stored.path
    if stored.kind == "f":
        raise PixelsRefusedError(
            f"{path} has floating-point pixels, which have no defined white; save the class "
            "indices with 8 or 16 bits"
        )
    codec = _lossy_codec(stored)
    if codec is not None:
        raise PixelsRefusedError(
            f"{path} is a {codec}, which changes the values of a mask; save the mask as PNG where "
            "it was made"
        )
    if stored.white_is_zero:
        raise PixelsRefusedError(
            f"{path} is a file in which 0 is white (TIFF's MinIsWhite, PBM), so that its values "
            "and what is shown differ; save the mask as PNG"
        )
    if stored.format in ("TIFF", "GIF", "PNG", "WEBP") and has_frames(stored):
        raise PixelsRefusedError(
            f"{path} has several frames; a mask is one image: save the one that holds the classes "
            "as PNG"
        )
    if stored.format == "PNG":
        # Decoding does not compare the checksums of the pixels: a changed byte would be a class.
        with Image.open(path, formats=("PNG",)) as file:
            file.verify()


def _lossy_codec(stored: StoredImage) -> str | None:
    """Name the format of a file if it has losses."""
    if stored.format in ("JPEG", "MPO"):
        return "JPEG"
    if stored.format not in _LOSSLESS:
        name = {"JPEG2000": "JPEG 2000"}.get(stored.format, stored.format)
        return f"{name} file (with or without losses, the file does not say)"
    if stored.format == "TIFF" and stored.compression not in _LOSSLESS_TIFF:
        number = stored.compression
        return f"TIFF with {_TIFF_NAMES.get(number, 'unknown')} compression (number {number})"
    if stored.format == "WEBP" and not is_lossless_webp(stored.path):
        return "WebP file with losses"
    return None


def is_lossless_webp(path: str) -> bool:
    """Tell whether the pixels of a WebP file, of all frames, are stored without losses."""
    content = Path(path).read_bytes()
    place, kinds = 12, set()
    while place + 8 <= len(content):
        kind, size = (
            content[place : place + 4],
            int.from_bytes(content[place + 4 : place + 8], "little"),
        )
        kinds.add(kind)
        # The chunks of a frame follow 16 bytes that place it.
        place += 24 if kind == b"ANMF" else 8 + size + size % 2
    return b"VP8L" in kinds and b"VP8 " not in kinds
