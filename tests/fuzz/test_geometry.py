import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import images, sizes, tensors
from wsss_zoo.data.transforms.joint import (
    Augmentation,
    crop_image,
    crop_mask,
    crop_valid,
    photometric,
    sample_crop,
    sample_cutout,
)
from wsss_zoo.functional.views.ensemble import cells_to_crop, crop_to_cells

GREY = torch.tensor([124, 116, 104], dtype=torch.uint8)
SEEDS = st.integers(0, 2**31)


@st.composite
def crops(draw, largest=40, largest_crop=32):
    """An image's size, a crop of it and the crop's side."""
    height, width = draw(sizes(largest))
    crop_size = draw(st.integers(1, largest_crop))
    low = draw(st.floats(0.2, 3.0))
    base = draw(st.none() | st.integers(1, 60))
    augmentation = Augmentation(scale_range=(low, low * draw(st.floats(1.0, 3.0))), scale_base=base)
    crop = sample_crop(np.random.default_rng(draw(SEEDS)), height, width, crop_size, augmentation)
    return (height, width), crop, crop_size


@given(crops())
def test_a_crop_lies_in_its_image(drawn):
    (height, width), crop, crop_size = drawn
    assert 0 <= crop.top < crop.top + crop.height <= height
    assert 0 <= crop.left < crop.left + crop.width <= width
    assert 1 <= crop.out_height <= crop_size
    assert 1 <= crop.out_width <= crop_size


@given(crops(), st.data())
def test_image_mask_and_validity_fit(drawn, data):
    size, crop, crop_size = drawn
    image = torch.from_numpy(data.draw(images(size))).permute(2, 0, 1)
    mask = torch.zeros(size, dtype=torch.uint8)
    valid = crop_valid(crop, crop_size)
    assert torch.equal(crop_mask(mask, crop, crop_size) == 0, valid)
    cropped = crop_image(image, crop, crop_size, GREY)
    assert cropped.shape == (3, crop_size, crop_size)
    assert (cropped.permute(1, 2, 0)[~valid] == GREY).all()
    assert valid.sum() == crop.out_height * crop.out_width


@given(crops())
def test_a_crop_maps_back(drawn):
    """The pixel that a crop shows is the one that its geometry names."""
    (height, width), crop, crop_size = drawn
    rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.uint8).expand(height, width)
    valid = crop_valid(crop, crop_size)
    top, left, scale_y, scale_x, flip = crop.geometry().double()
    place = torch.arange(crop_size).double()
    across = place.flip(0) if flip else place
    for ramp, start, scale, coordinate in (
        (rows, top, scale_y, place[:, None].expand(crop_size, crop_size)),
        (columns, left, scale_x, across[None].expand(crop_size, crop_size)),
    ):
        shown = crop_mask(ramp, crop, crop_size).double()
        named = start + (coordinate + 0.5) / scale - 0.5
        # The nearest pixel's centre is at most half a pixel away.
        assert (shown - named)[valid].abs().max() <= 0.5 + 1e-4


@given(crops())
def test_mirrored_crops_are_mirrored(drawn):
    size, crop, crop_size = drawn
    image = torch.arange(size[0] * size[1]).view(size).remainder(251).to(torch.uint8)
    other = crop._replace(flip=not crop.flip)
    assert torch.equal(
        crop_mask(image, crop, crop_size), crop_mask(image, other, crop_size).flip(1)
    )
    assert torch.equal(crop_valid(crop, crop_size), crop_valid(other, crop_size).flip(1))


@given(crops(), st.data(), st.integers(1, 9))
def test_cells_of_crops(drawn, data, cells):
    """A constant stays one; a cell's share lies in [0, 1] and grows to the crop's area."""
    (height, width), crop, crop_size = drawn
    valid = crop_valid(crop, crop_size)[None]
    geometry, image_size = crop.geometry()[None], torch.tensor([[height, width]])
    probs = torch.full((1, 2, crop_size, crop_size), 0.25)
    probs[:, 1] = 0.75
    mean, covered = crop_to_cells(probs, valid, geometry, image_size, cells)
    assert ((covered >= 0) & (covered <= 1 + 1e-4)).all()
    area = crop.height * crop.width / (height * width)
    assert abs(float(covered.mean()) - area) < 1e-3
    known = covered > 1e-3
    for index, value in enumerate((0.25, 0.75)):
        assert torch.allclose(mean[0, index][known[0]], torch.tensor(value), atol=1e-4)
    back, has_value = cells_to_crop(mean, known, geometry, image_size, (crop_size, crop_size))
    shown = (has_value & valid)[0]
    assert torch.allclose(back[0, 0][shown], torch.tensor(0.25), atol=1e-4)
    assert torch.allclose(back[0, :, shown].sum(0), torch.ones(int(shown.sum())), atol=1e-4)


@given(sizes(12), st.data(), SEEDS, st.sampled_from(["jitter", "rand_augment"]))
def test_colours_change_and_nothing_else(size, data, seed, kind):
    image = torch.from_numpy(data.draw(images(size))).permute(2, 0, 1).contiguous()
    before = image.clone()
    augmentation = Augmentation(photometric=kind, jitter_prob=1.0, grey_prob=0.5, blur_prob=1.0)
    changed = photometric(image, np.random.default_rng(seed), augmentation)
    assert changed.shape == image.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(image, before)


@given(st.integers(4, 40), SEEDS, st.none() | st.integers(1, 50))
def test_boxes_of_cutout_lie_in_the_crop(crop_size, seed, side):
    box = sample_cutout(
        np.random.default_rng(seed), crop_size, Augmentation(cutout_prob=1.0, cutout_size=side)
    )
    y0, x0, y1, x1 = box
    assert 0 <= y0 <= y1 <= crop_size
    assert 0 <= x0 <= x1 <= crop_size


@given(st.data(), sizes(6), st.integers(1, 5))
def test_cells_without_a_value_take_no_part(data, size, cells):
    values = data.draw(tensors(1, 2, cells, cells, scales=[1.0]))
    nothing = torch.zeros(1, cells, cells, dtype=torch.bool)
    geometry = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])
    found, known = cells_to_crop(values, nothing, geometry, torch.tensor([size]), size)
    assert found.shape == (1, 2, *size)
    assert not known.any()
