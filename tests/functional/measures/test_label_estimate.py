import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import color_separation, tag_violations


def separation_by_loops(image, label):
    """Between-class over total scatter, pixel by pixel."""
    pixels = [(y, x) for y, x in np.ndindex(*label.shape) if label[y, x] != 255]
    mean = sum(image[:, y, x] for y, x in pixels) / len(pixels)
    total = sum(((image[:, y, x] - mean) ** 2).sum() for y, x in pixels)
    between = 0.0
    for value in {label[y, x] for y, x in pixels}:
        own = [image[:, y, x] for y, x in pixels if label[y, x] == value]
        between += len(own) * ((sum(own) / len(own) - mean) ** 2).sum()
    return between / total


@each("seed", range(4))
def test_separation_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, 5, 7)).astype(np.uint8)
    label = rng.choice([0, 1, 4, 255], (5, 7))
    expected = separation_by_loops(image.astype(float), label)
    found = color_separation(torch.from_numpy(image), torch.from_numpy(label))
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 < found < 1
    # No unit of colour and no name of a class has a say.
    scaled = torch.from_numpy(image).float() / 255
    swapped = torch.from_numpy(np.where(label == 1, 9, label))
    assert color_separation(scaled, swapped) == pytest.approx(expected, abs=1e-6)


def test_separation_at_the_ends():
    image = torch.rand(3, 4, 4)
    assert color_separation(image, torch.zeros(4, 4, dtype=torch.uint8)) == pytest.approx(0)
    assert color_separation(torch.ones(3, 4, 4), torch.eye(4).long()) == 0
    assert np.isnan(color_separation(image, torch.full((4, 4), 255)))
    two = torch.zeros(3, 4, 4)
    two[:, 1:3, 1:3] = 1
    assert color_separation(two, two[0].long()) == pytest.approx(1)


def test_a_shifted_label_separates_less():
    image = torch.zeros(3, 20, 20)
    image[0, 5:15, 5:15] = 1
    label = image[0].long()
    shares = [color_separation(image, label.roll(shift, 1)) for shift in range(5)]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 5


@each("first_fg", [0, 1])
def test_violations_equal_the_loop(first_fg):
    rng = np.random.default_rng(first_fg)
    for _ in range(20):
        tags = rng.integers(0, 2, 4)
        label = rng.choice([*range(4 + first_fg), 255], (3, 3))
        untagged, missing = tag_violations(
            torch.from_numpy(label), torch.from_numpy(tags), first_fg
        )
        for index in range(4):
            pixels = int((label == index + first_fg).sum())
            assert untagged[index] == (0 if tags[index] else pixels)
            assert bool(missing[index]) == (bool(tags[index]) and pixels == 0)


def test_errors():
    image, label = torch.rand(3, 4, 4), torch.zeros(4, 4)
    with pytest.raises(ValueError, match=r"do not fit; give \(3, H, W\)"):
        color_separation(image, label[:2].long())
    with pytest.raises(ValueError, match="give class indices"):
        color_separation(image, label)
    with pytest.raises(ValueError, match="give class indices"):
        tag_violations(label, torch.ones(2))
    with pytest.raises(ValueError, match=r"outside \[0, 3\), but 2 tags from index 1 on"):
        tag_violations(torch.full((2, 2), 3), torch.ones(2))
