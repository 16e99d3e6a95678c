"""The mixture of labelled features against a plain form with resized features and loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import (
    center_responses,
    center_separation,
    class_centers,
    gaussian_mixture_loss,
)

N, C, D, GRID, SIZE = 3, 4, 5, (3, 4), (12, 16)


def batch(size=SIZE, labelled=0.3, seed=0):
    """Logits, features after ReLU, labels of some pixels of classes 0 to 2, padding at an edge."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mask = torch.randint(3, (N, *size), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) > labelled] = 255
    valid = torch.ones_like(mask, dtype=torch.bool)
    valid[1, :, size[1] // 2 :] = False
    mask[~valid] = 255
    return 2 * normal(N, C, *size), normal(N, D, *GRID).relu(), mask, valid


def plain_centers(features, mask):
    resized = F.interpolate(features, mask.shape[1:], mode="bilinear", align_corners=False)
    centers = torch.zeros(len(mask), C, features.shape[1], dtype=features.dtype)
    present = torch.zeros(len(mask), C, dtype=torch.bool)
    for n in range(len(mask)):
        for k in range(C):
            chosen = mask[n] == k
            if chosen.any():
                centers[n, k] = resized[n, :, chosen].mean(1)
                present[n, k] = True
    return centers, present


def plain_responses(features, centers, present, size, valid):
    inside = F.interpolate(valid[:, None].double(), features.shape[2:], mode="bilinear")[:, 0]
    maps = torch.zeros(len(features), C, *size, dtype=features.dtype)
    for n in range(len(features)):
        for k in range(C):
            if present[n, k]:
                d = (features[n] - centers[n, k][:, None, None]).abs().mean(0) * inside[n]
                small = torch.exp(-(d**2))[None, None]
                maps[n, k] = F.interpolate(small, size, mode="bilinear", align_corners=False)[0, 0]
    return maps


def plain_separation(centers, present):
    sums = [centers[present[:, k], k].sum(0) for k in range(C) if present[:, k].any()]
    found = [
        torch.exp(-((a - b).abs().mean() ** 2)) for i, a in enumerate(sums) for b in sums[i + 1 :]
    ]
    return sum(found) / len(found) if found else centers.new_zeros(())


def b(t, x):
    return -(t * math.log(x + 1e-6) + (1 - t) * math.log(1 - x + 1e-6)) / 2


def plain_loss(logits, features, mask, valid):
    centers, present = plain_centers(features, mask)
    r = plain_responses(features, centers, present, mask.shape[1:], valid)
    p = logits.softmax(1)
    self_terms, label_terms = [], []
    for n in range(len(mask)):
        classes = present[n].nonzero()[:, 0].tolist()
        for y in range(mask.shape[1]):
            for x in range(mask.shape[2]):
                divisor = len(classes) + 1e-6
                own = [r[n, k, y, x].item() for k in classes]
                if valid[n, y, x]:
                    probs = [p[n, k, y, x].item() for k in classes]
                    self_terms.append(sum(map(b, own, probs)) / divisor)
                if mask[n, y, x] != 255:
                    truth = [float(mask[n, y, x] == k) for k in classes]
                    label_terms.append(sum(map(b, truth, own)) / divisor)
    total = sum(self_terms) / len(self_terms) + sum(label_terms) / len(label_terms)
    return total + plain_separation(centers, present).item()


@each("size", [SIZE, (7, 9), GRID, (2, 3)])
def test_centers_are_means_of_resized_features(size):
    _, features, mask, _ = batch(size)
    features.requires_grad_()
    ours, theirs = class_centers(features, mask, C), plain_centers(features, mask)
    torch.testing.assert_close(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    weights = torch.randn_like(ours[0])
    gradients = [torch.autograd.grad((x[0] * weights).sum(), features)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@each("padded", [False, True])
def test_responses_equal_the_loop(padded):
    _, features, mask, valid = batch()
    features.requires_grad_()
    centers, present = plain_centers(features, mask)
    everywhere = torch.ones_like(valid)
    ours = center_responses(features, centers, present, SIZE, valid if padded else None)
    theirs = plain_responses(features, centers, present, SIZE, valid if padded else everywhere)
    torch.testing.assert_close(ours, theirs)
    assert (ours[:, 3] == 0).all()
    weights = torch.randn_like(ours)
    gradients = [
        torch.autograd.grad((x * weights).sum(), features, retain_graph=True)[0]
        for x in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


def test_separation_equals_the_loop():
    _, features, mask, _ = batch()
    centers, present = class_centers(0.3 * features, mask, C)
    expected = plain_separation(centers, present)
    torch.testing.assert_close(center_separation(centers, present), expected, rtol=1e-5, atol=0)
    # Vectors of absent classes do not matter.
    noise = torch.where(present[..., None], centers, 7.0)
    torch.testing.assert_close(
        center_separation(noise, present), center_separation(centers, present)
    )


def test_separation_needs_two_classes():
    centers = torch.ones(2, C, D, requires_grad=True)
    for classes in ([], [2]):
        present = torch.zeros(2, C, dtype=torch.bool)
        present[:, classes] = True
        loss = center_separation(centers, present)
        (gradient,) = torch.autograd.grad(loss, centers)
        assert loss == 0
        assert (gradient == 0).all()


def test_separation_adds_the_centers_of_the_images():
    centers, present = torch.rand(1, C, D), torch.ones(1, C).bool()
    twice = center_separation(centers.repeat(2, 1, 1), present.repeat(2, 1))
    torch.testing.assert_close(twice, center_separation(2 * centers, present))
    assert not torch.isclose(twice, center_separation(centers, present))


def test_loss_equals_the_loop():
    logits, features, mask, valid = batch()
    for padding in (None, valid):
        loss = gaussian_mixture_loss(logits, features, mask, padding)
        everywhere = torch.ones_like(valid) if padding is None else valid
        assert loss.item() == pytest.approx(plain_loss(logits, features, mask, everywhere), 1e-6)
    # An image without labels counts as pixels without a class.
    mask[2] = 255
    loss = gaussian_mixture_loss(logits, features, mask, valid)
    assert loss.item() == pytest.approx(plain_loss(logits, features, mask, valid), 1e-6)


def test_gradient_flows_through_scores_and_features():
    logits, features, mask, valid = (x[:2, :, :6, :8] for x in map(with_channel, batch()))
    mask, valid = mask[:, 0], valid[:, 0]
    inputs = (logits.requires_grad_(), features[..., :3].clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda z, f: gaussian_mixture_loss(z, f + 0.01 * f**2, mask, valid), inputs
    )


def with_channel(x):
    return x if x.ndim == 4 else x[:, None]


def test_nothing_labelled_is_0_with_a_zero_gradient():
    logits, features, mask, _ = batch()
    logits.requires_grad_(), features.requires_grad_()
    for valid in (None, torch.zeros_like(mask, dtype=torch.bool)):
        loss = gaussian_mixture_loss(logits, features, torch.full_like(mask, 255), valid)
        gradients = torch.autograd.grad(loss, (logits, features))
        assert loss == 0
        assert all((gradient == 0).all() for gradient in gradients)


def test_one_class_or_one_pixel_is_no_error():
    logits, features, mask, _ = batch()
    logits.requires_grad_(), features.requires_grad_()
    one_class = torch.where(mask == 255, 255, 1)
    one_pixel = torch.full_like(mask, 255)
    one_pixel[1, 3, 4] = 2
    for labels in (one_class, one_pixel):
        loss = gaussian_mixture_loss(logits, features, labels)
        gradients = torch.autograd.grad(loss, (logits, features))
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)
        expected = plain_loss(logits, features, labels, torch.ones_like(mask).bool())
        assert loss.item() == pytest.approx(expected, 1e-5)


def test_saturated_scores_and_distant_features_stay_finite():
    logits, features, mask, valid = batch()
    logits = (1e4 * logits).float().requires_grad_()
    features = (1e3 * features).float().requires_grad_()
    loss = gaussian_mixture_loss(logits, features, mask, valid)
    gradients = torch.autograd.grad(loss, (logits, features))
    assert loss <= 2 * 13.9 + 1
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_symmetries():
    logits, features, mask, valid = batch()
    expected = gaussian_mixture_loss(logits, features, mask, valid)
    for axis in (1, 2):
        parts = (logits.flip(axis + 1), features.flip(axis + 1), mask.flip(axis), valid.flip(axis))
        torch.testing.assert_close(gaussian_mixture_loss(*parts), expected)
    parts = [x.flip(0) for x in (logits, features, mask, valid)]
    torch.testing.assert_close(gaussian_mixture_loss(*parts), expected)
    renamed = torch.full((256,), 255)
    order = torch.tensor([2, 0, 3, 1])
    renamed[order] = torch.arange(C)
    moved = gaussian_mixture_loss(logits[:, order], features, renamed[mask], valid)
    torch.testing.assert_close(moved, expected)


def test_a_tiled_batch_differs_by_its_separation_alone():
    logits, features, mask, valid = (x[:1] for x in batch())
    once = gaussian_mixture_loss(logits, features, mask, valid)
    tiled = [x.repeat(3, *[1] * (x.ndim - 1)) for x in (logits, features, mask, valid)]
    centers, present = class_centers(features, mask, C)
    expected = once - center_separation(centers, present) + center_separation(3 * centers, present)
    torch.testing.assert_close(gaussian_mixture_loss(*tiled), expected, rtol=1e-5, atol=0)


def test_padding_changes_nothing():
    """Of features as large as the mask: smaller ones see the padding beside them."""
    logits, features, mask, _ = batch(GRID)
    logits.requires_grad_(), features.requires_grad_()

    def frame(x, value):
        return F.pad(x, (7, 7, 7, 7), value=value)

    valid = frame(torch.ones_like(mask), 0).bool()
    losses = [
        gaussian_mixture_loss(logits, features, mask),
        gaussian_mixture_loss(frame(logits, 3), frame(features, 2), frame(mask, 255), valid),
    ]
    torch.testing.assert_close(*losses)
    for gradients in zip(
        *(torch.autograd.grad(loss, (logits, features)) for loss in losses), strict=True
    ):
        torch.testing.assert_close(*gradients)


def test_float32_under_autocast():
    logits, features, mask, valid = batch()
    logits, features = logits.bfloat16(), features.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = gaussian_mixture_loss(logits, features, mask, valid)
    assert loss.dtype == torch.float32
    expected = gaussian_mixture_loss(logits.float(), features.float(), mask, valid)
    torch.testing.assert_close(loss, expected)


def test_shapes_that_do_not_fit():
    logits, features, mask, valid = batch()
    centers, present = class_centers(features, mask, C)
    for wrong in (
        lambda: class_centers(features[:1], mask, C),
        lambda: class_centers(features, mask[0], C),
        lambda: center_responses(features, centers[..., 1:], present, SIZE),
        lambda: center_responses(features, centers, present[:, 1:], SIZE),
        lambda: center_responses(features, centers, present, SIZE, valid[:1]),
        lambda: center_separation(centers, present[:1]),
        lambda: gaussian_mixture_loss(logits, features, mask[:, 1:]),
        lambda: gaussian_mixture_loss(logits, features[:1], mask),
        lambda: gaussian_mixture_loss(logits, features, mask, valid[:1]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            wrong()
