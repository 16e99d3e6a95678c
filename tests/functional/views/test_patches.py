"""Patches against slices."""

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import image_patches


@each(
    ("height", "width", "size", "stride", "grid"),
    [(9, 13, 4, 2, (3, 5)), (8, 8, 8, 3, (1, 1)), (10, 7, 3, 3, (3, 2)), (5, 6, 2, 4, (1, 2))],
)
def test_equals_slices(height, width, size, stride, grid):
    image = torch.rand(2, 3, height, width)
    patches = image_patches(image, size, stride)
    assert patches.shape == (2, *grid, 3, size, size)
    for n in range(2):
        for row in range(grid[0]):
            for column in range(grid[1]):
                y, x = row * stride, column * stride
                expected = image[n, :, y : y + size, x : x + size]
                assert torch.equal(patches[n, row, column], expected)


def test_paper_and_small_grid():
    assert image_patches(torch.zeros(1, 3, 256, 256), 64, 32).shape[1:3] == (7, 7)
    assert image_patches(torch.zeros(1, 3, 160, 160), 32, 16).shape[1:3] == (9, 9)


def test_bad_arguments():
    image = torch.zeros(1, 3, 8, 20)
    with pytest.raises(ValueError, match="an image of 8 x 20 pixels has no patch of 9"):
        image_patches(image, 9, 2)
    with pytest.raises(ValueError, match="size is 4 and stride 0"):
        image_patches(image, 4, 0)
    with pytest.raises(ValueError, match=r"image \(3, 8, 20\) does not fit; give \(N, D, H, W\)"):
        image_patches(image[0], 4, 2)
