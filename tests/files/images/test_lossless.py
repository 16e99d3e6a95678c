import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.each import each
from wsss_zoo.files.decoding import open_mask, read_index_mask, readable_suffixes
from wsss_zoo.files.images.lossless import is_lossless_webp

VALUES = np.random.default_rng(0).integers(0, 4, (32, 48), dtype=np.uint8)


def save(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return str(path)


@pytest.mark.parametrize(
    ("name", "options", "codec"),
    [
        ("a.tif", {"compression": "jpeg"}, "TIFF with JPEG compression"),
        ("a.webp", {}, "WebP file with losses"),
        ("a.webp", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, "WebP file with losses"),
        ("a.png", {"format": "JPEG"}, "JPEG"),
        ("a.png", {"format": "WEBP"}, "WebP file with losses"),
        ("a.tif", {"format": "JPEG"}, "JPEG"),
        ("a.jp2", {"quality_layers": [40]}, "JPEG 2000 file"),
        ("a.jp2", {"irreversible": True}, "JPEG 2000 file"),
        ("a.avif", {}, "AVIF file"),
        ("a.dds", {"pixel_format": "DXT1"}, "DDS file"),
    ],
)
def test_codecs_with_losses_are_refused_in_any_container(tmp_path, name, options, codec):
    suffix = "." + str(options.get("format", name.rpartition(".")[2])).lower()
    if suffix == ".avif" and suffix not in readable_suffixes():
        pytest.skip("this Pillow reads no AVIF")
    values = VALUES if codec == "JPEG" or "JPEG" in codec else np.repeat(VALUES[..., None], 3, 2)
    path = save(tmp_path / name, values, **options)
    for action in (open_mask, read_index_mask):
        with pytest.raises(ValueError, match=rf"{name} is a {codec}.*changes the values of a mask"):
            action(path)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiffs_without_losses(tmp_path, compression):
    path = save(tmp_path / "a.tif", VALUES, compression=compression)
    np.testing.assert_array_equal(read_index_mask(path), VALUES)


def test_webp_without_losses(tmp_path):
    colors = np.repeat(VALUES[..., None], 3, 2)
    assert is_lossless_webp(save(tmp_path / "a.webp", colors, lossless=True))
    exif = Image.Exif()
    exif[0x0112] = 1
    assert is_lossless_webp(save(tmp_path / "b.webp", colors, lossless=True, exif=exif))
    assert not is_lossless_webp(save(tmp_path / "c.webp", colors, lossless=False, exif=exif))
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - colors)]}
    assert not is_lossless_webp(save(tmp_path / "d.webp", colors, lossless=False, **frames))
    assert is_lossless_webp(save(tmp_path / "e.webp", colors, lossless=True, **frames))


@each("dtype", [np.uint8, np.uint16, np.bool_])
def test_masks_in_which_zero_is_white(tmp_path, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VALUES.astype(dtype), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"a\.tif is a file in which 0 is white"):
        read_index_mask(str(path))


@each("bits", [2, 4])
def test_grey_values_of_few_bits_are_not_spread(tmp_path, bits):
    per_byte = 8 // bits
    packed = np.zeros((32, 48 // per_byte), np.uint8)
    for place in range(per_byte):
        packed |= VALUES[:, place::per_byte] << (8 - bits * (place + 1))
    path = write_png(tmp_path / "a.png", 48, 32, bits, packed)
    with Image.open(path) as image:
        assert image.mode == "L"
        assert np.asarray(image).max() > 3
    np.testing.assert_array_equal(read_index_mask(path), VALUES)


def write_png(path, width, height, bits, packed):
    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b""))
    return str(path)


@each("largest", [3, 20, 255, 256, 65535])
def test_values_of_pgm_files_are_not_spread(tmp_path, largest):
    head = f"48 32 {largest}\n".encode()
    stored = VALUES.astype(">u2" if largest > 255 else np.uint8).tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P5 " + head + stored)
    np.testing.assert_array_equal(read_index_mask(str(tmp_path / "a.pgm")), VALUES)
    plain = " ".join(map(str, VALUES.ravel().tolist())).encode()
    (tmp_path / "b.pgm").write_bytes(b"P2 " + head + plain)
    np.testing.assert_array_equal(read_index_mask(str(tmp_path / "b.pgm")), VALUES)


def test_bits_of_which_one_is_black(tmp_path):
    Image.new("1", (8, 8)).save(tmp_path / "a.pbm")
    with pytest.raises(ValueError, match=r"a\.pbm is a file in which 0 is white"):
        read_index_mask(str(tmp_path / "a.pbm"))


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_masks_of_several_frames(tmp_path, suffix):
    others = [Image.fromarray(VALUES[::-1])]
    path = save(tmp_path / f"a.{suffix}", VALUES, save_all=True, append_images=others)
    with pytest.raises(ValueError, match="has several frames; a mask is one image"):
        read_index_mask(path)


@each("dtype", [np.int16, np.int32, np.uint32, np.int64, np.uint64])
@each("byteorder", ["<", ">"])
def test_index_masks_of_any_integers(tmp_path, dtype, byteorder):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VALUES.astype(dtype), byteorder=byteorder)
    np.testing.assert_array_equal(read_index_mask(str(path)), VALUES)


@each("dtype", [np.int8, np.int16, np.int64])
def test_negative_indices_are_no_ignored_pixels(tmp_path, dtype):
    values = VALUES.astype(dtype)
    values[0, :3] = -1
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ValueError, match=r"a\.tif holds class index -1 \(3 pixels are outside"):
        read_index_mask(str(tmp_path / "a.tif"))


def test_bands_beside_the_index(tmp_path):
    two = np.dstack([VALUES, VALUES])
    for extra in ("unspecified", "unassalpha"):
        tifffile.imwrite(tmp_path / "a.tif", two, photometric="minisblack", extrasamples=(extra,))
        with pytest.raises(ValueError, match=r"a\.tif is a mask of "):
            read_index_mask(str(tmp_path / "a.tif"))
    save(tmp_path / "b.png", two)
    with pytest.raises(ValueError, match=r"b\.png is a mask of mode LA; .* Opacity is not read"):
        read_index_mask(str(tmp_path / "b.png"))


def test_colors_of_sixteen_bits_or_more_bands_are_refused(tmp_path):
    colors = np.repeat(VALUES[..., None], 4, 2)
    tifffile.imwrite(tmp_path / "a.tif", colors[..., :3].astype(np.uint16), photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", colors, photometric="rgb", extrasamples=("unspecified",))
    for name, bands, bits in (("a", 3, 16), ("b", 4, 8)):
        with pytest.raises(ValueError, match=rf"{name}\.tif is a mask of {bands} bands of {bits} "):
            open_mask(str(tmp_path / f"{name}.tif"))
