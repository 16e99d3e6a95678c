"""CAM functions against loops over pixels, the closed form of Grad-CAM against autograd."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import (
    cam_to_label,
    class_activation_map,
    classifier_grad_cam,
    grad_cam,
    multi_scale_cam,
)


def bilinear_reference(plane, height, width):
    """Half-pixel centres, clamped at the border: what align_corners=False means."""
    h, w = plane.shape
    out = np.zeros((height, width))
    for y in range(height):
        sy = max((y + 0.5) * h / height - 0.5, 0.0)
        y0 = min(int(sy), h - 1)
        y1 = min(y0 + 1, h - 1)
        for x in range(width):
            sx = max((x + 0.5) * w / width - 0.5, 0.0)
            x0 = min(int(sx), w - 1)
            x1 = min(x0 + 1, w - 1)
            fy, fx = sy - y0, sx - x0
            out[y, x] = (plane[y0, x0] * (1 - fx) + plane[y0, x1] * fx) * (1 - fy) + (
                plane[y1, x0] * (1 - fx) + plane[y1, x1] * fx
            ) * fy
    return out


def multi_scale_reference(features, weight, image_labels, size):
    height, width = size
    padded = [16 * math.ceil(side / 16) for side in size]
    out = np.zeros((len(weight), height, width))
    for k in range(len(weight)):
        if not image_labels[k]:
            continue
        for pair in features:
            _, depth, h, w = pair.shape
            plane = np.zeros((h, w))
            for y in range(h):
                for x in range(w):
                    here = sum(weight[k, d] * pair[0, d, y, x] for d in range(depth))
                    mirrored = sum(weight[k, d] * pair[1, d, y, w - 1 - x] for d in range(depth))
                    plane[y, x] = max(here, 0) + max(mirrored, 0)
            out[k] += bilinear_reference(plane, *padded)[:height, :width]
        out[k] /= out[k].max() + 1e-5
    return out


def random_features(sizes, depth=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, depth, h, w, generator=generator) for h, w in sizes]


def test_class_activation_map_is_the_classifier_at_each_position():
    torch.manual_seed(0)
    features, weight = torch.randn(2, 5, 3, 4), torch.randn(3, 5)
    cam = class_activation_map(features, weight)
    expected = np.zeros((2, 3, 3, 4))
    for n, k, y, x in np.ndindex(*expected.shape):
        expected[n, k, y, x] = sum(float(weight[k, d] * features[n, d, y, x]) for d in range(5))
    np.testing.assert_allclose(cam.numpy(), expected, atol=1e-5)
    assert (cam < 0).any()
    torch.testing.assert_close(cam.mean((2, 3)), features.mean((2, 3)) @ weight.T)


@each(
    ("features", "weight"), [((2, 5, 3, 4), (3, 4)), ((5, 3, 4), (3, 5)), ((2, 5, 3, 4), (3, 5, 1))]
)
def test_class_activation_map_rejects_shapes(features, weight):
    with pytest.raises(ValueError, match="do not fit"):
        class_activation_map(torch.zeros(features), torch.zeros(weight))


@each("size", [(20, 37), (48, 16), (1, 33)])
def test_multi_scale_cam_equals_the_loop(size):
    features = random_features([(2, 3), (1, 2), (3, 5), (4, 6)])
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    image_labels = torch.tensor([1, 0, 1, 1])
    cam = multi_scale_cam(features, weight, image_labels, size)
    expected = multi_scale_reference(
        [pair.numpy() for pair in features], weight.numpy(), image_labels.tolist(), size
    )
    assert cam.shape == (4, *size)
    assert cam.dtype == torch.float32
    np.testing.assert_allclose(cam.numpy(), expected, atol=2e-6)
    assert (cam[1] == 0).all()


def test_multi_scale_cam_keeps_sizes_that_are_multiples_of_sixteen():
    # 48 stays 48: each of the 3x3 cells covers exactly 16 pixels, so its centre keeps its value.
    features = [torch.zeros(2, 1, 3, 3)]
    features[0][0, 0] = torch.arange(9.0).view(3, 3)
    cam = multi_scale_cam(features, torch.ones(1, 1), torch.ones(1), (48, 48))
    centre = cam[0, 23:25, 23:25].mean()
    assert centre.item() == pytest.approx(4 / 8, abs=1e-5)


def test_multi_scale_cam_crops_instead_of_resizing():
    features = random_features([(3, 3)])
    weight = torch.ones(1, 3)
    whole = multi_scale_cam(features, weight, torch.ones(1), (48, 48))[:, :33, :33]
    cropped = multi_scale_cam(features, weight, torch.ones(1), (33, 33))
    torch.testing.assert_close(cropped, whole / whole.amax(), atol=1e-4, rtol=0)


def test_multi_scale_cam_of_a_mirrored_image_is_mirrored():
    features = random_features([(2, 3), (4, 6)])
    weight = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    cam = multi_scale_cam(features, weight, torch.ones(2), (32, 48))
    swapped = multi_scale_cam([pair.flip(0) for pair in features], weight, torch.ones(2), (32, 48))
    torch.testing.assert_close(swapped, cam.flip(-1), atol=1e-6, rtol=1e-5)


def test_multi_scale_cam_gates_before_it_normalises():
    features = [torch.ones(2, 2, 1, 1)]
    weight = torch.tensor([[1e-6, 0.0], [float("inf"), 0.0], [-1.0, 0.0]])
    cam = multi_scale_cam(features, weight, torch.tensor([1, 0, 1]), (16, 16))
    assert cam[0, 0, 0] == pytest.approx(2e-6 / (2e-6 + 1e-5), rel=1e-5)
    assert (cam[1:] == 0).all()  # absent although infinite; present but rejected everywhere


def test_multi_scale_cam_merges_half_precision_in_float32():
    features = [pair.bfloat16() for pair in random_features([(2, 2), (3, 3)])]
    weight = torch.ones(1, 3, dtype=torch.bfloat16)
    assert multi_scale_cam(features, weight, torch.ones(1), (16, 16)).dtype == torch.float32


@pytest.mark.parametrize("tags", [torch.tensor([True, False]), torch.tensor([1, 0]).byte()])
def test_multi_scale_cam_takes_tags_of_any_type(tags):
    cam = multi_scale_cam([torch.ones(2, 1, 1, 1)], torch.ones(2, 1), tags, (8, 8))
    assert cam.amax((1, 2)).tolist() == [pytest.approx(1, abs=1e-4), 0]


@each(
    ("features", "tags", "size", "message"),
    [
        ([], 1, (16, 16), "features is empty"),
        ([(1, 3, 2, 2)], 1, (16, 16), r"features .* do not fit; give \(2, D, h, w\)"),
        ([(3, 2, 2)], 1, (16, 16), r"features .* do not fit; give \(2, D, h, w\)"),
        ([(2, 3, 2, 2)], 2, (16, 16), r"image_labels .* do not fit; give \(K,\)"),
        ([(2, 3, 2, 2)], 1, (16, 0), "size is"),
    ],
)
def test_multi_scale_cam_rejects(features, tags, size, message):
    with pytest.raises(ValueError, match=message):
        multi_scale_cam(
            [torch.zeros(shape) for shape in features], torch.zeros(1, 3), torch.ones(tags), size
        )


def test_grad_cam_equals_the_loop():
    torch.manual_seed(0)
    activations, gradients = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    expected = np.zeros((2, 4, 5))
    for n, y, x in np.ndindex(*expected.shape):
        total = 0.0
        for d in range(3):
            alpha = gradients[n, d].double().sum().item() / 20
            total += alpha * activations[n, d, y, x].item()
        expected[n, y, x] = max(total, 0.0)
    np.testing.assert_allclose(grad_cam(activations, gradients).numpy(), expected, atol=1e-6)


def test_grad_cam_of_pooling_and_linear_is_the_cam():
    torch.manual_seed(0)
    features = torch.randn(2, 6, 4, 5, requires_grad=True)
    weight = torch.randn(3, 6)
    scores = features.mean((2, 3)) @ weight.T
    (gradients,) = torch.autograd.grad(scores[:, 1].sum(), features)
    cam = class_activation_map(features, weight)[:, 1].relu() / 20
    torch.testing.assert_close(grad_cam(features, gradients), cam)


@each("shapes", [((2, 3, 4, 5), (2, 3, 4, 4)), ((3, 4, 5), (3, 4, 5))])
def test_grad_cam_rejects_shapes(shapes):
    with pytest.raises(ValueError, match="do not fit"):
        grad_cam(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@each("bg_threshold", [-0.5, 0.0, 0.15, 0.5, 1.0])
def test_cam_to_label_equals_the_loop(bg_threshold):
    generator = torch.Generator().manual_seed(0)
    # A coarse grid of values makes ties frequent.
    cam = torch.randint(0, 5, (3, 4, 6, 7), generator=generator) / 4
    image_labels = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).float()
    expected = np.zeros((3, 6, 7), dtype=np.int64)
    for n, y, x in np.ndindex(*expected.shape):
        best = bg_threshold
        for k in range(4):
            if image_labels[n, k] > 0 and cam[n, k, y, x] > best:
                best, expected[n, y, x] = cam[n, k, y, x], k + 1
    label = cam_to_label(cam, image_labels, bg_threshold)
    assert label.dtype == torch.int64
    np.testing.assert_array_equal(label.numpy(), expected)
    assert (label[1] == 0).all()


def test_cam_to_label_without_tags_is_background_at_any_threshold():
    label = cam_to_label(torch.ones(1, 2, 3, 3), torch.zeros(1, 2), float("-inf"))
    assert (label == 0).all()


@each("shapes", [((2, 3, 4, 5), (2, 4)), ((3, 4, 5), (3,))])
def test_cam_to_label_rejects_shapes(shapes):
    with pytest.raises(ValueError, match="do not fit"):
        cam_to_label(torch.zeros(shapes[0]), torch.zeros(shapes[1]), 0.1)


@each("stride", [8, 32])
def test_maps_of_another_stride_lie_where_their_cells_are(stride):
    """A step at a cell's border stays there, though the last cells are half padding."""
    cells = 25
    size = cells * stride - stride // 2
    row = (torch.arange(cells) >= 24).float().expand(1, 1, 1, cells)
    maps = multi_scale_cam(
        [torch.cat([row, row.flip(-1)])], torch.ones(1, 1), torch.ones(1), (stride, size), stride
    )
    # Between the centres of cells 23 and 24 bilinear resizing crosses one half at their border.
    assert (maps[0, 0] > 0.5 * maps[0, 0, -1]).nonzero()[0, 0] == 24 * stride


def by_autograd(features, weight, image_labels, dropout):
    """One gradient for each class, through pooling, dropout and linear layer."""
    features = features.clone().requires_grad_()
    scores = F.linear(features.mean((2, 3)) * dropout, weight, torch.ones(len(weight)))
    maps = []
    for c, score in enumerate(scores.sum(0)):
        gradients = torch.autograd.grad(score, features, retain_graph=True)[0]
        cam = grad_cam(features.detach(), gradients) * image_labels[:, c, None, None]
        maps.append(cam / cam.amax((1, 2), keepdim=True).clamp_min(1e-5))
    return torch.stack(maps, 1)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 6, 4, 5, generator=generator)
    weight = torch.randn(4, 6, generator=generator)
    return features, weight, torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]).float()


def test_classifier_grad_cam_equals_the_gradients_of_the_classifier(inputs):
    torch.testing.assert_close(classifier_grad_cam(*inputs), by_autograd(*inputs, 1.0))


def test_classifier_grad_cam_equals_the_gradients_through_a_dropout_of_each_image(inputs):
    features, weight, image_labels = inputs
    dropout = F.dropout(torch.ones(3, 6), 0.5)
    result = classifier_grad_cam(features, weight * dropout[:, None], image_labels)
    torch.testing.assert_close(result, by_autograd(*inputs, dropout))


def test_classifier_grad_cam_maps_are_stretched_to_one_gated_and_never_nan(inputs):
    features, weight, image_labels = inputs
    result = classifier_grad_cam(features, weight, image_labels)
    peaks = result.amax((2, 3))
    assert ((peaks == 0) | torch.isclose(peaks, torch.tensor(1.0))).all()
    assert (peaks[image_labels == 0] == 0).all()
    assert (peaks[2] == 1).any()
    assert classifier_grad_cam(torch.zeros_like(features), weight, image_labels).abs().max() == 0
    # Too weak to be stretched: the maximum stays below 1.
    assert classifier_grad_cam(1e-6 * features, weight, image_labels).amax() < 0.9


def test_classifier_grad_cam_is_float32_under_autocast(inputs):
    features, weight, image_labels = inputs
    with torch.autocast("cpu", torch.bfloat16):
        result = classifier_grad_cam(features, weight, image_labels)
    assert torch.equal(result, classifier_grad_cam(features, weight, image_labels))
    half = classifier_grad_cam(features.bfloat16(), weight, image_labels)
    assert half.dtype == torch.float32


@each(
    "shapes",
    [
        ((3, 6, 4), (4, 6), (3, 4)),
        ((3, 6, 4, 5), (4, 5), (3, 4)),
        ((3, 6, 4, 5), (4, 6), (2, 4)),
        ((3, 6, 4, 5), (2, 4, 6), (3, 4)),
    ],
)
def test_classifier_grad_cam_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="do not fit; give"):
        classifier_grad_cam(*(torch.zeros(shape) for shape in shapes))
