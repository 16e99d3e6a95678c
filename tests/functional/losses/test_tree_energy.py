"""Filters along trees against the product of weights on every path, and the loss of them."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import tree_energy_loss, tree_filter
from wsss_zoo.functional.losses.tree_energy import tree_ancestors


def maps(channels, size=(4, 5), images=2, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(images, channels, *size, generator=generator, dtype=torch.float64)


def kruskal(embedding):
    """Edges of the minimum spanning tree of one image, with their squared distances."""
    h, w = embedding.shape[1:]
    edges = []
    for y in range(h):
        for x in range(w):
            for there in ((y, x + 1), (y + 1, x)):
                if there[0] < h and there[1] < w:
                    difference = embedding[:, y, x] - embedding[:, there[0], there[1]]
                    edges.append((difference.square().sum().item(), (y, x), there))
    group = {(y, x): (y, x) for y in range(h) for x in range(w)}
    tree = []
    for cost, a, b in sorted(edges):
        if group[a] != group[b]:
            old, new = group[a], group[b]
            group = {pixel: new if g == old else g for pixel, g in group.items()}
            tree.append((cost, a, b))
    return tree


def path_weights(embedding, sigma):
    """Weights of all pairs of pixels of one image, (h w, h w), by walks along the tree."""
    h, w = embedding.shape[1:]
    neighbours = {(y, x): [] for y in range(h) for x in range(w)}
    for cost, a, b in kruskal(embedding):
        neighbours[a].append((b, math.exp(-cost / sigma)))
        neighbours[b].append((a, math.exp(-cost / sigma)))
    weights = torch.zeros(h * w, h * w, dtype=torch.float64)

    def walk(start, pixel, before, weight):
        weights[start[0] * w + start[1], pixel[0] * w + pixel[1]] = weight
        for there, edge in neighbours[pixel]:
            if there != before:
                walk(start, there, pixel, weight * edge)

    for start in neighbours:
        walk(start, start, None, 1.0)
    return weights


def plain_filter(values, embedding, sigma):
    filtered = []
    for x, f in zip(values, embedding, strict=True):
        weights = path_weights(f, sigma)
        flat = x.flatten(1) @ weights.T / weights.sum(1)
        filtered.append(flat.view(x.shape))
    return torch.stack(filtered)


@each("sigma", [0.1, 1.0, 8.0])
@each("size", [(4, 5), (1, 1), (1, 6), (7, 1), (6, 6)])
def test_filter_equals_the_walks(sigma, size):
    values, embedding = maps(3, size), maps(2, size, seed=1)
    ours = tree_filter(values, embedding, sigma)
    torch.testing.assert_close(ours, plain_filter(values, embedding, sigma))


def snake(size):
    """An embedding whose tree is one path through all rows, there and back."""
    h, w = size
    order = np.arange(h * w).reshape(h, w)
    order[1::2] = order[1::2, ::-1].copy()
    return torch.from_numpy(order)[None, None].double() / 10


def test_filter_of_a_single_long_path():
    size = (5, 7)
    embedding, values = snake(size), maps(2, size, images=1)
    ancestors = tree_ancestors(embedding)
    assert len(ancestors) == 6 + 1  # 34 steps, and one level more that is all roots
    assert (ancestors[-1] == 0).all()
    torch.testing.assert_close(
        tree_filter(values, embedding, 0.05), plain_filter(values, embedding, 0.05)
    )


def test_filter_gradients():
    values, embedding = maps(2, (3, 4)), maps(2, (3, 4), seed=1)
    inputs = (values.requires_grad_(), embedding.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, f: tree_filter(x, f, 1.5), inputs)


def test_filter_keeps_constants_and_means():
    embedding = maps(3, seed=1)
    constant = torch.full((2, 1, 4, 5), 0.7, dtype=torch.float64)
    torch.testing.assert_close(tree_filter(constant, embedding), constant)
    # A filter of all unit maps is the matrix of weights: rows sum to 1.
    units = torch.eye(20, dtype=torch.float64).view(1, 20, 4, 5)
    matrix = tree_filter(units, embedding[:1]).flatten(2)[0].T
    torch.testing.assert_close(matrix.sum(1), torch.ones(20, dtype=torch.float64))
    # Times its sums it is symmetric: both are w_ij.
    sums = path_weights(embedding[0], 1.0).sum(1, keepdim=True)
    torch.testing.assert_close(matrix * sums, (matrix * sums).T)


@each("dims", [(-1,), (-2,), (-1, -2)])
def test_filter_of_mirrored_maps(dims):
    values, embedding = maps(3), maps(2, seed=1)
    mirrored = tree_filter(values.flip(dims), embedding.flip(dims))
    torch.testing.assert_close(mirrored, tree_filter(values, embedding).flip(dims))


def test_filter_does_not_mix_channels_or_images():
    values, embedding = maps(3, images=3), maps(2, images=3, seed=1)
    expected = tree_filter(values, embedding)
    torch.testing.assert_close(tree_filter(values[:, [2, 0]], embedding), expected[:, [2, 0]])
    torch.testing.assert_close(tree_filter(values[1:2], embedding[1:2]), expected[1:2])


def test_filter_of_equal_pixels_is_their_mean():
    values = maps(2)
    filtered = tree_filter(values, torch.zeros(2, 3, 4, 5))
    torch.testing.assert_close(filtered, values.mean((2, 3), keepdim=True).expand_as(values))


def test_filter_is_float32_in_half_precision():
    values, embedding = maps(3).bfloat16(), maps(2, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        filtered = tree_filter(values, embedding)
    assert filtered.dtype == torch.float32
    torch.testing.assert_close(filtered, tree_filter(values.float(), embedding.float()))


def test_broken_features_show():
    embedding = maps(2)
    embedding[0, 0, 1, 1] = float("nan")
    embedding[1, 0, 1, 1] = float("inf")
    assert tree_filter(maps(1), embedding)[0].isnan().any()


def test_filter_refuses():
    with pytest.raises(ValueError, match="do not fit"):
        tree_filter(maps(2), maps(2, (4, 4)))
    with pytest.raises(ValueError, match="sigma is 0"):
        tree_filter(maps(2), maps(2), 0.0)


def batch(stride=1):
    """Probabilities, image, features and unlabelled pixels."""
    h, w = 4, 5
    generator = torch.Generator().manual_seed(4)
    size = (h * stride, w * stride)
    image = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)
    unlabeled = torch.rand(2, *size, generator=generator) > 0.4
    return maps(3).softmax(1), 0.5 + 0.2 * image, maps(4, seed=2), unlabeled


def plain_loss(probs, image, features, unlabeled, sigma=0.02):
    smoothed = plain_filter(probs, image, sigma)
    if features is not None:
        smoothed = plain_filter(smoothed, features, 1.0)
    n, y, x = unlabeled.nonzero(as_tuple=True)
    return (probs - smoothed).abs()[n, :, y, x].sum() / len(n)


@each("sigma", [0.02, 0.002])
@each("with_features", [False, True])
def test_loss_equals_the_walks(sigma, with_features):
    probs, image, features, unlabeled = batch()
    features = features if with_features else None
    ours = tree_energy_loss(probs, image, features, unlabeled, sigma)
    torch.testing.assert_close(ours, plain_loss(probs, image, features, unlabeled, sigma))


def test_loss_reduces_image_and_pixels_to_the_predictions():
    probs, image, features, unlabeled = batch(stride=4)
    # Bilinear at a stride of 4: the four pixels in the middle. Nearest: the first pixel.
    small = image.unflatten(3, (5, 4)).unflatten(2, (4, 4))[:, :, :, 1:3, :, 1:3].mean((3, 5))
    expected = plain_loss(probs, small, features, unlabeled[:, ::4, ::4])
    torch.testing.assert_close(tree_energy_loss(probs, image, features, unlabeled), expected)


def test_loss_gradients():
    probs, image, features, unlabeled = (x[:1, ..., :3, :3] for x in batch())
    inputs = (probs.log().requires_grad_(), features.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda z, f: tree_energy_loss(z.softmax(1), image, f, unlabeled), inputs
    )
    image.requires_grad_()
    tree_energy_loss(*inputs[:1], image, features, unlabeled).backward()
    assert image.grad is None


def test_loss_without_an_unlabelled_pixel_is_0_with_a_zero_gradient():
    probs, image, features, unlabeled = batch()
    probs.requires_grad_(), features.requires_grad_()
    loss = tree_energy_loss(probs, image, features, torch.zeros_like(unlabeled))
    gradients = torch.autograd.grad(loss, (probs, features))
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients)


def test_loss_symmetries():
    parts = batch()
    expected = tree_energy_loss(*parts)
    for dims in ((-1,), (-2,)):
        torch.testing.assert_close(tree_energy_loss(*(x.flip(dims) for x in parts)), expected)
    torch.testing.assert_close(tree_energy_loss(*(x.flip(0) for x in parts)), expected)
    probs, *rest = parts
    torch.testing.assert_close(tree_energy_loss(probs[:, [1, 2, 0]], *rest), expected)


def test_loss_ignores_padding_of_another_colour():
    probs, image, features, unlabeled = batch()
    probs.requires_grad_(), features.requires_grad_()

    def frame(x, value):
        return F.pad(x, (7, 7, 7, 7), value=value)

    padded = (frame(probs, 0), frame(image, -9), frame(features, 99), frame(unlabeled, False))
    losses = [tree_energy_loss(probs, image, features, unlabeled), tree_energy_loss(*padded)]
    torch.testing.assert_close(*losses)
    first, second = (torch.autograd.grad(loss, (probs, features)) for loss in losses)
    torch.testing.assert_close(first, second)


def test_loss_is_float32_under_autocast():
    probs, image, features, unlabeled = batch()
    half = [x.bfloat16() for x in (probs, image, features)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = tree_energy_loss(*half, unlabeled)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, tree_energy_loss(*(x.float() for x in half), unlabeled))


def test_loss_refuses():
    probs, image, features, unlabeled = batch()
    for wrong in (
        (probs[:1], image, features, unlabeled),
        (probs, image[:, :1], features, unlabeled),
        (probs, image, features[..., :3], unlabeled),
        (probs, image, features, unlabeled[:, :3]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            tree_energy_loss(*wrong)
