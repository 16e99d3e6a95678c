"""Pixel-adaptive refinement against the 48 copies of image and masks of the authors' code."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import pixel_adaptive_refinement
from wsss_zoo.functional.crf.pixel_adaptive import refine_scores

DILATIONS = (1, 2, 4, 8, 12, 24)


def copies(maps: torch.Tensor, dilations=DILATIONS) -> torch.Tensor:
    """The eight neighbours at each dilation, (N, C, 8 D, H, W), by convolution."""
    kernels = torch.zeros(8, 1, 3, 3, dtype=maps.dtype)
    for k, cell in enumerate((0, 1, 2, 3, 5, 6, 7, 8)):
        kernels[k, 0, cell // 3, cell % 3] = 1
    N, C, H, W = maps.shape
    found = []
    for d in dilations:
        padded = F.pad(maps, (d, d, d, d), mode="replicate").flatten(0, 1)[:, None]
        found.append(F.conv2d(padded, kernels, dilation=d).view(N, C, 8, H, W))
    return torch.cat(found, 2)


def naive(image, masks, dilations=DILATIONS, iterations=10) -> torch.Tensor:
    masks = F.interpolate(masks, size=image.shape[-2:], mode="bilinear", align_corners=True)
    around = copies(image, dilations)
    difference = (around - image[:, :, None]).abs()
    colour = -((difference / (around.std(2, keepdim=True) + 1e-8) / 0.3) ** 2)
    steps = torch.tensor([2, 1, 2, 1, 1, 2, 1, 2], dtype=image.dtype).sqrt()
    dist = torch.cat([d * steps for d in dilations])
    position = -((dist / (dist.std() + 1e-8) / 0.3) ** 2)
    weights = colour.mean(1, keepdim=True).softmax(2)
    weights = weights + 0.01 * position.softmax(0).view(1, 1, -1, 1, 1)
    for _ in range(iterations):
        masks = (copies(masks, dilations) * weights).sum(2)
    return masks


def scene(size=(37, 53), maps=(9, 14), N=2, C=3, seed=0, dtype=torch.float32):
    """Blocks of colours with noise, and maps of another size."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(N, 3, 5, 6, generator=generator, dtype=torch.float64)
    image = F.interpolate(coarse, size=size, mode="nearest")
    image += 0.02 * torch.rand(N, 3, *size, generator=generator, dtype=torch.float64)
    masks = torch.rand(N, C, *maps, generator=generator, dtype=torch.float64)
    return image.clamp(0, 1).to(dtype), masks.to(dtype)


@each(
    ("size", "maps", "dilations", "iterations"),
    [
        ((37, 53), (9, 14), DILATIONS, 10),
        ((37, 53), (37, 53), (1, 3), 20),
        ((7, 5), (15, 11), DILATIONS, 2),
        ((1, 6), (1, 1), (1, 2), 3),
        ((8, 8), (3, 3), (1,), 0),
    ],
)
def test_equals_the_copies(size, maps, dilations, iterations):
    image, masks = scene(size, maps)
    refined = pixel_adaptive_refinement(image, masks, dilations, iterations)
    assert refined.shape == (2, 3, *size)
    torch.testing.assert_close(
        refined, naive(image, masks, dilations, iterations), rtol=0, atol=2e-6
    )


def test_equals_the_copies_in_double_precision_and_at_0_to_255():
    image, masks = scene(dtype=torch.float64)
    refined = pixel_adaptive_refinement(image, masks)
    assert refined.dtype == torch.float64
    torch.testing.assert_close(refined, naive(image, masks), rtol=0, atol=1e-12)
    bright = pixel_adaptive_refinement((255 * image).float(), masks.float())
    torch.testing.assert_close(bright, refined.float(), rtol=0, atol=1e-5)


def test_flat_regions_and_single_pixels():
    image = torch.full((1, 3, 40, 40), 0.3)
    image[..., 20, 20] = 0.9
    image[..., :10] = 1.0
    masks = torch.rand(1, 2, 40, 40, generator=torch.Generator().manual_seed(1))
    refined = pixel_adaptive_refinement(image, masks)
    torch.testing.assert_close(refined, naive(image, masks), rtol=0, atol=2e-6)
    assert refined.isfinite().all()


def test_properties():
    image, masks = scene(maps=(37, 53))
    refined = pixel_adaptive_refinement(image, masks)
    ones = pixel_adaptive_refinement(image, torch.ones_like(masks))
    torch.testing.assert_close(ones, torch.full_like(ones, 1.01**10), rtol=1e-5, atol=0)
    mirrored = pixel_adaptive_refinement(image.flip(-1), masks.flip(-1))
    torch.testing.assert_close(mirrored.flip(-1), refined)
    order = [2, 0, 1]
    torch.testing.assert_close(
        pixel_adaptive_refinement(image.flip(0), masks[:, order].flip(0)), refined[:, order].flip(0)
    )
    grey = torch.full_like(image, 0.5)
    constant = masks.mean((2, 3), keepdim=True).expand_as(masks)
    assert (pixel_adaptive_refinement(grey, constant).argmax(1) == constant.argmax(1)).all()


def test_it_follows_edges():
    image = torch.zeros(1, 3, 40, 40)
    image[..., 17:] = 1
    truth = torch.stack([1 - image[0, 0], image[0, 0]])[None]
    blurred = F.avg_pool2d(F.pad(truth, (6, 6, 6, 6), mode="replicate"), 13, stride=1)
    blurred[..., 10:24] = blurred[..., 10:24].roll(3, -1)
    assert (blurred.argmax(1) != truth.argmax(1)).sum() > 50
    refined = pixel_adaptive_refinement(image, blurred)
    assert (refined.argmax(1) == truth.argmax(1)).all()


def test_refined_scores_keep_range_and_sum():
    image, masks = scene(maps=(37, 53))
    scores = refine_scores(image, masks.softmax(1))
    torch.testing.assert_close(scores.sum(1), torch.ones_like(scores[:, 0]))
    expected = pixel_adaptive_refinement(image, masks.softmax(1)) / 1.01**10
    torch.testing.assert_close(scores, expected)


def test_half_precision_and_autocast_are_computed_in_float32():
    image, masks = scene()
    half = pixel_adaptive_refinement(image.bfloat16(), masks.bfloat16())
    assert half.dtype == torch.float32
    rounded = pixel_adaptive_refinement(image.bfloat16().float(), masks.bfloat16().float())
    torch.testing.assert_close(half, rounded)
    with torch.autocast("cpu", torch.bfloat16):
        cast = pixel_adaptive_refinement(image, masks)
    torch.testing.assert_close(cast, pixel_adaptive_refinement(image, masks))


def test_gradients_reach_the_masks():
    image, masks = scene((5, 6), (3, 4), N=1, dtype=torch.float64)
    masks.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda maps: pixel_adaptive_refinement(image, maps, (1, 2), 2), (masks,)
    )


@each(
    ("changes", "message"),
    [
        ({"masks": torch.rand(2, 1, 4, 4)}, r"do not fit; give \(N, 3, H, W\)"),
        ({"image": torch.rand(1, 1, 4, 4)}, "do not fit"),
        ({"dilations": ()}, r"dilations are \[\]; give at least one"),
        ({"dilations": (0, 1)}, "all >= 1 pixel"),
        ({"iterations": -1}, "iterations is -1"),
    ],
)
def test_bad_arguments(changes, message):
    given = {"image": torch.rand(1, 3, 4, 4), "masks": torch.rand(1, 1, 4, 4)} | changes
    with pytest.raises(ValueError, match=message):
        pixel_adaptive_refinement(**given)
