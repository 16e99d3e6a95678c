"""Superpixels: counts, edges and ids on photographs, sizes that broke the libraries, backends."""

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from skimage import data, draw, transform

from tests.each import each
from wsss_zoo.functional import superpixel_backend, superpixels

BACKENDS = [
    pytest.param(
        "fast_slic",
        marks=pytest.mark.skipif(find_spec("fast_slic") is None, reason="fast-slic is missing"),
    ),
    "skimage",
]
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def photo(name, height=188, width=250):
    """A photograph that ships with scikit-image, (H, W, 3) uint8."""
    resized = transform.resize(getattr(data, name)(), (height, width), anti_aliasing=True)
    return (255 * resized).round().astype(np.uint8)


def check_ids(segments, shape):
    assert segments.shape == shape
    assert segments.dtype == np.int64
    assert np.array_equal(np.unique(segments), np.arange(segments.max() + 1))


def upheld(mask, segments):
    """Share of the pixels that agree with most of their region."""
    counts = np.stack(
        [np.bincount(segments[mask == k], minlength=segments.max() + 1) for k in (0, 1)]
    )
    return counts.max(axis=0).sum() / mask.size


@both_backends
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_counts_and_ids_on_photographs(name, backend):
    segments = superpixels(photo(name), 300, backend)
    check_ids(segments, (188, 250))
    assert 100 <= segments.max() + 1 <= 600


@both_backends
def test_follows_edges_that_a_grid_does_not(backend):
    mask = np.zeros((120, 160), np.uint8)
    mask[draw.disk((57, 83), 41)] = 1
    rng = np.random.default_rng(0)
    image = np.where(mask[..., None], [200, 80, 60], [60, 120, 90]) + rng.integers(
        -9, 10, (120, 160, 3)
    )
    y, x = np.indices(mask.shape)
    grid = y // 12 * 20 + x // 8
    assert upheld(mask, grid) < 0.97
    assert upheld(mask, superpixels(image.astype(np.uint8), 200, backend)) > 0.985


@both_backends
def test_same_answer_on_every_call(backend):
    image = photo("coffee", 94, 125)
    first = superpixels(image, 80, backend)
    superpixels(photo("astronaut", 94, 125), 80, backend)
    assert np.array_equal(superpixels(image, 80, backend), first)


@both_backends
@each(
    "shape",
    [(1, 1), (1, 30), (30, 1), (2, 3), (8, 8), (20, 20), (1, 700), (700, 1), (64, 2), (33, 65)],
)
def test_fewer_pixels_than_regions(shape, backend):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for pixels in (image, np.zeros_like(image)):
        segments = superpixels(pixels, 1000, backend)
        check_ids(segments, shape)
        assert segments.max() + 1 <= max(2 * image[..., 0].size // 64, 1)


@both_backends
def test_one_region(backend):
    assert not superpixels(photo("coffee", 40, 50), 1, backend).any()


@both_backends
def test_views_and_read_only_images(backend):
    image = photo("astronaut", 60, 80)
    image.flags.writeable = False
    expected = superpixels(image[:, ::-1, ::-1].copy(), 40, backend)
    assert np.array_equal(superpixels(image[:, ::-1, ::-1], 40, backend), expected)
    expected = superpixels(image.copy(), 40, backend)
    assert np.array_equal(superpixels(np.asfortranarray(image), 40, backend), expected)


@pytest.fixture
def fake_fast_slic(monkeypatch):
    """Stands in for fast_slic on a computer without AVX2; holds what its instances were given."""
    options = []

    class Slic:
        def __init__(self, **given):
            options.append(given)

        def iterate(self, image):
            # As if the int16 labels had wrapped and left ids out.
            labels = np.zeros(image.shape[:2], np.int16)
            labels[0, :2] = [-5, 9]
            return labels

    module = ModuleType("fast_slic")
    module.Slic = Slic
    monkeypatch.setitem(sys.modules, "fast_slic", module)
    monkeypatch.setitem(sys.modules, "fast_slic.avx2", None)
    return options


def test_fast_slic_gets_one_thread_an_instance_per_image_and_no_more_seeds_than_int16_holds(
    fake_fast_slic,
):
    image = np.zeros((1500, 1500, 3), np.uint8)
    for _ in range(2):
        segments = superpixels(image, 10**6, "fast_slic")
    assert fake_fast_slic == 2 * [{"num_components": 32767, "compactness": 10.0, "num_threads": 1}]
    assert segments[0, :3].tolist() == [0, 2, 1]


def test_auto_takes_fast_slic_where_there_is_one(fake_fast_slic):
    superpixels(np.zeros((16, 16, 3), np.uint8), 4)
    assert [given["num_components"] for given in fake_fast_slic] == [4]


def test_without_fast_slic(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_slic", None)
    image = photo("coffee", 40, 50)
    assert np.array_equal(superpixels(image, 20), superpixels(image, 20, "skimage"))
    assert superpixel_backend().startswith("scikit-image ")
    remedy = (
        r'pip install "cython>=0\.29" numpy wheel "setuptools<81"\n'
        r"pip install --no-build-isolation fast-slic"
    )
    for function in (
        lambda: superpixels(image, 20, "fast_slic"),
        lambda: superpixel_backend("fast_slic"),
    ):
        with pytest.raises(ImportError, match=remedy):
            function()


def test_backend_and_version():
    pytest.importorskip("fast_slic")
    assert superpixel_backend("fast_slic").split()[0] == "fast_slic"
    assert superpixel_backend("auto") == superpixel_backend("fast_slic")


@each(
    ("image", "told"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\) and type uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "type float32"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    ],
)
def test_what_is_no_rgb_image(image, told):
    with pytest.raises(ValueError, match=told):
        superpixels(image, 10, "skimage")


def test_no_segments():
    with pytest.raises(ValueError, match="num_segments is 0; give at least 1"):
        superpixels(np.zeros((4, 4, 3), np.uint8), 0)


@pytest.mark.parametrize(
    "function", [superpixel_backend, lambda b: superpixels(np.zeros((4, 4, 3), np.uint8), 2, b)]
)
def test_unknown_backend(function):
    with pytest.raises(ValueError, match="'seeds'; give one of auto, fast_slic, skimage"):
        function("seeds")
