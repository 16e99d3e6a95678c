"""Scores of tags against loops and against cleanlab."""

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.functional import class_presence, tag_faults


def test_presence_is_the_mean_of_the_best_pixels():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), (20, 30)).transpose(2, 0, 1)
    found = class_presence(probs, share=0.05)
    expected = [np.mean(sorted(probs[k].ravel())[-30:]) for k in (1, 2, 3)]
    np.testing.assert_allclose(found, expected)
    assert len(class_presence(probs, first_fg=0)) == 4
    np.testing.assert_allclose(class_presence(probs, share=1e-9), probs[1:].max((1, 2)))


def test_scores_are_one_less_the_confidence():
    rng = np.random.default_rng(0)
    presence, tags = rng.random((15, 3)), rng.random((15, 3)) < 0.4
    plain, adjusted = tag_faults(presence, tags, adjust=False), tag_faults(presence, tags)
    for n, k in np.ndindex(15, 3):
        confidence = presence[n, k] if tags[n, k] else 1 - presence[n, k]
        alike = [m for m in range(15) if tags[m, k] == tags[n, k]]
        usual = np.mean([presence[m, k] if tags[m, k] else 1 - presence[m, k] for m in alike])
        assert plain[n, k] == pytest.approx(1 - confidence)
        assert adjusted[n, k] == pytest.approx(usual - confidence)


def test_class_that_is_always_unsure_is_not_suspicious():
    presence = np.array([[0.9, 0.3], [0.9, 0.3], [0.5, 0.3], [0.1, 0.02], [0.1, 0.02]])
    tags = np.array([[1, 1], [1, 1], [1, 1], [0, 0], [0, 0]])
    assert np.unravel_index(tag_faults(presence, tags).argmax(), (5, 2)) == (2, 0)
    assert np.unravel_index(tag_faults(presence, tags, adjust=False).argmax(), (5, 2)) == (0, 1)


def test_confidence_is_that_of_cleanlab():
    rank = pytest.importorskip("cleanlab.multilabel_classification.rank")
    rng = np.random.default_rng(0)
    presence, tags = rng.random((40, 3)), rng.random((40, 3)) < 0.4
    labels = [row.nonzero()[0].tolist() for row in tags]
    quality = rank.get_label_quality_scores_per_class(labels, presence, method="self_confidence")
    np.testing.assert_allclose(1 - quality, tag_faults(presence, tags, adjust=False), atol=1e-9)


@each(
    ("call", "message"),
    [
        (lambda: class_presence(np.ones((3, 4))), "foreground"),
        (lambda: class_presence(np.ones((1, 2, 2))), "foreground"),
        (lambda: class_presence(np.ones((2, 2, 2)), share=0), "share"),
        (lambda: tag_faults([[0.1]], [[1, 0]]), r"both \(N, K\)"),
        (lambda: tag_faults([[1.1]], [[1]]), "outside"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
