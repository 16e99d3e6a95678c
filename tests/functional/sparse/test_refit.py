import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from wsss_zoo.functional import refit_classes


def image(classes=3, channels=6, size=(5, 7), labelled=9, seed=0):
    """Features, logits, and counts in some cells, float64."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(channels, *size, generator=generator, dtype=torch.float64) * 3
    logits = torch.randn(classes, *size, generator=generator, dtype=torch.float64)
    counts = torch.zeros(classes, *size, dtype=torch.float64)
    for k in range(labelled):
        y, x = (int(torch.randint(side, (), generator=generator)) for side in size)
        counts[k % classes, y, x] += k + 1
    return features, logits, counts


def by_hand(features, logits, counts, penalty):
    """One labelled cell after the other, minimised by scipy."""
    channels, (classes, height, width) = len(features), logits.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    norm = np.sqrt(np.mean([float((features[:, y, x] ** 2).sum()) for y, x in cells]))

    def scores(weights, y, x):
        values = np.append(features[:, y, x].numpy() / norm, 1)
        return logits[:, y, x].numpy() + weights.reshape(classes, channels + 1) @ values

    def objective(weights):
        total = 0.0
        for y, x in cells:
            z = scores(weights, y, x)
            for k in range(classes):
                total -= float(counts[k, y, x]) * (z[k] - np.log(np.exp(z).sum()))
        return total / float(counts.sum()) + penalty * (weights**2).sum()

    start = np.zeros(classes * (channels + 1))
    found = minimize(objective, start, method="BFGS", options={"gtol": 1e-9}).x
    result = [[scores(found, y, x) for x in range(width)] for y in range(height)]
    return torch.from_numpy(np.array(result)).permute(2, 0, 1)


@pytest.mark.parametrize("penalty", [0.3, 0.01])
def test_equals_a_loop_that_scipy_minimises(penalty):
    features, logits, counts = image()
    refit = refit_classes(features, logits, counts, penalty)
    torch.testing.assert_close(refit, by_hand(features, logits, counts, penalty), atol=1e-3, rtol=0)


def test_labelled_cells_get_their_class_and_similar_ones_too():
    features = torch.rand(4, 6, 6) * 0.1
    features[0, :, 3:] += 1
    features[1, :, :3] += 1
    logits = torch.zeros(3, 6, 6)
    logits[2] = 2
    counts = torch.zeros(3, 6, 6)
    counts[0, 1, 1], counts[1, 2, 5] = 4, 2
    label = refit_classes(features, logits, counts).argmax(0)
    assert (label[:, :3] == 0).all()
    assert (label[:, 3:] == 1).all()


def test_one_class_teaches_nothing():
    features, logits, counts = image()
    counts[1:] = 0
    assert torch.equal(refit_classes(features, logits, counts), logits)
    assert torch.equal(refit_classes(features, logits, counts * 0), logits)


def test_scale_of_features_and_counts_do_not_matter():
    features, logits, counts = image()
    expected = refit_classes(features, logits, counts)
    torch.testing.assert_close(refit_classes(features * 7, logits, counts * 3), expected)


def test_strong_penalty_changes_nothing():
    features, logits, counts = image()
    torch.testing.assert_close(
        refit_classes(features, logits, counts, 1e9), logits, atol=1e-6, rtol=0
    )


def test_inference_mode_and_autocast():
    features, logits, counts = (x.float() for x in image())
    expected = refit_classes(features, logits, counts)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        seen = refit_classes(features.clone(), logits.clone(), counts.long())
    assert torch.equal(seen, expected)
    assert seen.dtype == torch.float32


def test_features_that_are_all_zero():
    features, logits, counts = image()
    assert refit_classes(features * 0, logits, counts).isfinite().all()


def test_bad_input():
    features, logits, counts = image()
    with pytest.raises(ValueError, match="do not fit"):
        refit_classes(features, logits, counts[:, :2])
    with pytest.raises(ValueError, match="penalty is 0; give a weight > 0"):
        refit_classes(features, logits, counts, penalty=0)
