"""The CRF against exact mean field, pydensecrf2 and what any CRF must satisfy."""

import numpy as np
import pytest
from skimage import data

from tests.each import each
from tests.functional.crf.pydensecrf_reference import reference_crf
from wsss_zoo.functional.crf.dense_crf import dense_crf

SETTINGS = [
    {},
    {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0},
    {"gaussian_sxy": 1, "gaussian_weight": 1, "bilateral_sxy": 121, "bilateral_weight": 4},
    {"gaussian_weight": 0.0, "bilateral_weight": 3, "iterations": 1},
    {"bilateral_weight": 0.0},
]


def soft_labels(num_classes, size, seed=0, sharpness=1.0):
    rng = np.random.default_rng(seed)
    scores = np.exp(sharpness * rng.normal(size=(num_classes, *size)))
    return (scores / scores.sum(axis=0)).astype(np.float32)


def photo(height=90, width=120):
    return np.ascontiguousarray(data.coffee()[60 : 60 + 3 * height : 3, 150 : 150 + 3 * width : 3])


def exact_mean_field(probs, image, iterations, gaussian, bilateral):
    """Mean field with the full N x N kernels."""
    num_classes, height, width = probs.shape
    position = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    messages = 0
    for features, weight in [
        (position / gaussian[0], gaussian[1]),
        (np.hstack([position / bilateral[0], colour / bilateral[1]]), bilateral[2]),
    ]:
        kernel = np.exp(-((features[:, None] - features[None]) ** 2).sum(-1) / 2)
        root = np.sqrt(kernel.sum(1))
        messages = messages + weight * kernel / root[:, None] / root[None]

    def softmax(logits):
        exp = np.exp(logits - logits.max(1, keepdims=True))
        return exp / exp.sum(1, keepdims=True)

    unary = np.log(np.clip(probs.reshape(num_classes, -1).T.astype(float), 1e-5, 1))
    result = softmax(unary)
    for _ in range(iterations):
        result = softmax(unary + messages @ result)
    return result.T.reshape(probs.shape)


def test_close_to_exact_mean_field():
    image = photo(36, 48)
    grey = image.mean(axis=2)
    label = np.digitize(grey, np.quantile(grey, [1 / 3, 2 / 3]))
    rng = np.random.default_rng(0)
    label = np.where(rng.random(label.shape) < 0.4, rng.integers(0, 3, label.shape), label)
    probs = np.where(np.arange(3)[:, None, None] == label, 0.6, 0.2)
    exact = exact_mean_field(probs, image, 10, (3, 3), (20, 13, 5)).argmax(0)
    refined = dense_crf(probs, image, bilateral_sxy=20, bilateral_srgb=13, bilateral_weight=5)
    # The lattice is an approximation: single pixels may differ by any amount.
    assert (refined.argmax(0) == exact).mean() > 0.95 > 0.75 > (probs.argmax(0) == exact).mean()


@each("num_classes", [2, 5])
@each("options", SETTINGS)
def test_equals_the_authors_code(num_classes, options):
    image, probs = photo(), soft_labels(num_classes, (90, 120))
    ours = dense_crf(probs, image, **options)
    theirs = reference_crf(probs, image, **options)
    assert ours.shape == theirs.shape == probs.shape
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.flags.c_contiguous
    assert theirs.flags.c_contiguous
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.999


@each("shape", [(1, 1, 1), (3, 1, 1), (2, 1, 30), (2, 30, 1), (1, 8, 9)])
@each("iterations", [0, 1, 10])
def test_small_shapes(shape, iterations):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape[1:], 3), dtype=np.uint8)
    probs = soft_labels(shape[0], shape[1:])
    ours = dense_crf(probs, image, iterations=iterations)
    theirs = reference_crf(probs, image, iterations=iterations)
    assert ours.shape == shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@each("options", [{"iterations": 0}, {"gaussian_weight": 0, "bilateral_weight": 0}])
def test_without_messages_only_clips_and_renormalises(options):
    image, probs = photo(20, 30), soft_labels(3, (20, 30))
    probs[:, :5] = np.array([1.0, 0.0, 0.0], np.float32)[:, None, None]
    probs[:, 5:10] *= 0.3
    clipped = np.clip(probs, 1e-5, 1)
    refined = dense_crf(probs, image, **options)
    np.testing.assert_allclose(refined, clipped / clipped.sum(0), rtol=1e-4)


def test_sums_to_one_for_any_weight():
    image, probs = photo(30, 40), soft_labels(4, (30, 40))
    for weight in (1.0, 1e4):
        refined = dense_crf(probs, image, bilateral_weight=weight)
        np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)


def test_scale_of_a_pixel_does_not_matter():
    image, probs = photo(30, 40), soft_labels(3, (30, 40))
    scale = np.random.default_rng(0).uniform(0.2, 1, (30, 40)).astype(np.float32)
    refined = dense_crf(probs * scale, image)
    np.testing.assert_allclose(refined, dense_crf(probs, image), atol=1e-4)


def test_classes_are_equivalent():
    image, probs = photo(30, 40), soft_labels(4, (30, 40))
    order = [2, 0, 3, 1]
    refined = dense_crf(probs, image)
    permuted = dense_crf(probs[order], image)
    np.testing.assert_allclose(permuted, refined[order], atol=1e-4)


def test_snaps_noisy_labels_to_the_edge():
    image = np.full((30, 40, 3), 40, np.uint8)
    image[:, 17:] = 200
    truth = np.arange(40) >= 17
    noise = np.random.default_rng(0).random((30, 40)) < 0.25
    foreground = np.where(truth ^ noise, 0.7, 0.3)
    refined = dense_crf(np.stack([1 - foreground, foreground]), image)
    np.testing.assert_array_equal(refined.argmax(0), np.broadcast_to(truth, (30, 40)))


def test_colour_scale_does_not_matter_on_a_black_image():
    image, probs = np.zeros((20, 30, 3), np.uint8), soft_labels(3, (20, 30))
    refined = [dense_crf(probs, image, bilateral_srgb=s) for s in (3.0, 50.0)]
    np.testing.assert_array_equal(*refined)
    assert np.isfinite(refined[0]).all()


def test_layout_and_type_of_arrays_do_not_matter():
    image, probs = photo(20, 30), soft_labels(3, (20, 30))
    expected = dense_crf(probs, image)
    image.flags.writeable = False
    probs.flags.writeable = False
    strided = np.zeros((20, 30, 6), np.uint8)
    strided[..., ::2] = image
    for other_probs, other_image in [
        (probs, image),
        (probs.astype(np.float64), np.asfortranarray(image)),
        (np.asfortranarray(probs), strided[..., ::2]),
        (probs[:, ::-1].copy()[:, ::-1], image[:, ::-1].copy()[:, ::-1]),
    ]:
        refined = dense_crf(other_probs, other_image)
        np.testing.assert_allclose(refined, expected, atol=1e-5)
    half = dense_crf(probs.astype(np.float16), image)
    np.testing.assert_allclose(half, expected, atol=0.05)


@each(
    ("probs", "image", "message"),
    [
        (np.ones((4, 5)), np.zeros((4, 5, 3), np.uint8), r"\(4, 5\).*give floats \(C, H, W\)"),
        (np.ones((0, 4, 5)), np.zeros((4, 5, 3), np.uint8), r"\(0, 4, 5\).*>= 1"),
        (np.ones((2, 4, 5), int), np.zeros((4, 5, 3), np.uint8), "int64; give floats"),
        (np.ones((2, 4, 5)), np.zeros((5, 4, 3), np.uint8), r"\(5, 4, 3\).*\(2, 4, 5\)"),
        (np.ones((2, 4, 5)), np.zeros((4, 5), np.uint8), r"\(4, 5\) .*\(H, W, 3\)"),
        (np.ones((2, 4, 5)), np.zeros((4, 5, 3)), "float64, .*uint8"),
        (np.full((2, 4, 5), np.nan), np.zeros((4, 5, 3), np.uint8), "40 NaN"),
        (np.full((2, 4, 5), np.inf), np.zeros((4, 5, 3), np.uint8), "infinite"),
    ],
)
def test_raises_on_arrays(probs, image, message):
    with pytest.raises(ValueError, match=message):
        dense_crf(probs, image)


@each(
    ("option", "value"),
    [
        ("iterations", -1),
        ("gaussian_sxy", 0.0),
        ("gaussian_weight", -1.0),
        ("bilateral_sxy", -3.0),
        ("bilateral_srgb", np.nan),
        ("bilateral_weight", np.inf),
    ],
)
def test_raises_on_options(option, value):
    with pytest.raises(ValueError, match=f"{option} is .*; give"):
        dense_crf(soft_labels(2, (4, 5)), np.zeros((4, 5, 3), np.uint8), **{option: value})


def test_raises_on_far_too_small_deviation():
    with pytest.raises(ValueError, match="larger standard deviations"):
        dense_crf(soft_labels(2, (20, 30)), photo(20, 30), gaussian_sxy=1e-6)
