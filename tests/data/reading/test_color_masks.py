import pickle

import numpy as np
import pytest
from PIL import Image

from tests.each import each
from wsss_zoo.data.reading.color_masks import ColorMaskFiles, ColorTable

COLORS = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 64): 2, (255, 255, 255): 255}


@pytest.fixture
def indices():
    return np.random.default_rng(0).choice(list(COLORS.values()), (20, 30)).astype(np.uint8)


@pytest.fixture
def pixels(indices):
    colored = np.zeros((*indices.shape, 3), dtype=np.uint8)
    for color, index in COLORS.items():
        colored[indices == index] = color
    return colored


def saved(tmp_path, image, name="m.png", **options):
    image.save(tmp_path / name, **options)
    return str(tmp_path / name)


@each("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_colors_mean_classes(tmp_path, indices, pixels, mode, suffix):
    image = Image.fromarray(pixels)
    # The order of a palette is no matter.
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, image, f"m.{suffix}", **options)
    np.testing.assert_array_equal(ColorTable(COLORS).read(path), indices)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_black_and_white(tmp_path, mode):
    values = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(values).convert(mode))
    table = ColorTable({(0, 0, 0): 0, (255, 255, 255): 1})
    np.testing.assert_array_equal(table.read(path), values // 255)


def test_index_map_and_images_without_masks(tmp_path, indices, pixels):
    path = saved(tmp_path, Image.fromarray(pixels))
    files = ColorMaskFiles({}, {"a": path}, [0, 255, 1], table=ColorTable(COLORS))
    expected = np.select([indices == 0, indices == 2], [0, 1], 255)
    np.testing.assert_array_equal(files.read_mask("a"), expected)
    assert files.read_mask("b") is None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(files)).read_mask("a"), expected)


@pytest.mark.parametrize("palette", [False, True])
def test_unknown_colors_are_counted(tmp_path, pixels, palette):
    pixels[0, :5] = 1, 2, 3
    pixels[1, :7] = 200, 100, 0
    image = Image.fromarray(pixels)
    path = saved(tmp_path, image.quantize(16) if palette else image)
    with pytest.raises(
        ValueError,
        match=r"m\.png has 7 pixels of the colour 200 100 0 \(#c86400\) and 1 more unknown colours "
        r"\(12 pixels in all\), which the list of classes does not name; name it there",
    ):
        ColorTable(COLORS).read(path)


def test_index_masks_where_colors_are_expected(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0, 1]], dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"1 pixels of the colour 1 1 1 .* remove the colours"):
        ColorTable(COLORS).read(path)
    path = saved(tmp_path, Image.fromarray(np.array([[0, 1]], dtype=np.uint16)))
    with pytest.raises(ValueError, match=r"m\.png is a mask of 16 bits, which has no colours"):
        ColorTable(COLORS).read(path)


def test_jpeg_masks_are_refused(tmp_path, pixels):
    path = saved(tmp_path, Image.fromarray(pixels), "m.jpg")
    with pytest.raises(ValueError, match=r"m\.jpg is a JPEG"):
        ColorTable(COLORS).read(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_mask_in_the_opacity_alone_is_refused(tmp_path, mode):
    opacity = np.zeros((4, 6), dtype=np.uint8)
    opacity[:, :2] = 255
    image = Image.new("RGB" if mode == "RGBA" else "L", (6, 4))
    image.putalpha(Image.fromarray(opacity))
    path = saved(tmp_path, image)
    message = r"m\.png has 16 transparent and 8 opaque pixels of the colour 0 0 0; opacity is not"
    with pytest.raises(ValueError, match=message):
        ColorTable(COLORS).read(path)


def test_pixels_that_were_erased_are_refused(tmp_path, pixels, indices):
    rgba = np.dstack([pixels, np.full(indices.shape, 255, dtype=np.uint8)])
    rgba[indices == 0, 3] = 0
    path = saved(tmp_path, Image.fromarray(rgba))
    np.testing.assert_array_equal(ColorTable(COLORS).read(path), indices)
    rgba[np.nonzero(indices == 1)[0][0], np.nonzero(indices == 1)[1][0], 3] = 0
    path = saved(tmp_path, Image.fromarray(rgba))
    with pytest.raises(ValueError, match=r"m\.png has 1 transparent and .* colour 128 0 0"):
        ColorTable(COLORS).read(path)
