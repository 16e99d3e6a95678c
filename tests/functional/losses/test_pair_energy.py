"""Energies of pairs of pixels against loops over all pairs."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import dense_energy_loss, gated_crf_loss

FULL = torch.ones(2, 5, 6, dtype=torch.bool)


def maps(classes=3, size=(5, 6), images=2, seed=0):
    """Probabilities and an image of few colours, so that pairs are similar."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, *size, generator=generator, dtype=torch.float64)
    image = torch.rand(images, 3, *size, generator=generator, dtype=torch.float64)
    return (2 * logits).softmax(1), 0.4 + 0.05 * image


def holes(size=(5, 6), images=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(images, *size, generator=generator) > 0.3


def kernel(image, n, i, j, sigma_rgb, sigma_xy):
    color = (image[n, :, i[0], i[1]] - image[n, :, j[0], j[1]]).square().sum().item()
    place = (i[0] - j[0]) ** 2 + (i[1] - j[1]) ** 2
    return math.exp(-color / (2 * sigma_rgb**2) - place / (2 * sigma_xy**2))


def pairs(valid):
    """All ordered pairs of valid pixels of one image, a pixel and itself included."""
    pixels = valid.nonzero().tolist()
    for n, *i in pixels:
        for m, *j in pixels:
            if n == m:
                yield n, i, j


def dot(probs, n, i, j):
    return (probs[n, :, i[0], i[1]] * probs[n, :, j[0], j[1]]).sum().item()


def gated_loop(probs, image, valid, sigma_rgb=0.0225, sigma_xy=6.0, radius=5):
    total = 0.0
    for n, i, j in pairs(valid):
        if i != j and max(abs(a - b) for a, b in zip(i, j, strict=True)) <= radius:
            k = kernel(image, n, i, j, sigma_rgb, sigma_xy)
            total += k * (1 - dot(probs, n, i, j))
    return total / max(1, int(valid.sum()))


@each("options", [{}, {"radius": 1}, {"radius": 2, "sigma_rgb": 0.1, "sigma_xy": 1.5}])
def test_gated_crf_equals_the_loop(options):
    probs, image = maps()
    for valid in (None, holes()):
        expected = gated_loop(probs, image, FULL if valid is None else valid, **options)
        loss = gated_crf_loss(probs, image, valid, **options)
        assert loss.item() == pytest.approx(expected, rel=1e-9)
        assert expected > 0.01


@each("size", [(1, 1), (1, 4), (7, 1), (2, 3)])
def test_gated_crf_of_small_maps_equals_the_loop(size):
    probs, image = maps(size=size)
    expected = gated_loop(probs, image, torch.ones(2, *size))
    assert gated_crf_loss(probs, image).item() == pytest.approx(expected, rel=1e-9)


def test_gated_crf_averages_the_pixels_of_a_cell():
    probs, _ = maps()
    _, image = maps(size=(10, 18))
    valid = torch.ones(2, 10, 18, dtype=torch.bool)
    valid[0, 3, 4] = valid[1, :, 13:] = False
    cells = image.unflatten(3, (6, 3)).unflatten(2, (5, 2)).mean((3, 5))
    whole = valid.unflatten(2, (6, 3)).unflatten(1, (5, 2)).all(4).all(2)
    assert whole.sum() == 49
    loss = gated_crf_loss(probs, image, valid)
    assert loss.item() == pytest.approx(gated_loop(probs, cells, whole), rel=1e-9)


def test_gated_crf_gradient():
    probs, image = maps(size=(3, 4))
    logits = probs.log().requires_grad_()
    valid = holes((3, 4))
    assert torch.autograd.gradcheck(lambda z: gated_crf_loss(z.softmax(1), image, valid), logits)


def test_gated_crf_agreement_is_its_minimum():
    probs, image = maps()
    assert gated_crf_loss(probs[:1, :, :1, :1].expand_as(probs) * 0 + 1 / 3, image) > 0
    certain = torch.zeros_like(probs)
    certain[:, 1] = 1
    assert gated_crf_loss(certain, image) == 0
    assert gated_crf_loss(certain.float(), image.float(), sigma_rgb=0.3) == 0


def padded(tensor, by=7):
    return torch.nn.functional.pad(tensor, (by, by, by, by))


def test_gated_crf_padding_changes_nothing():
    probs, image = maps()
    frame = padded(FULL)
    probs.requires_grad_()
    losses = [gated_crf_loss(probs, image), gated_crf_loss(padded(probs), padded(image), frame)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, probs)[0] for loss in losses))


def test_gated_crf_symmetries():
    probs, image = maps()
    valid = holes()
    expected = gated_crf_loss(probs, image, valid)
    for dims in ((-1,), (-2,), (-1, -2)):
        mirrored = gated_crf_loss(probs.flip(dims), image.flip(dims), valid.flip(dims))
        torch.testing.assert_close(mirrored, expected)
    torch.testing.assert_close(gated_crf_loss(probs[:, [2, 0, 1]], image, valid), expected)
    torch.testing.assert_close(
        gated_crf_loss(*(x.flip(0) for x in (probs, image, valid))), expected
    )


def test_gated_crf_without_a_valid_cell_is_0_with_a_zero_gradient():
    probs, image = maps()
    probs.requires_grad_()
    loss = gated_crf_loss(probs, image, torch.zeros_like(FULL))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(probs.grad, torch.zeros_like(probs))


def test_gated_crf_changes_no_argument():
    probs, image = maps()
    valid = holes()
    copies = [x.clone() for x in (probs, image, valid)]
    gated_crf_loss(probs, image, valid)
    assert all(map(torch.equal, copies, (probs, image, valid)))


def test_gated_crf_is_float32_under_autocast():
    probs, image = (x.bfloat16() for x in maps())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = gated_crf_loss(probs, image)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, gated_crf_loss(probs.float(), image.float()))


@each(
    ("shape", "options", "message"),
    [
        ((2, 3, 5, 7), {}, "multiples"),
        ((2, 3, 7, 6), {}, "multiples"),
        ((2, 3, 2, 3), {}, "multiples"),
        ((1, 3, 5, 6), {}, "do not fit"),
        ((2, 1, 5, 6), {}, "do not fit"),
        ((2, 3, 5, 6), {"valid": torch.ones(2, 10, 6)}, "do not fit"),
        ((2, 3, 5, 6), {"sigma_rgb": 0.0}, "sigma_rgb is 0"),
        ((2, 3, 5, 6), {"sigma_xy": -1.0}, "sigma_xy -1"),
        ((2, 3, 5, 6), {"radius": 0}, "radius 0"),
    ],
)
def test_gated_crf_refuses(shape, options, message):
    with pytest.raises(ValueError, match=message):
        gated_crf_loss(maps()[0], torch.zeros(shape), **options)


def dense_loop(probs, image, valid, sigma_rgb, sigma_xy):
    agreement = mass = 0.0
    for n, i, j in pairs(valid):
        k = kernel(image, n, i, j, sigma_rgb, sigma_xy)
        agreement += k * dot(probs, n, i, j)
        mass += k
    return 1 - agreement / mass


SIGMAS = {"sigma_rgb": 0.02, "sigma_xy": 3.0}


@each("sigmas", [SIGMAS, {"sigma_rgb": 15.0, "sigma_xy": 50.0}])
def test_dense_energy_equals_the_loop(sigmas):
    probs, image = maps()
    image = image * (1 if sigmas is SIGMAS else 255)
    for valid in (None, holes()):
        expected = dense_loop(probs, image, FULL if valid is None else valid, **sigmas)
        loss = dense_energy_loss(probs, image, valid, **sigmas)
        assert loss.item() == pytest.approx(expected, rel=1e-9)
        assert expected > 0.1


def test_dense_energy_gradient():
    probs, image = maps(size=(3, 4))
    valid = holes((3, 4))
    assert torch.autograd.gradcheck(
        lambda z: dense_energy_loss(z.softmax(1), image, valid, **SIGMAS),
        probs.log().requires_grad_(),
    )


def test_dense_energy_of_equal_certain_pixels_is_0():
    certain = torch.zeros(2, 3, 5, 6)
    certain[:, 1] = 1
    assert dense_energy_loss(certain, maps()[1].float(), **SIGMAS) == 0


def test_dense_energy_padding_changes_nothing():
    probs, image = maps()
    probs.requires_grad_()
    losses = [
        dense_energy_loss(probs, image, **SIGMAS),
        dense_energy_loss(padded(probs), padded(image), padded(FULL), **SIGMAS),
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, probs)[0] for loss in losses))


def test_dense_energy_symmetries():
    probs, image = maps()
    parts = (probs, image, holes())
    expected = dense_energy_loss(*parts, **SIGMAS)
    for dims in ((-1,), (-2,), (0,)):
        mirrored = dense_energy_loss(*(x.flip(dims) for x in parts), **SIGMAS)
        torch.testing.assert_close(mirrored, expected)
    renamed = dense_energy_loss(probs[:, [2, 0, 1]], *parts[1:], **SIGMAS)
    torch.testing.assert_close(renamed, expected)


def test_dense_energy_without_a_valid_pixel_is_0_with_a_zero_gradient():
    probs, image = maps()
    probs.requires_grad_()
    loss = dense_energy_loss(probs, image, torch.zeros_like(FULL), **SIGMAS)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(probs.grad, torch.zeros_like(probs))


def test_dense_energy_is_float32_under_autocast():
    probs, image = (x.bfloat16() for x in maps())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dense_energy_loss(probs, image, **SIGMAS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, dense_energy_loss(probs.float(), image.float(), **SIGMAS))


def test_dense_energy_refuses():
    probs, image = maps()
    for wrong in ((probs[..., 1:], image), (probs, image[:, 1:]), (probs, image, FULL[:1])):
        with pytest.raises(ValueError, match="do not fit"):
            dense_energy_loss(*wrong, **SIGMAS)
    for wrong in ({"sigma_rgb": 0}, {"sigma_xy": -1}):
        with pytest.raises(ValueError, match="widths above 0"):
            dense_energy_loss(probs, image, **SIGMAS | wrong)
