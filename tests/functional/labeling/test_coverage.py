"""The choice against a search by hand; needs against their formula."""

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.functional import class_needs, image_needs, k_center_greedy


def naive(points, count, given, weights):
    chosen = []
    for _ in range(count):
        centres = [*given, *(points[i] for i in chosen)]
        values = {}
        for i, point in enumerate(points):
            if i not in chosen:
                near = min((np.linalg.norm(point - c) for c in centres), default=1.0)
                values[i] = near * weights[i]
        chosen.append(max(values, key=lambda i: (values[i], -i)))
    return chosen


@each("seed", range(6))
def test_each_choice_is_the_farthest(seed):
    rng = np.random.default_rng(seed)
    points, given = rng.normal(size=(30, 4)), rng.normal(size=(seed, 4))
    weights = rng.random(30)
    found = k_center_greedy(points, 12, given=given, weights=weights)
    assert found == naive(points, 12, given, weights)


def test_radius_is_at_most_twice_the_best():
    rng = np.random.default_rng(1)
    clusters = rng.normal(size=(5, 2)) * 100
    points = np.concatenate([centre + rng.normal(size=(20, 2)) for centre in clusters])
    chosen = k_center_greedy(points, 5)
    assert {i // 20 for i in chosen} == set(range(5))


def test_all_points_come_once_even_where_they_are_equal():
    assert sorted(k_center_greedy(np.zeros((4, 3)), 4)) == [0, 1, 2, 3]
    assert k_center_greedy(np.zeros((3, 1)), 3, weights=[1, 3, 2], given=[[0.0]]) == [1, 2, 0]
    assert k_center_greedy(np.zeros((2, 1)), 2, weights=[0, 0]) == [0, 1]
    assert k_center_greedy(np.zeros((2, 1)), 0) == []


def test_classes_without_labels_need_most():
    needs = class_needs([0, 1, 99])
    np.testing.assert_allclose(needs, [1, 2**-0.5, 0.1])
    np.testing.assert_allclose(class_needs([99, 99]), [1, 1])
    presence = [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(image_needs(presence, [0, 1, 99]), [2 + 2**-0.5, 1.1, 1])


@each(
    ("call", "message"),
    [
        (lambda: k_center_greedy([[0.0]], 2), "count is 2"),
        (lambda: k_center_greedy([0.0], 1), "features has shape"),
        (lambda: k_center_greedy([[np.nan]], 1), "finite"),
        (lambda: k_center_greedy([[0.0]], 1, given=[[0.0, 1.0]]), "given has 2 features"),
        (lambda: k_center_greedy([[0.0]], 1, weights=[1, 2]), "weights has shape"),
        (lambda: k_center_greedy([[0.0]], 1, weights=[-1]), "number >= 0"),
        (lambda: class_needs([-1]), "counts is"),
        (lambda: image_needs([[0.5]], [1, 2]), "does not fit 2 classes"),
        (lambda: image_needs([[1.5]], [1]), "outside"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
