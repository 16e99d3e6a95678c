"""Adjacency and pruning against loops over pixels and edges."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import edge_similarity, kept_edges, prune_edges, region_adjacency


def looped_adjacency(segments):
    pairs = set()
    height, width = segments.shape
    for y in range(height):
        for x in range(width):
            for other in ((y, x + 1), (y + 1, x)):
                if other[0] < height and other[1] < width:
                    pair = int(segments[y, x]), int(segments[other])
                    if pair[0] != pair[1]:
                        pairs |= {pair, pair[::-1]}
    return pairs


@each("seed", range(30))
def test_adjacency_equals_the_loop(seed):
    torch.manual_seed(seed)
    height, width, regions = torch.randint(1, 13, (3,)).tolist()
    segments = torch.randint(regions, (height, width))
    edges = region_adjacency(segments)
    assert edges.dtype == torch.int64
    pairs = list(map(tuple, edges.T.tolist()))
    assert pairs == sorted(looped_adjacency(segments))


@each("shape", [(1, 1), (1, 30), (7, 9)])
def test_one_region_has_no_neighbour(shape):
    assert region_adjacency(torch.zeros(shape, dtype=torch.int64)).shape == (2, 0)


def test_corners_are_no_border():
    edges = region_adjacency(torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8))
    assert edges.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3], [1, 2, 0, 3, 0, 3, 1, 2]]


def test_ids_beyond_int16():
    segments = torch.tensor([[70_000, 69_999]], dtype=torch.int32)
    assert region_adjacency(segments).tolist() == [[69_999, 70_000], [70_000, 69_999]]


def random_graph(nodes=60, dim=16, spread=1.0):
    torch.manual_seed(0)
    x = spread * torch.randn(nodes, dim)
    return x, region_adjacency(torch.arange(nodes).view(6, -1).repeat_interleave(2, 0))


def looped_kept(x, edge_index):
    """Per edge, from the definition, in Python's floats."""
    edges = edge_index.T.tolist()
    rows = x.double().tolist()
    w = [math.exp(-math.dist(rows[i], rows[j]) / (2 * len(rows[i]))) for i, j in edges]
    mean = sum(w) / len(w)
    bound = mean - math.sqrt(sum((value - mean) ** 2 for value in w) / len(w))
    highest = {}
    for value, ends in zip(w, edges, strict=True):
        for node in ends:
            highest[node] = max(highest.get(node, 0.0), value)
    return [
        not (value < bound and value != highest[i] and value != highest[j])
        for value, (i, j) in zip(w, edges, strict=True)
    ]


@each("spread", [1e-3, 1.0, 5.0])
def test_pruning_equals_the_loop(spread):
    x, edges = random_graph(spread=spread)
    expected = torch.tensor(looped_kept(x, edges))
    assert 0.02 < 1 - expected.float().mean() < 0.3
    assert torch.equal(kept_edges(x, edges), expected)
    assert torch.equal(prune_edges(x, edges), edges[:, expected])


def test_both_directions_go_or_stay_and_no_node_is_alone():
    x, edges = random_graph()
    kept = set(map(tuple, prune_edges(x, edges).T.tolist()))
    assert kept == {(j, i) for i, j in kept}
    assert {i for i, _ in kept} == set(range(60))


def test_one_direction_of_each_edge_decides_the_same():
    x, edges = random_graph()
    forward = edges[0] < edges[1]
    assert torch.equal(kept_edges(x, edges[:, forward]), kept_edges(x, edges)[forward])


def test_order_of_the_edges_does_not_matter():
    x, edges = random_graph()
    order = torch.randperm(edges.shape[1])
    assert torch.equal(kept_edges(x, edges[:, order]), kept_edges(x, edges)[order])


@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.eye(4)], ids=["equal", "as far apart"])
def test_equally_like_neighbours_stay(x):
    edges = region_adjacency(torch.arange(4).view(2, 2))
    assert torch.equal(prune_edges(x, edges), edges)


def test_a_single_edge_stays():
    edges = torch.tensor([[0, 1], [1, 0]])
    assert torch.equal(prune_edges(torch.tensor([[0.0], [99.0]]), edges), edges)


def test_no_edges():
    edges = torch.zeros(2, 0, dtype=torch.int64)
    assert prune_edges(torch.zeros(1, 3), edges).shape == (2, 0)
    assert edge_similarity(torch.zeros(1, 3), edges).shape == (0,)


def test_similarity_of_known_distances():
    x = torch.tensor([[0.0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 8]])
    similarity = edge_similarity(x, torch.tensor([[0, 0, 1], [1, 2, 1]]))
    expected = torch.tensor([math.exp(-5 / 8), math.exp(-1), 1.0])
    torch.testing.assert_close(similarity, expected)
    assert similarity.dtype == torch.float32


@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tells_likenesses_apart(dtype):
    torch.manual_seed(0)
    x = torch.randn(500, 512).to(dtype)
    edges = torch.stack([torch.arange(499), torch.arange(1, 500)])
    with torch.autocast("cpu", torch.bfloat16):
        similarity = edge_similarity(x, edges)
        kept = kept_edges(x, edges)
    assert len(similarity.unique()) > 480
    assert torch.equal(kept, torch.tensor(looped_kept(x, edges)))


@each(
    ("x", "edges", "told"),
    [
        (torch.zeros(4), torch.zeros(2, 1).long(), r"x has shape \(4,\)"),
        (torch.zeros(4, 0), torch.zeros(2, 1).long(), r"x has shape \(4, 0\)"),
        (torch.zeros(4, 2).long(), torch.zeros(2, 1).long(), "type torch.int64"),
        (torch.zeros(4, 2), torch.zeros(3, 1).long(), r"edge_index has shape \(3, 1\)"),
        (torch.zeros(4, 2), torch.zeros(2, 1), "type torch.float32; give"),
        (torch.tensor([[torch.nan, 1.0]]), torch.zeros(2, 1).long(), "x holds 1 NaN or infinite"),
        (torch.full((1, 2), torch.inf), torch.zeros(2, 1).long(), "x holds 2 NaN or infinite"),
    ],
)
def test_what_is_no_graph(x, edges, told):
    for function in (edge_similarity, kept_edges, prune_edges):
        with pytest.raises(ValueError, match=told):
            function(x, edges)


def test_what_are_no_segments():
    with pytest.raises(ValueError, match=r"shape \(4,\); give \(H, W\)"):
        region_adjacency(torch.arange(4))
