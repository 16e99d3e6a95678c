"""Running average against its closed form; the way to cells and back against pixels by hand."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import cells_to_crop, crop_to_cells, ensemble_update


def test_target_is_the_weighted_mean_of_all_predictions():
    probs = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = torch.zeros_like(probs[0])
    for step in range(1, 6):
        z, target = ensemble_update(z, probs[step - 1], 0.6, step)
        weights = torch.tensor([0.6 ** (step - 1 - k) for k in range(step)], dtype=torch.float64)
        mean = torch.tensordot(weights / weights.sum(), probs[:step], 1)
        torch.testing.assert_close(target, mean)


def test_first_target_is_the_first_prediction():
    probs = torch.rand(2, 3)
    torch.testing.assert_close(ensemble_update(torch.zeros(2, 3), probs, 0.6, 1)[1], probs)


def test_places_may_have_steps_of_their_own():
    z, probs = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    step = torch.randint(1, 5, (2, 1, 4, 4))
    new, target = ensemble_update(z, probs, 0.6, step)
    for n in range(2):
        for y in range(4):
            for x in range(4):
                one = ensemble_update(z[n, :, y, x], probs[n, :, y, x], 0.6, int(step[n, 0, y, x]))
                torch.testing.assert_close(new[n, :, y, x], one[0])
                torch.testing.assert_close(target[n, :, y, x], one[1])


def test_update_leaves_its_arguments_alone():
    z = torch.ones(3)
    ensemble_update(z, torch.zeros(3), 0.6, 2)
    assert (z == 1).all()


@each("alpha", [-0.1, 1.0])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match=r"alpha is .* in \[0, 1\)"):
        ensemble_update(torch.zeros(1), torch.zeros(1), alpha, 1)


def test_step_below_one():
    with pytest.raises(ValueError, match="step is 0; the first prediction is step 1"):
        ensemble_update(torch.zeros(1), torch.zeros(1), 0.6, 0)


HEIGHT, WIDTH, CELLS = 24, 36, 6
# (top, left, image pixels of the side of the crop's box, scale, mirrored)
PLACES = [(0, 0, 12, 2, False), (5, 3, 12, 2, True), (12, 20, 16, 1, True), (7, 9, 8, 3, False)]


def crop_of(place, valid_height=None):
    """Random map of an integer-scale crop, its validity and geometry."""
    top, left, side, scale, flip = place
    size = side * scale
    generator = torch.Generator().manual_seed(top)
    probs = torch.rand(1, 3, size, size, generator=generator)
    valid = torch.ones(1, size, size, dtype=torch.bool)
    # The crops of 16 at 12 reach beyond the image, as padding does.
    valid[:, min(size, (HEIGHT - top) * scale) :] = False
    if valid_height is not None:
        valid[:, valid_height:] = False
    geometry = torch.tensor([[top, left, scale, scale, flip]], dtype=torch.float32)
    return probs, valid, geometry, torch.tensor([[HEIGHT, WIDTH]])


def image_pixel(place, i, j):
    """Image pixel that a crop pixel shows, by hand."""
    top, left, side, scale, flip = place
    if flip:
        j = side * scale - 1 - j
    return top + i // scale, left + j // scale


@each("place", PLACES)
@each("valid_height", [None, 7])
def test_crop_to_cells_averages_the_pixels_of_a_cell(place, valid_height):
    probs, valid, geometry, size = crop_of(place, valid_height)
    total = np.zeros((3, CELLS, CELLS))
    count = np.zeros((CELLS, CELLS))
    for i in range(probs.shape[2]):
        for j in range(probs.shape[3]):
            y, x = image_pixel(place, i, j)
            if valid[0, i, j]:
                cell = y * CELLS // HEIGHT, x * CELLS // WIDTH
                total[:, *cell] += probs[0, :, i, j].numpy()
                count[cell] += 1
    mean, covered = crop_to_cells(probs, valid, geometry, size, CELLS)
    expected = np.where(count > 0, total / np.maximum(count, 1), 0)
    np.testing.assert_allclose(mean[0].numpy(), expected, atol=1e-5)
    area = (HEIGHT // CELLS) * (WIDTH // CELLS) * place[3] ** 2
    np.testing.assert_allclose(covered[0].numpy(), count / area, atol=1e-5)


@each("place", PLACES)
def test_cells_to_crop_interpolates_between_known_cells(place):
    _, _, geometry, size = crop_of(place)
    generator = torch.Generator().manual_seed(3)
    cells = torch.rand(1, 2, CELLS, CELLS, generator=generator)
    known = torch.rand(1, CELLS, CELLS, generator=generator) > 0.4
    side = place[2] * place[3]
    value, seen = cells_to_crop(cells, known, geometry, size, (side, side))
    for i in range(0, side, 3):
        for j in range(0, side, 3):
            column = side - 1 - j if place[4] else j
            y = (place[0] + (i + 0.5) / place[3]) * CELLS / HEIGHT
            x = (place[1] + (column + 0.5) / place[3]) * CELLS / WIDTH
            own = min(int(y), CELLS - 1), min(int(x), CELLS - 1)
            assert bool(seen[0, i, j]) == bool(known[0, *own])
            if not seen[0, i, j]:
                continue
            total, share = np.zeros(2), 0.0
            for row in range(CELLS):
                for col in range(CELLS):
                    py, px = (min(max(v - 0.5, 0), CELLS - 1) for v in (y, x))
                    weight = max(0, 1 - abs(py - row)) * max(0, 1 - abs(px - col))
                    weight *= float(known[0, row, col])
                    share += weight
                    total += weight * cells[0, :, row, col].numpy()
            np.testing.assert_allclose(value[0, :, i, j].numpy(), total / share, atol=1e-5)


def test_probabilities_stay_probabilities():
    probs, valid, geometry, size = crop_of(PLACES[1])
    mean, covered = crop_to_cells(probs.softmax(1), valid, geometry, size, CELLS)
    value, seen = cells_to_crop(mean, covered > 0, geometry, size, (24, 24))
    torch.testing.assert_close(value.sum(1)[seen], torch.ones(int(seen.sum())))


@each("cells", [5, 24, 50])
def test_whole_image_goes_to_cells_of_any_number_and_back(cells):
    """A linear ramp is kept by averages and by bilinear weights, away from the outer cells."""
    ramp = torch.arange(WIDTH).add(0.5).div(WIDTH).expand(1, 1, HEIGHT, WIDTH)
    valid = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    geometry, size = torch.tensor([[0.0, 0, 1, 1, 0]]), torch.tensor([[HEIGHT, WIDTH]])
    mean, covered = crop_to_cells(ramp, valid, geometry, size, cells)
    torch.testing.assert_close(covered, torch.ones(1, cells, cells))
    value, seen = cells_to_crop(mean, covered > 0.5, geometry, size, (HEIGHT, WIDTH))
    assert seen.all()
    inside = slice(WIDTH // cells + 1, -(WIDTH // cells + 1))
    torch.testing.assert_close(value[..., inside], ramp[..., inside], atol=0.02, rtol=0)


def test_flip_is_the_mirrored_map():
    probs, valid, geometry, size = crop_of(PLACES[2])
    straight = geometry.clone()
    straight[:, 4] = 0
    one = crop_to_cells(probs, valid, geometry, size, CELLS)
    other = crop_to_cells(probs.flip(3), valid.flip(2), straight, size, CELLS)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_of_autocast_does_not_reach_the_sums():
    probs, valid, geometry, size = crop_of(PLACES[0])
    expected = crop_to_cells(probs, valid, geometry, size, CELLS)
    with torch.autocast("cpu", torch.bfloat16):
        mean, covered = crop_to_cells(probs, valid, geometry, size, CELLS)
        value, _ = cells_to_crop(mean, covered > 0.5, geometry, size, (24, 24))
    assert torch.equal(mean, expected[0])
    assert torch.equal(covered, expected[1])
    assert value.dtype == torch.float32
