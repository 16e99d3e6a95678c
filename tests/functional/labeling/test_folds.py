import numpy as np
import pytest

from tests.each import each
from wsss_zoo.functional import assign_folds


@each("seed", range(8))
def test_sizes_are_equal_and_classes_are_spread(seed):
    rng = np.random.default_rng(seed)
    folds = int(rng.integers(2, 6))
    labels = rng.random((int(rng.integers(folds, 90)), 4)) < [0.5, 0.2, 0.1, 0.05]
    found = assign_folds(labels, folds, seed)
    sizes = np.bincount(found, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == len(labels)
    rarest = int(np.argsort(labels.sum(0), kind="stable")[0])
    counts = np.bincount(found[labels[:, rarest]], minlength=folds)
    assert counts.max() - counts.min() <= 1


def test_every_class_of_enough_images_is_in_every_fold():
    labels = np.zeros((60, 3))
    labels[:40, 0] = labels[40:54, 1] = labels[54:, 2] = 1
    found = assign_folds(labels, 5, seed=3)
    for k in range(3):
        assert set(found[labels[:, k] > 0]) == set(range(5))


def test_same_seed_same_folds_and_another_one_others():
    labels = np.random.default_rng(0).random((50, 3)) < 0.3
    first, again, other = (assign_folds(labels, 5, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@each("folds", [0, 1, 4])
def test_bad_numbers_of_folds_are_refused(folds):
    with pytest.raises(ValueError, match=f"folds is {folds} for 3 images"):
        assign_folds(np.ones((3, 1)), folds)


def test_tags_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"give \(N, K\)"):
        assign_folds(np.ones(3), 2)
