import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.each import each
from wsss_zoo.files.decoding import (
    ALL_CLEAR,
    CLIPPED,
    EXTRA_BANDS,
    PARTIAL_ALPHA,
    SEVERAL_FRAMES,
    examine_image,
    image_size_of,
    is_several_frames,
    read_index_mask,
    read_rgb,
    undecided_problem,
)
from wsss_zoo.files.images.pixels import (
    AS_STORED,
    PixelOptions,
    decide_range,
    make_pixel_options,
    options_from_state,
    scale,
    suggest_range,
)

RNG = np.random.default_rng(0)


def png16(path, values):
    """Write a PNG of 16 bits, (H, W, B), by hand: Pillow writes grey ones only."""
    height, width, bands = values.shape
    rows = values.astype(">u2").reshape(height, -1)
    # The filter "up" of PNG, so that decoding depends on rows above.
    stored = rows.view(np.uint8).reshape(height, -1)
    filtered = np.diff(stored.astype(int), axis=0, prepend=0).astype(np.uint8)
    data = b"".join(b"\x02" + row.tobytes() for row in filtered)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)

    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
    return str(path)


def tif(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return str(path)


def expected(values, black, white):
    """Each value by itself, in plain Python."""
    shown = [
        min(255, max(0, int((v - black) * 255 / (white - black) + 0.5)))
        for v in values.ravel().tolist()
    ]
    return np.array(shown, np.uint8).reshape(values.shape)


def test_scale():
    for kind in (np.uint16, np.int16, np.int32, np.float32, np.float64):
        values = RNG.integers(-100, 5000, 200)
        values = np.abs(values).astype(kind) if kind is np.uint16 else values.astype(kind)
        np.testing.assert_array_equal(scale(values, 0, 4095), expected(values, 0, 4095))
        np.testing.assert_array_equal(scale(values, -50, 3000), expected(values, -50, 3000))


def test_the_upper_eight_of_sixteen_bits():
    values = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(scale(values, 0, 65535), values >> 8)
    assert np.abs(scale(values, 0, 65535).astype(int) - expected(values, 0, 65535)).max() == 1


def test_the_range_of_sixteen_bits_is_decided_by_the_highest_bit():
    assert decide_range("u", 16, 32768) == (0, 65535)
    assert decide_range("u", 32, 2**31) == (0, 2**32 - 1)
    for kind, bits, largest in (("u", 16, 32767), ("i", 16, 32767), ("f", 32, 1.0), ("u", 32, 255)):
        assert decide_range(kind, bits, largest) is None
    assert suggest_range("u", 0, 255) == (0, 255)
    assert suggest_range("u", 300, 1023) == (0, 1023)
    assert suggest_range("f", 0, 254.5) == (0, 255)


@each(
    ("value_range", "bands", "message"),
    [
        ([0], None, r"value_range is \[0\]; give the values of black and white, as \[0, 4095\]"),
        ([5, 5], None, "value_range is"),
        ([0, float("inf")], None, "value_range is"),
        (["a", "b"], None, "value_range is"),
        (None, [1, 2], r"bands is \[1, 2\]; give the numbers, from 1, of the three bands"),
        (None, [0, 1, 2], "bands is"),
        (None, [1.0, 2, 3], "bands is"),
    ],
)
def test_bad_options(value_range, bands, message):
    with pytest.raises(ValueError, match=message):
        make_pixel_options(value_range, bands)


def test_options_are_kept_as_plain_lists():
    options = make_pixel_options([0, 4095], [4, 3, 2])
    assert options_from_state(options.state()) == options
    assert options_from_state(None) == options_from_state({}) == AS_STORED


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tif", "tif LZW", "tif deflate", "tif big-endian"])
def test_twelve_bits_in_sixteen(tmp_path, kind, bands):
    values = RNG.integers(0, 4096, (9, 7, bands)).astype(np.uint16)
    suffix, _, how = kind.partition(" ")
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        png16(path, values)
    elif how == "LZW" and bands == 1:
        Image.fromarray(values[..., 0]).save(path, compression="tiff_lzw")
    else:
        options = {"deflate": {"compression": "zlib"}, "big-endian": {"byteorder": ">"}}
        photometric = "rgb" if bands == 3 else "minisblack"
        tif(path, values.squeeze(), photometric=photometric, **options.get(how, {}))
    stated = PixelOptions(value_range=(0, 4095))
    three = np.broadcast_to(values, (9, 7, 3))
    np.testing.assert_array_equal(read_rgb(str(path), stated), expected(three, 0, 4095))
    with pytest.raises(ValueError, match=r"no defined white: values from \d+ to \d+; state .*095"):
        read_rgb(str(path))
    facts = examine_image(str(path))
    assert facts.size == image_size_of(str(path)) == (9, 7)
    assert facts.is_undecided
    assert facts.extent == (values.min(), values.max())
    assert not examine_image(str(path), stated).is_undecided
    problem = undecided_problem({str(path): facts, "b.png": examine_image(str(path), stated)})
    assert f"1 of 2 images have more than 8 bits, with values from {values.min()} to" in problem
    assert "value_range, perhaps '[0, 4095]' (--data.value_range" in problem


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_sixteen_bits_that_are_used_in_full(tmp_path, bands):
    values = RNG.integers(0, 65536, (9, 7, bands)).astype(np.uint16)
    values[0, 0, 0] = 65535
    opacity = bands in (2, 4)
    if opacity:
        values[..., -1] = 65535
        values[0, :, -1] = 0
    path = png16(tmp_path / "a.png", values)
    colors = np.broadcast_to(values[..., : bands - opacity], (9, 7, 3))
    shown = colors >> 8
    if opacity:
        shown[0] = 255
    np.testing.assert_array_equal(read_rgb(path), shown)
    assert examine_image(path).notes == ()


@each("dtype", [np.int16, np.int32, np.uint32, np.int64, np.float16, np.float32, np.float64])
@each("byteorder", ["<", ">"])
def test_integers_and_floats_of_other_sizes(tmp_path, dtype, byteorder):
    values = RNG.integers(0, 256, (9, 7)).astype(dtype)
    path = tif(tmp_path / "a.tif", values, byteorder=byteorder)
    with pytest.raises(ValueError, match=r"a\.tif has .*--data\.value_range"):
        read_rgb(path)
    shown = read_rgb(path, PixelOptions(value_range=(0, 255)))
    np.testing.assert_array_equal(shown[..., 1], values.astype(np.uint8))


def test_sixteen_bits_of_which_eight_are_read(tmp_path):
    values = RNG.integers(0, 256, (9, 7)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.sgi", bpc=2)
    for action in (read_rgb, examine_image, read_index_mask):
        with pytest.raises(ValueError, match=r"a\.sgi is a SGI file of 16 bits, of which only"):
            action(str(tmp_path / "a.sgi"))
    Image.fromarray(values).save(tmp_path / "b.sgi")
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "b.sgi"))[..., 0], values)


@each("options", [{}, {"compression": "zlib"}])
def test_sixteen_bits_in_planes(tmp_path, options):
    values = RNG.integers(0, 4096, (3, 9, 7)).astype(np.uint16)
    path = tif(tmp_path / "a.tif", values, photometric="rgb", planarconfig="separate", **options)
    shown = read_rgb(path, PixelOptions((0, 4095)))
    np.testing.assert_array_equal(shown, expected(np.moveaxis(values, 0, 2), 0, 4095))


def test_ink_has_no_extra_band(tmp_path):
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.tif")
    assert examine_image(str(tmp_path / "a.jpg")).notes == ()
    assert examine_image(str(tmp_path / "a.tif")).notes == ()


def test_grey_with_what_is_no_opacity(tmp_path):
    values = RNG.integers(1, 255, (9, 7, 2)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png has a band of opacity .* bands '\[1, 1, 1\]'"):
        read_rgb(str(tmp_path / "a.png"))
    shown = read_rgb(str(tmp_path / "a.png"), PixelOptions(bands=(1, 1, 1)))
    np.testing.assert_array_equal(shown[..., 2], values[..., 0])


def test_floats_of_three_colors_and_values_without_color(tmp_path):
    values = RNG.random((9, 7, 3)).astype(np.float32)
    path = tif(tmp_path / "a.tif", values, photometric="rgb")
    stated = PixelOptions(value_range=(0, 1))
    np.testing.assert_array_equal(read_rgb(path, stated), expected(values, 0, 1))
    values[0, 0] = np.nan
    tif(path, values, photometric="rgb")
    for action in (read_rgb, examine_image):
        with pytest.raises(ValueError, match=r"a\.tif has 3 values that are NaN or infinite"):
            action(path, stated)
    tif(path, (values * 1j).astype(np.complex64)[..., 0])
    with pytest.raises(ValueError, match=r"a\.tif has complex numbers"):
        read_rgb(path, stated)


@each("dtype", [np.uint8, np.uint16, np.float32])
@each("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_where_zero_is_white(tmp_path, dtype, options):
    values = RNG.integers(0, 256, (9, 7)).astype(dtype)
    path = tif(tmp_path / "a.tif", values, photometric="miniswhite", **options)
    shown = read_rgb(path, PixelOptions(value_range=(0, 255)))
    np.testing.assert_array_equal(shown[..., 0], 255 - values.astype(np.uint8))


def test_bits_that_a_file_states_itself(tmp_path):
    values = np.arange(0, 1024, dtype=np.uint16).reshape(32, 32)
    content = b"P5 32 32 1023\n" + values.astype(">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(content)
    shown = read_rgb(str(tmp_path / "a.pgm"))
    np.testing.assert_array_equal(shown[..., 0], expected(values, 0, 1023))
    (tmp_path / "b.pgm").write_bytes(content.replace(b"1023", b"65535"))
    with pytest.raises(ValueError, match=r"b\.pgm has .* values from 0 to 1023"):
        read_rgb(str(tmp_path / "b.pgm"))
    three = np.repeat(values[:, :, None], 3, 2)
    (tmp_path / "a.ppm").write_bytes(b"P6 32 32 1023\n" + three.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "a.ppm")), expected(three, 0, 1023))
    plain = " ".join(map(str, values.ravel().tolist()))
    (tmp_path / "plain.pgm").write_text(f"P2 32 32 65535\n{plain}\n")
    stated = PixelOptions(value_range=(0, 1023))
    shown = read_rgb(str(tmp_path / "plain.pgm"), stated)
    np.testing.assert_array_equal(shown[..., 0], expected(values, 0, 1023))


def test_jpeg_2000_of_sixteen_bits(tmp_path):
    values = RNG.integers(0, 4096, (40, 30)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.jp2")
    with pytest.raises(ValueError, match=r"a\.jp2 has pixels of more than 8 bits"):
        read_rgb(str(tmp_path / "a.jp2"))
    shown = read_rgb(str(tmp_path / "a.jp2"), PixelOptions(value_range=(0, 4095)))
    np.testing.assert_array_equal(shown[..., 2], expected(values, 0, 4095))


def test_eight_bits_need_no_range(tmp_path):
    values = RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    stated = PixelOptions(value_range=(0, 4095))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "a.png"), stated), values)


def test_values_outside_the_range_are_noted(tmp_path):
    values = RNG.integers(0, 4096, (9, 7)).astype(np.uint16)
    path = tif(tmp_path / "a.tif", values)
    assert examine_image(path, PixelOptions((0, 4095))).notes == ()
    assert examine_image(path, PixelOptions((0, 255))).notes == (CLIPPED,)


def near_infrared(path, suffix, values):
    if suffix == "png":
        Image.fromarray(values).save(path)
    else:
        extra = {"tif": ("unassalpha",), "unspecified.tif": ("unspecified",)}[suffix]
        tif(path, values, photometric="rgb", extrasamples=extra)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_near_infrared_is_no_opacity(tmp_path, suffix):
    values = RNG.integers(1, 255, (9, 7, 4)).astype(np.uint8)
    path = near_infrared(tmp_path / f"a.{suffix}", suffix, values)
    for action in (read_rgb, examine_image):
        with pytest.raises(
            ValueError, match=r"opacity that is partial in 100 % .* give bands '\[1, 2, 3\]' \(--da"
        ):
            action(path)
    np.testing.assert_array_equal(read_rgb(path, PixelOptions(bands=(1, 2, 3))), values[..., :3])
    shown = read_rgb(path, PixelOptions(bands=(4, 1, 1)))
    np.testing.assert_array_equal(shown, values[..., [3, 0, 0]])
    assert examine_image(path, PixelOptions(bands=(1, 2, 3))).notes == ()


def test_bands_that_a_file_does_not_describe(tmp_path):
    values = RNG.integers(0, 256, (9, 7, 4)).astype(np.uint8)
    path = near_infrared(tmp_path / "a.tif", "unspecified.tif", values)
    np.testing.assert_array_equal(read_rgb(path), values[..., :3])
    assert examine_image(path).notes == (EXTRA_BANDS,)
    assert examine_image(path, PixelOptions(bands=(1, 2, 3))).notes == ()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [2, 5, 13])
def test_many_bands(tmp_path, bands, dtype, planar):
    values = RNG.integers(0, 256, (9, 7, bands)).astype(dtype)
    stored = values if planar == "contig" else np.moveaxis(values, 2, 0)
    path = tif(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    for action in (read_rgb, examine_image):
        with pytest.raises(ValueError, match=rf"a\.tif has {bands} bands.*'\[1, 2, 3\]' \(--data"):
            action(path)
    chosen = PixelOptions((0, 255), (2, 1, bands))
    np.testing.assert_array_equal(read_rgb(path, chosen), values[..., [1, 0, bands - 1]])
    assert image_size_of(path) == (9, 7)
    with pytest.raises(ValueError, match=rf"a band that .*a\.tif does not have: it has {bands}"):
        read_rgb(path, PixelOptions((0, 255), (1, 2, bands + 1)))


@each("mode", ["1", "L", "P", "LA", "RGB", "CMYK"])
def test_bands_of_usual_images(tmp_path, mode):
    image = Image.new("RGB", (4, 4), (10, 200, 30))
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    path = tmp_path / "a.tif"
    image.save(path)
    count = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "CMYK": 4}[mode]
    first = read_rgb(str(path), PixelOptions(bands=(1, 1, 1)))
    if mode in ("P", "RGB"):
        assert (first == 10).all()
    with pytest.raises(ValueError, match=f"does not have: it has {count}"):
        read_rgb(str(path), PixelOptions(bands=(1, 1, count + 1)))


def test_compressions_that_need_a_package(tmp_path, monkeypatch):
    values = RNG.integers(0, 256, (9, 7, 5)).astype(np.uint8)
    path = tif(tmp_path / "a.tif", values, photometric="minisblack", compression="zlib")
    # The tag of the compression says LZW.
    content = bytearray((tmp_path / "a.tif").read_bytes())
    place = content.index(struct.pack("<HHI", 259, 3, 1))
    content[place + 8 : place + 10] = struct.pack("<H", 5)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"a\.tif"):
        read_rgb(path, PixelOptions(bands=(1, 2, 3)))


def test_opacity_is_noted(tmp_path):
    values = np.full((9, 7, 4), 255, np.uint8)
    values[:4, :, 3] = 0
    Image.fromarray(values).save(tmp_path / "a.png")
    assert examine_image(str(tmp_path / "a.png")).notes == ()
    values[4, 0, 3] = 9
    Image.fromarray(values).save(tmp_path / "a.png")
    assert examine_image(str(tmp_path / "a.png")).notes == (PARTIAL_ALPHA,)
    values[..., 3] = 0
    Image.fromarray(values).save(tmp_path / "a.png")
    assert examine_image(str(tmp_path / "a.png")).notes == (ALL_CLEAR,)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_frames_are_noted(tmp_path, suffix):
    size = (8, 4) if suffix == "tif" else (8, 8)
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", size, "blue")
    path = tmp_path / f"a.{suffix}"
    first.save(path, save_all=True, append_images=[second])
    assert examine_image(str(path)).notes == (SEVERAL_FRAMES,)
    assert is_several_frames(str(path))
    first.save(path)
    assert not is_several_frames(str(path))
    path.write_bytes(b"no image")
    assert not is_several_frames(str(path))


def test_smaller_copies_are_no_frames(tmp_path):
    values = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(values, photometric="rgb")
        file.write(values[::2, ::2], photometric="rgb", subfiletype=1)
    assert examine_image(str(tmp_path / "a.tif")).notes == ()


_STACK = RNG.integers(0, 256, (3, 8, 8)).astype(np.uint8)


@each(
    "options",
    [
        {},
        {"photometric": "minisblack", "metadata": None},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"volumetric": True, "tile": (16, 16, 16)},
        {"compression": "zlib"},
    ],
)
@each("action", [read_rgb, examine_image])
def test_stacks_are_refused(tmp_path, options, action):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _STACK, **({"photometric": "minisblack"} | options))
    with pytest.raises(ValueError, match=r"a\.tif is a stack of 3 pages of 8 x 8 pixels"):
        action(str(path))
    with pytest.raises(ValueError, match="has several frames; a mask is one image"):
        read_index_mask(str(path))


def test_a_stack_that_imagej_describes_in_one_page_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _STACK, imagej=True, truncate=True, photometric="minisblack")
    with Image.open(path) as image:
        assert image.n_frames == 1
    with pytest.raises(ValueError, match="is a stack of 3 pages"):
        read_rgb(str(path))


def test_stacks_of_colours_and_of_many_bands_are_refused(tmp_path):
    path, colors = tmp_path / "a.tif", RNG.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    tifffile.imwrite(path, colors, photometric="rgb")
    with pytest.raises(ValueError, match="is a stack of 2 pages"):
        read_rgb(str(path))
    bands = RNG.integers(0, 256, (2, 5, 8, 8)).astype(np.uint8)
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="separate")
    with pytest.raises(ValueError, match="is a stack of 2 pages"):
        read_rgb(str(path), PixelOptions(bands=(1, 2, 3)))


def test_one_page_of_any_writer_is_no_stack(tmp_path):
    values, path = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(values, photometric="rgb", subifds=1)
        file.write(values[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_rgb(str(path)), values)
    tifffile.imwrite(path, values, imagej=True)
    np.testing.assert_array_equal(read_rgb(str(path)), values)
    tifffile.imwrite(path, values[None], ome=True, photometric="rgb")
    np.testing.assert_array_equal(read_rgb(str(path)), values)


@each("orientation", range(1, 9))
def test_deep_images_are_turned(tmp_path, orientation):
    values = RNG.integers(0, 4096, (9, 7, 3)).astype(np.uint16)
    stated = PixelOptions((0, 4095))
    path = tif(
        tmp_path / "a.tif", values, photometric="rgb", extratags=[(274, 3, 1, orientation, True)]
    )
    many = np.concatenate([values, values[..., :2]], 2)
    other = tif(
        tmp_path / "b.tif",
        many,
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(274, 3, 1, orientation, True)],
    )
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    Image.fromarray(expected(values, 0, 4095)).save(buffer, "PNG", exif=exif)
    (tmp_path / "shallow.png").write_bytes(buffer.getvalue())
    shallow = read_rgb(str(tmp_path / "shallow.png"))
    np.testing.assert_array_equal(read_rgb(path, stated), shallow)
    np.testing.assert_array_equal(read_rgb(other, PixelOptions((0, 4095), (1, 2, 3))), shallow)
    assert image_size_of(path) == image_size_of(other) == shallow.shape[:2]
