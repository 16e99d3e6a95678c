import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from tests.each import each
from wsss_zoo.functional import cam_to_label, score_separation


def separation_by_loops(scores, threshold):
    above = [score for score in scores if score > threshold]
    below = [score for score in scores if score <= threshold]
    if not above or not below:
        return 0.0
    difference = sum(above) / len(above) - sum(below) / len(below)
    between = len(above) * len(below) * difference**2 / len(scores) ** 2
    return between / np.var(scores)


@each("seed", range(4))
def test_separation_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 21, (6, 9)) / 20
    thresholds = np.arange(0, 21) / 20  # many scores equal one of them
    found = score_separation(torch.from_numpy(scores), torch.from_numpy(thresholds))
    expected = [separation_by_loops(scores.ravel().tolist(), t) for t in thresholds]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    assert found.dtype == torch.float64
    assert found[-1] == 0


def test_the_best_threshold_is_otsus():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.2, 0.07, 900), rng.normal(0.7, 0.1, 300)])
    thresholds = torch.linspace(0, 1, 501, dtype=torch.float64)
    best = thresholds[score_separation(torch.from_numpy(scores), thresholds).argmax()]
    assert float(best) == pytest.approx(threshold_otsu(scores, nbins=2000), abs=0.01)


def test_what_equals_a_threshold_is_background():
    scores, threshold = torch.tensor([[0.25, 0.5, 0.75, 1.0]]), torch.tensor([0.5])
    label = cam_to_label(scores[None, None], torch.ones(1, 1), 0.5)[0]
    above, below = scores[label == 1], scores[label == 0]
    between = len(above) * len(below) * (above.mean() - below.mean()) ** 2 / 16
    share = score_separation(scores, threshold)
    assert float(share) == pytest.approx(float(between / scores.var(unbiased=False)))


@each("scale", [0.5, 4.0])
def test_the_scale_of_the_maps_has_no_say(scale):
    scores, thresholds = torch.rand(50), torch.linspace(0, 1, 11)
    scaled = score_separation(scale * scores, scale * thresholds)
    assert torch.allclose(score_separation(scores, thresholds), scaled)


def test_constant_scores_and_errors():
    thresholds = torch.tensor([0.1, 0.5])
    assert score_separation(torch.full((3, 3), 0.3), thresholds).tolist() == [0, 0]
    assert score_separation(torch.zeros(1), thresholds).tolist() == [0, 0]
    assert score_separation(torch.rand(4, 4).half(), thresholds).shape == (2,)
    with pytest.raises(ValueError, match="give them ascending"):
        score_separation(torch.rand(3), torch.tensor([0.5, 0.1]))
    with pytest.raises(ValueError, match="give them ascending"):
        score_separation(torch.rand(3), torch.tensor(0.5))
    with pytest.raises(ValueError, match="at least one"):
        score_separation(torch.rand(0, 3), thresholds)
