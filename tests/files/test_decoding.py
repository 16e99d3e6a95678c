import io
import sys
import types

import numpy as np
import pytest
from PIL import Image

from tests.each import each
from wsss_zoo.files.decoding import (
    heif_hint,
    image_size_of,
    is_turned,
    open_mask,
    read_index_mask,
    read_rgb,
    readable_suffixes,
)
from wsss_zoo.files.images.stored import formats

ORIENTATION = 0x0112
# What a viewer does with the stored pixels, by EXIF orientation (EXIF 2.32, table 6).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.fixture(scope="module")
def pixels():
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@each("orientation", UPRIGHT)
def test_exif_orientation(tmp_path, pixels, suffix, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels), exif=exif, **options)
    expected = UPRIGHT[orientation](pixels)
    np.testing.assert_array_equal(read_rgb(path), expected)
    assert image_size_of(path) == expected.shape[:2]
    assert is_turned(path) == (orientation > 1 and suffix != "tif")


@pytest.mark.parametrize("suffix", ["jpg", "avif"])
def test_exif_orientation_of_lossy_files(tmp_path, pixels, suffix):
    if f".{suffix}" not in readable_suffixes():
        pytest.skip(f"this Pillow reads no {suffix}")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels), exif=exif, quality=95)
    read, expected = read_rgb(path), UPRIGHT[6](pixels)
    assert image_size_of(path) == read.shape[:2] == expected.shape[:2]
    assert np.abs(read.astype(int) - expected).mean() < 12


@each("orientation", [0, 9, 77])
def test_orientations_that_do_not_exist_turn_nothing(tmp_path, pixels, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(read_rgb(path), pixels)


def test_damaged_exif_data_turn_nothing(tmp_path, pixels):
    path = save(tmp_path / "a.png", Image.fromarray(pixels), exif=b"Exif\0\0MM\0*\xff\xff\xff")
    np.testing.assert_array_equal(read_rgb(path), pixels)
    assert image_size_of(path) == pixels.shape[:2]


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "ppm", "jp2", "qoi", "tga"])
def test_formats(tmp_path, pixels, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels))
    image = read_rgb(path)
    np.testing.assert_array_equal(image, pixels)
    assert image.flags.writeable
    assert f".{suffix}" in readable_suffixes()
    assert image_size_of(path) == pixels.shape[:2]


def test_heic_is_read_where_pillow_heif_is_installed(monkeypatch):
    registered = []
    fake = types.SimpleNamespace(register_heif_opener=lambda: registered.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    formats.cache_clear()
    formats()
    assert registered == [1]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats.cache_clear()
    assert "PNG" in formats()
    formats.cache_clear()
    assert heif_hint(["a.jpg"]) == ""
    assert "HEIC files are read once" in heif_hint(["a.jpg", "b.HEIF"])


def test_modes_are_what_a_viewer_shows(tmp_path, pixels):
    image = Image.fromarray(pixels)
    grey = np.asarray(image.convert("L"))
    three = np.repeat(grey[..., None], 3, 2)
    save(tmp_path / "grey.png", image.convert("L"))
    save(tmp_path / "bit.png", image.convert("1"))
    save(tmp_path / "palette.png", image.quantize(24))
    save(tmp_path / "cmyk.tif", image.convert("CMYK"))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "grey.png")), three)
    assert set(np.unique(read_rgb(str(tmp_path / "bit.png")))) == {0, 255}
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "palette.png")), pixels)
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "cmyk.tif")), pixels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path, suffix):
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(values))
    np.testing.assert_array_equal(read_rgb(path)[..., 1], values >> 8)


def test_transparent_pixels_are_white(tmp_path, pixels):
    opacity = np.zeros(pixels.shape[:2], dtype=np.uint8)
    opacity[:, 24:] = 255
    opacity[:8, 24:] = 51
    expected = np.where(opacity[..., None] == 0, 255, pixels).astype(float)
    expected[:8, 24:] = 0.2 * pixels[:8, 24:] + 0.8 * 255
    rgba = np.dstack([pixels, opacity])
    path = save(tmp_path / "a.png", Image.fromarray(rgba))
    assert np.abs(read_rgb(path) - expected).max() <= 1


@each(("mode", "transparent"), [("L", 0), ("RGB", (0, 0, 0)), ("P", 0)])
def test_a_transparent_colour_is_white(tmp_path, mode, transparent):
    image = Image.new(mode, (4, 4))
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0])
    path = save(tmp_path / "a.png", image, transparency=transparent)
    assert (read_rgb(path) == 255).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_of_several_frames(tmp_path, pixels, suffix):
    # Pages of one size would be a stack.
    second = Image.fromarray(255 - pixels[: 2 if suffix == "tif" else None])
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(
        tmp_path / f"a.{suffix}",
        Image.fromarray(pixels),
        save_all=True,
        append_images=[second],
        **options,
    )
    np.testing.assert_array_equal(read_rgb(path), pixels)


@each("action", [read_rgb, read_index_mask, image_size_of])
def test_float_pixels_are_refused(tmp_path, action):
    path = save(tmp_path / "a.tif", Image.new("F", (4, 4)))
    with pytest.raises(ValueError, match=r"a\.tif has floating-point pixels.*8 or 16 bits"):
        action(path)


@each("action", [read_rgb, read_index_mask, image_size_of])
@each(
    ("content", "reason"),
    [(b"", "the file is empty, 0 bytes"), (b"hello", "cannot identify"), (b"\xff\xd8\xff", ".")],
)
def test_what_is_no_image(tmp_path, action, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(OSError, match=rf"a\.jpg cannot be decoded \(.*{reason}.*; replace the"):
        action(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("action", [read_rgb, read_index_mask, image_size_of, is_turned])
def test_missing_file(tmp_path, action):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg is missing; restore"):
        action(str(tmp_path / "a.jpg"))
    (tmp_path / "b.jpg").symlink_to("gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"b\.jpg is missing, a broken link to gone\.jpg"):
        action(str(tmp_path / "b.jpg"))


def test_too_large_images_are_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("L", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(OSError, match=r"a\.png cannot be decoded \(Image size .*; cut the image"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_half_a_file_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, name)
    (tmp_path / "a.dat").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(OSError, match=r"a\.dat cannot be decoded"):
        read_rgb(str(tmp_path / "a.dat"))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA"])
def test_damaged_files_give_an_image_or_the_named_error(tmp_path, pixels, name):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name)
    path = tmp_path / "a.dat"
    for _ in range(60):
        content = bytearray(buffer.getvalue())
        for place in rng.integers(0, min(len(content), 400), 6):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        for action in (read_rgb, read_index_mask, image_size_of):
            message = path.name
            try:
                action(str(path))
            except (OSError, ValueError) as error:
                message = str(error)
            assert path.name in message


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, suffix) for mode in "PL" for suffix in ("png", "bmp", "tif")] + [("P", "gif")],
)
def test_index_masks(tmp_path, mode, suffix):
    values = np.random.default_rng(0).integers(0, 4, (6, 9), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([0, 0, 0, 9, 9, 9, 200, 0, 0, 0, 200, 0])
    path = save(tmp_path / f"a.{suffix}", image)
    np.testing.assert_array_equal(read_index_mask(path), values)


def test_index_masks_of_one_and_sixteen_bits(tmp_path):
    values = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    one = save(tmp_path / "one.png", Image.fromarray(values * 255).convert("1"))
    np.testing.assert_array_equal(read_index_mask(one), values)
    sixteen = save(tmp_path / "sixteen.png", Image.fromarray(values.astype(np.uint16) + 254))
    np.testing.assert_array_equal(read_index_mask(sixteen), values + 254)
    assert read_index_mask(sixteen).dtype == np.uint8
    large = save(tmp_path / "large.png", Image.fromarray(values.astype(np.uint16) + 255))
    with pytest.raises(ValueError, match=r"large\.png holds class index 256 \(2 pixels are out"):
        read_index_mask(large)


def test_masks_are_turned_as_images_are(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    values = np.array([[0, 1, 2]], dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(values), exif=exif)
    np.testing.assert_array_equal(read_index_mask(path), [[0], [1], [2]])
    assert image_size_of(path) == (3, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_colours_where_indices_are_expected(tmp_path, mode):
    path = save(tmp_path / "a.tif", Image.new(mode, (4, 4)))
    with pytest.raises(
        ValueError, match=rf"a\.tif is a mask of mode {mode}; .* in classes\.txt \('cat 128 0 0'\)"
    ):
        read_index_mask(path)


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_masks_are_refused_whatever_their_name(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.png", Image.new("L", (4, 4)), format="JPEG", exif=exif)
    with pytest.raises(ValueError, match=r"a\.png is a JPEG, which changes the values"):
        open_mask(path)


def test_no_programs_are_started_for_postscript(tmp_path):
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    with pytest.raises(OSError, match="cannot identify"):
        read_rgb(str(tmp_path / "a.jpg"))
    assert {".eps", ".pdf", ".mpg", ".h5"}.isdisjoint(readable_suffixes())
