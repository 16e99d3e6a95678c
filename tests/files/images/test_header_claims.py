import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.each import each
from wsss_zoo.files.decoding import examine_image, image_size_of, read_index_mask, read_rgb
from wsss_zoo.files.images import header_claims

WIDTH, HEIGHT = 60_000, 50_000


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, kind, **options)
    return bytearray(buffer.getvalue())


def giant(kind):
    """Make a small file whose header claims 3 gigapixels."""
    content = saved("PNG" if kind == "PNG" else kind.split()[0])
    if kind == "BMP":
        struct.pack_into("<ii", content, 18, WIDTH, HEIGHT)
        return content[:54]
    if kind == "PNG":
        struct.pack_into(">II", content, 16, WIDTH, HEIGHT)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    elif kind == "GIF":
        struct.pack_into("<HH", content, 6, WIDTH, HEIGHT)
        place = content.index(b",")
        struct.pack_into("<HH", content, place + 5, WIDTH, HEIGHT)
    elif kind == "TGA":
        struct.pack_into("<HH", content, 12, WIDTH, HEIGHT)
    elif kind == "PPM":
        content = content.replace(b"40 30", b"60000 50000")
    elif kind == "JPEG":
        place = content.index(b"\xff\xc0")
        struct.pack_into(">HH", content, place + 5, HEIGHT, WIDTH)
    elif kind.startswith("TIFF"):
        content = saved("TIFF", compression=kind.split()[1])
        for tag, value in ((256, WIDTH), (257, HEIGHT), (278, HEIGHT)):
            for form in ("<HHI", "<HHI"):
                for size in (3, 4):
                    place = content.find(struct.pack(form, tag, size, 1))
                    if place >= 0:
                        struct.pack_into("<HHII", content, place, tag, 4, 1, value)
    return content


@pytest.fixture(autouse=True)
def any_number_of_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


@pytest.mark.parametrize(
    "kind",
    ["BMP", "PNG", "GIF", "TGA", "PPM", "JPEG", "TIFF raw", "TIFF tiff_lzw", "TIFF packbits"],
)
def test_claims_that_the_file_cannot_hold(tmp_path, kind):
    path = tmp_path / "a.dat"
    path.write_bytes(giant(kind))
    for action in (image_size_of, read_rgb, examine_image, read_index_mask):
        with pytest.raises(
            OSError, match=r"a\.dat cannot be decoded \(its header claims 60000x50000 pixels, but"
        ):
            action(str(path))


def test_tiffs_of_many_bands(tmp_path):
    path = tmp_path / "a.tif"
    values = np.zeros((30, 40, 5), np.uint8)
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    content = bytearray(path.read_bytes())
    for tag, value in ((256, WIDTH), (257, HEIGHT)):
        place = max(content.find(struct.pack("<HHI", tag, size, 1)) for size in (3, 4))
        struct.pack_into("<HHII", content, place, tag, 4, 1, value)
    path.write_bytes(content)
    with pytest.raises(OSError, match="header claims 60000x50000 pixels, but"):
        examine_image(str(path))


@each("kind", ["PNG", "WEBP", "JPEG", "TIFF", "BMP"])
def test_large_images_of_one_color_are_read(tmp_path, kind):
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    Image.new("RGB", (2000, 1500)).save(tmp_path / "a.dat", kind, **options)
    assert read_rgb(str(tmp_path / "a.dat")).shape == (1500, 2000, 3)


def test_claims_that_the_memory_cannot_hold(tmp_path, monkeypatch):
    Image.new("L", (2000, 1500)).save(tmp_path / "a.png")
    monkeypatch.setattr(header_claims, "free_memory", lambda: 2**24)
    with pytest.raises(OSError, match=r"2000x1500 pixels, which need about 0\.0 GiB of memory"):
        image_size_of(str(tmp_path / "a.png"))


def test_free_memory():
    assert 2**20 < header_claims.free_memory() < 2**45
