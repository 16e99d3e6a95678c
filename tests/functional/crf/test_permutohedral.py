"""The lattice against a dictionary of vertices found by search, and against Gaussian sums."""

import itertools

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.functional.crf.permutohedral import permutohedral_lattice


def elevation(d):
    """Rows: an orthogonal basis of the plane of d + 1 coordinates that sum to 0."""
    basis = np.zeros((d, d + 1))
    for i in range(d):
        basis[i, : i + 1] = 1
        basis[i, i + 1] = -(i + 1)
        basis[i] /= np.linalg.norm(basis[i])
    return basis * np.sqrt(2 / 3) * (d + 1)


def nearest_vertex(x, k):
    """The lattice point nearest to x whose coordinates all leave the remainder k, by search."""
    cell = len(x)
    options = [np.floor((value - k) / cell) + np.array([-1, 0, 1, 2]) for value in x]
    candidates = [cell * np.array(c) + k for c in itertools.product(*options)]
    on_plane = [tuple(c.astype(int)) for c in candidates if c.sum() == 0]
    return min(on_plane, key=lambda c: ((np.array(c) - x) ** 2).sum())


def naive_filter(features, values):
    """Splat, blur and slice with a dictionary of vertices, in double precision."""
    d = len(features)
    elevated = features.T @ elevation(d)
    splat, table = [], {}
    for x, value in zip(elevated, values, strict=True):
        # A lattice point of remainder k is congruent to k in all coordinates.
        vertices = [nearest_vertex(x, k) for k in range(d + 1)]
        system = np.vstack([np.array(vertices, float).T, np.ones(d + 1)])
        weights = np.linalg.lstsq(system, np.append(x, 1.0), rcond=None)[0]
        assert weights.min() > -1e-9
        splat.append((vertices, weights))
        for vertex, weight in zip(vertices, weights, strict=True):
            table[vertex] = table.get(vertex, 0) + weight * value
    for direction in range(d + 1):
        step = np.ones(d + 1, int)
        step[direction] = -d
        table = {
            vertex: value
            + 0.5 * table.get(tuple(np.array(vertex) + step), 0)
            + 0.5 * table.get(tuple(np.array(vertex) - step), 0)
            for vertex, value in table.items()
        }
    filtered = [sum(w * table[v] for v, w in zip(*pair, strict=True)) for pair in splat]
    return np.array(filtered) / (1 + 2.0**-d)


@each("d", [1, 2, 3])
def test_equals_naive_lattice(d):
    rng = np.random.default_rng(d)
    features = rng.normal(0, 2, (d, 60))
    values = rng.normal(size=(60, 2))
    filtered = permutohedral_lattice(features).filter(values.astype(np.float32))
    np.testing.assert_allclose(filtered, naive_filter(features, values), atol=2e-4)


@each(("d", "spread", "least"), [(2, 1.0, 0.99), (5, 0.5, 0.9)])
def test_approximates_gaussian_sums(d, spread, least):
    rng = np.random.default_rng(0)
    features = rng.normal(0, spread, (d, 800))
    values = rng.normal(size=(800, 1)) + features[:1].T
    distance = ((features[:, :, None] - features[:, None]) ** 2).sum(axis=0)
    exact = np.exp(-distance / 2) @ values
    filtered = permutohedral_lattice(features).filter(values.astype(np.float32))
    assert np.corrcoef(exact.ravel(), filtered.ravel())[0, 1] > least


def test_slicing_rows_are_barycentric():
    features = np.random.default_rng(0).uniform(-50, 50, (5, 2000))
    lattice = permutohedral_lattice(features)
    assert lattice.slicing.data.min() > -1e-4
    np.testing.assert_allclose(lattice.slicing.sum(axis=1), np.sqrt(1 / (1 + 2**-5)), rtol=1e-4)


def test_far_groups_do_not_mix():
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(2, 30)), rng.normal(size=(2, 30)) + 1000
    values = np.ones((60, 1), np.float32)
    values[30:] = 0
    filtered = permutohedral_lattice(np.concatenate([near, far], axis=1)).filter(values)
    assert filtered[:30].min() > 0
    assert not filtered[30:].any()


def test_does_not_depend_on_the_order_of_points():
    rng = np.random.default_rng(0)
    features, values = rng.normal(size=(3, 200)), rng.random((200, 2), np.float32)
    order = rng.permutation(200)
    filtered = permutohedral_lattice(features).filter(values)
    permuted = permutohedral_lattice(features[:, order]).filter(values[order])
    np.testing.assert_allclose(permuted, filtered[order], rtol=1e-4)


def test_scaled():
    rng = np.random.default_rng(0)
    lattice = permutohedral_lattice(rng.normal(size=(2, 50)))
    values, factor = rng.random((50, 3), np.float32), rng.random(50, np.float32)
    expected = factor[:, None] * lattice.filter(factor[:, None] * values)
    before = lattice.filter(values)
    np.testing.assert_allclose(lattice.scaled(factor).filter(values), expected, rtol=1e-4)
    np.testing.assert_array_equal(lattice.filter(values), before)


@each("shape", [(3,), (2, 0), (0, 2), (1, 2, 3)])
def test_raises_on_shape(shape):
    with pytest.raises(ValueError, match="give \\(d, N\\)"):
        permutohedral_lattice(np.zeros(shape))


@each("value", [np.nan, np.inf, 1e6])
def test_raises_on_far_or_not_finite_features(value):
    with pytest.raises(ValueError, match="larger standard deviations"):
        permutohedral_lattice([[0.0, value]])


def test_raises_on_too_many_cells():
    features = np.diag(np.full(5, 60000.0))
    with pytest.raises(ValueError, match="lattice cells"):
        permutohedral_lattice(features)
