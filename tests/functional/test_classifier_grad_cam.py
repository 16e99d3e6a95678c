"""The closed form of Grad-CAM against gradients by autograd."""

import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.functional import classifier_grad_cam, grad_cam


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


def test_equals_the_gradients_of_the_classifier(inputs):
    torch.testing.assert_close(classifier_grad_cam(*inputs), by_autograd(*inputs, 1.0))


def test_equals_the_gradients_through_a_dropout_of_each_image(inputs):
    features, weight, image_labels = inputs
    dropout = F.dropout(torch.ones(3, 6), 0.5)
    result = classifier_grad_cam(features, weight * dropout[:, None], image_labels)
    torch.testing.assert_close(result, by_autograd(*inputs, dropout))


def test_maps_are_stretched_to_one_gated_and_never_nan(inputs):
    features, weight, image_labels = inputs
    result = classifier_grad_cam(features, weight, image_labels)
    peaks = result.amax((2, 3))
    assert ((peaks == 0) | torch.isclose(peaks, torch.tensor(1.0))).all()
    assert (peaks[image_labels == 0] == 0).all()
    assert (peaks[2] == 1).any()
    assert classifier_grad_cam(torch.zeros_like(features), weight, image_labels).abs().max() == 0
    # Too weak to be stretched: the maximum stays below 1.
    assert classifier_grad_cam(1e-6 * features, weight, image_labels).amax() < 0.9


def test_is_float32_under_autocast(inputs):
    features, weight, image_labels = inputs
    with torch.autocast("cpu", torch.bfloat16):
        result = classifier_grad_cam(features, weight, image_labels)
    assert torch.equal(result, classifier_grad_cam(features, weight, image_labels))
    half = classifier_grad_cam(features.bfloat16(), weight, image_labels)
    assert half.dtype == torch.float32


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 6, 4), (4, 6), (3, 4)),
        ((3, 6, 4, 5), (4, 5), (3, 4)),
        ((3, 6, 4, 5), (4, 6), (2, 4)),
        ((3, 6, 4, 5), (2, 4, 6), (3, 4)),
    ],
)
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="do not fit; give"):
        classifier_grad_cam(*(torch.zeros(shape) for shape in shapes))
