"""ToCo's contrast and its labels against loops."""

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import confident_cam_label, token_contrast_loss


def naive(features, label):
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for image, classes in zip(features.flatten(2), label.flatten(1), strict=True):
        for i in range(len(classes)):
            for j in range(len(classes)):
                if i == j or 255 in (int(classes[i]), int(classes[j])):
                    continue
                same = bool(classes[i] == classes[j])
                product = float(image[:, i] @ image[:, j])
                norms = float(image[:, i].norm() * image[:, j].norm())
                sums[same] += abs(product / norms)
                counts[same] += 1
    return (1 - sums[True] / (counts[True] + 1)) / 2 + sums[False] / (2 * (counts[False] + 1))


def test_loss_against_a_loop():
    torch.manual_seed(0)
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    label = torch.randint(0, 4, (2, 3, 4))
    label[label == 3] = 255
    expected = naive(features, label)
    assert float(token_contrast_loss(features, label)) == pytest.approx(expected, abs=1e-12)


def test_nothing_known_is_a_half_with_a_gradient_of_0():
    features = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = token_contrast_loss(features, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss == 0.5
    assert not features.grad.any()


def test_features_of_half_precision_and_of_length_0():
    features = torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    loss = token_contrast_loss(features, torch.zeros(1, 2, 2, dtype=torch.int64))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert features.grad.isfinite().all()


@each("tags", [(1, 0, 1), (0, 0, 0)])
def test_labels_against_a_loop(tags):
    torch.manual_seed(0)
    cam, valid = torch.rand(1, 3, 5, 6), torch.rand(1, 5, 6) > 0.2
    cam[0, 0, 0, :2] = torch.tensor([0.7, 0.25])
    found = confident_cam_label(cam, torch.tensor([tags]), valid=valid)
    for row in range(5):
        for column in range(6):
            scores = [float(cam[0, k, row, column]) * tags[k] for k in range(3)]
            best = max(range(3), key=lambda k: scores[k])
            expected = best + 1 if scores[best] > 0.7 else 255
            expected = 0 if scores[best] <= 0.25 else expected
            assert found[0, row, column] == (expected if valid[0, row, column] else 255)


@each(
    ("call", "message"),
    [
        (lambda: token_contrast_loss(torch.ones(1, 2, 3, 3), torch.ones(1, 3)), "do not fit"),
        (lambda: confident_cam_label(torch.ones(1, 2, 1, 1), torch.ones(1, 2), 0.1), "low <= high"),
        (
            lambda: confident_cam_label(
                torch.ones(1, 2, 1, 1), torch.ones(1, 2), valid=torch.ones(2, 1, 1) > 0
            ),
            "valid .* does not fit",
        ),
    ],
)
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
