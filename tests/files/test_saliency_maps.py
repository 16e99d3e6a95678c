import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.each import each
from wsss_zoo.files.saliency_maps import read_saliency_map, write_saliency_map

GREY = np.array([[0, 32, 128], [200, 254, 255]], dtype=np.uint8)


def test_written_map_is_read(tmp_path):
    write_saliency_map(tmp_path, "sub/a", GREY)
    with Image.open(tmp_path / "sub" / "a.png") as image:
        assert image.mode == "L"
    np.testing.assert_array_equal(read_saliency_map(tmp_path / "sub" / "a.png"), GREY)


def save(path, pixels, mode=None):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@each(
    ("pixels", "mode", "expected"),
    [
        (GREY, "RGB", GREY),
        (GREY, "RGBA", GREY),
        (GREY.astype(np.uint16) << 8, None, GREY),
        (GREY.astype(np.uint16) * 257, None, GREY),
        (np.zeros((2, 3), np.uint16), None, 0 * GREY),
        (np.zeros((2, 3), np.uint8), None, 0 * GREY),
        (GREY > 100, None, 255 * (GREY > 100)),
    ],
)
def test_grey_in_any_mode(tmp_path, pixels, mode, expected):
    found = read_saliency_map(save(tmp_path / "a.png", pixels, mode))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@each(
    ("pixels", "mode", "message"),
    [
        (np.stack([GREY, GREY, 0 * GREY], 2), None, "has colours; a saliency map is grey"),
        (np.stack([GREY, 255 - GREY], 2), None, "transparent pixels"),
        (GREY.astype(np.uint16), None, "has 16 bits, but no value above 255"),
        (np.uint8(GREY > 100), None, "no values but 0 and 1.* by 255"),
        (GREY.astype(np.float32), None, "floating-point"),
    ],
)
def test_what_may_mean_something_else_is_refused(tmp_path, pixels, mode, message):
    path = save(tmp_path / ("a.tif" if pixels.dtype == np.float32 else "a.png"), pixels, mode)
    with pytest.raises(ValueError, match=message):
        read_saliency_map(path)


def write_deep_png(path, values, color_type):
    """Write a PNG of 16 bits and several channels, (H, W, C), which Pillow does not."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@each("opacity", [False, True])
def test_colour_files_of_16_bits(tmp_path, opacity):
    path, deep = tmp_path / "a.png", GREY.astype(np.uint16)
    channels = [deep, np.full_like(deep, 65535)] if opacity else [deep] * 3
    write_deep_png(path, np.stack(channels, 2), 4 if opacity else 2)
    with pytest.raises(ValueError, match="has 16 bits, but no value above 255"):
        read_saliency_map(path)
    channels[: -1 if opacity else None] = [deep * 257] * (1 if opacity else 3)
    write_deep_png(path, np.stack(channels, 2), 4 if opacity else 2)
    np.testing.assert_array_equal(read_saliency_map(path), GREY)
