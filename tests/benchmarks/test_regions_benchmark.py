"""From a photograph to its graph: pooling against resizing and averaging, and the times of a step.

Of VOC's size, with the deep features of a network of stride 8 or 16. Processor time on one thread,
so that other load hardly counts.
"""

import subprocess
import sys
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.benchmarks.graph_work import REGIONS, C, D, H, W, photo
from wsss_zoo.functional import (
    kept_edges,
    pool_regions,
    prune_edges,
    region_adjacency,
    superpixels,
    vote,
)

ROUNDS = 7

# In a process of its own, where nothing is freed meanwhile; one small call first, for what torch
# allocates once.
PEAK = """
import torch
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.test_regions_benchmark import D, grid, resize_and_average
from wsss_zoo.functional import pool_regions
torch.set_num_threads(1)
features, segments = torch.randn(D, 47, 63), grid()

for pool in (pool_regions, resize_and_average):
    pool(features[:4], segments[:32, :32])
    peak = PeakMemory()
    pool(features, segments)
    print(peak.megabytes())
"""


def grid():
    """About 1000 regions without an image: 12 x 15 pixels each, with ragged borders."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    y, x = (axis + torch.randint(2, (H, W)) for axis in (y, x))
    return (y // 12) * 34 + x // 15


def resize_and_average(features, segments):
    resized = F.interpolate(features[None], segments.shape, mode="bilinear", align_corners=False)
    count = int(segments.max()) + 1
    sums = torch.zeros(count, len(features))
    sums.index_add_(0, segments.flatten(), resized[0].flatten(1).T)
    return sums / torch.bincount(segments.flatten(), minlength=count)[:, None]


def plain_adjacency(segments):
    """Every pair of neighbouring pixels, sorted: numpy's unique rows."""
    sides = [(segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in sides])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0).T


def plain_votes(labels, segments):
    """Region by region, the class of most of its pixels."""
    count = segments.max() + 1
    return np.array([np.bincount(labels[segments == region]).argmax() for region in range(count)])


@pytest.fixture
def fast_slic():
    pytest.importorskip("fast_slic", reason="fast-slic is missing")


def seconds_of(function):
    start = process_time()
    result = function()
    return process_time() - start, result


def median_seconds(benchmark, function):
    """Median processor time, after one call to warm up."""
    function()
    times = []
    benchmark.pedantic(lambda: times.append(seconds_of(function)[0]), rounds=ROUNDS)
    return float(np.median(times))


@pytest.mark.benchmark
@pytest.mark.parametrize("stride", [8, 16])
def test_pooling_is_eight_times_as_fast_as_resizing_and_averaging(
    stride, benchmark, fast_slic, measured
):
    torch.manual_seed(0)
    features = torch.randn(D, -(-H // stride), -(-W // stride))
    segments = torch.from_numpy(superpixels(photo(), REGIONS, "fast_slic"))
    seconds, differences = [], []

    def both():
        ours, pooled = seconds_of(lambda: pool_regions(features, segments))
        theirs, expected = seconds_of(lambda: resize_and_average(features, segments))
        seconds.append((ours, theirs))
        differences.append(float((pooled - expected).abs().max()))

    both()
    seconds.clear()
    # The two take turns, so that other load slows both.
    benchmark.pedantic(both, rounds=ROUNDS)
    times = np.median(seconds, axis=0)
    measured("times as fast as resizing and averaging", times[1] / times[0], at_least=8)
    assert max(differences) < 1e-5


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux's")
def test_pooling_takes_a_quarter_of_the_memory(measured):
    command = [sys.executable, "-W", "ignore", "-c", PEAK]
    root = Path(__file__).parents[2]
    run = {"cwd": root, "capture_output": True, "text": True, "check": True}
    output = subprocess.run(command, **run).stdout
    ours, theirs = map(float, output.split())
    assert theirs > D * H * W * 4 / 1e6
    measured("MB of pooling / of resizing and averaging", ours / theirs, at_most=0.25)


@pytest.mark.benchmark
def test_adjacency_in_30_ms(benchmark, fast_slic, measured):
    segments = torch.from_numpy(superpixels(photo(), REGIONS, "fast_slic"))
    plain, expected = seconds_of(lambda: plain_adjacency(segments.numpy()))
    np.testing.assert_array_equal(region_adjacency(segments), expected)
    seconds = median_seconds(benchmark, lambda: region_adjacency(segments))
    measured("adjacency, ms", 1e3 * seconds, at_most=30)
    measured("adjacency, times as fast as numpy's unique rows", plain / seconds, at_least=2)


@pytest.mark.benchmark
def test_fast_slic_is_ten_times_as_fast_as_scikit_image(benchmark, fast_slic, measured):
    image = photo("coffee")
    slow, _ = seconds_of(lambda: superpixels(image, REGIONS, "skimage"))
    fast = median_seconds(benchmark, lambda: superpixels(image, REGIONS, "fast_slic"))
    measured("times as fast as scikit-image", slow / fast, at_least=10)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_photograph_to_graph_in_150_ms(name, benchmark, fast_slic, measured):
    torch.manual_seed(0)
    image, features = photo(name), torch.randn(D, 47, 63)
    labels = torch.randint(C, (H, W))

    def graph():
        segments = torch.from_numpy(superpixels(image, REGIONS, "fast_slic"))
        x = pool_regions(features, segments)
        edges = region_adjacency(segments)
        return x, vote(labels, segments, C), edges, prune_edges(x, edges)

    def plain():
        """The same superpixels, and all else as one would write it first."""
        segments = superpixels(image, REGIONS, "fast_slic")
        x = resize_and_average(features, torch.from_numpy(segments))
        edges = torch.from_numpy(plain_adjacency(segments))
        votes = plain_votes(labels.numpy(), segments)
        return x, votes, edges, prune_edges(x, edges)

    x, votes, edges, pruned = graph()
    assert REGIONS / 3 <= len(x) == len(votes) <= 2 * REGIONS
    assert 0.7 < pruned.shape[1] / edges.shape[1] < 1
    assert torch.equal(edges[:, kept_edges(x, edges)], pruned)
    theirs, expected = seconds_of(plain)
    torch.testing.assert_close(x, expected[0], rtol=0, atol=1e-5)
    assert torch.equal(edges, expected[2])
    seconds = median_seconds(benchmark, graph)
    measured("photograph to graph, ms", 1e3 * seconds, at_most=150)
    measured("photograph to graph, times as fast as plainly", theirs / seconds, at_least=5)
