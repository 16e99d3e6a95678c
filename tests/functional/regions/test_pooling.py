"""Pooling against resizing and averaging in float64; votes and painting against loops."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import majority, paint, pool_regions, vote, vote_counts
from wsss_zoo.functional.regions.pooling import num_regions

seeds = each("seed", range(30))


def resized_mean(features, segments):
    """Resize, then the mean over each region, one after the other."""
    resized = F.interpolate(
        features[None].double(), segments.shape, mode="bilinear", align_corners=False
    )[0]
    means = torch.zeros(int(segments.max()) + 1, len(features), dtype=torch.float64)
    for region in segments.unique():
        means[region] = resized[:, segments == region].mean(1)
    return means.float()


def blocks(height, width, rows=3, columns=4):
    """Regions in a coarse grid, some of them in two pieces."""
    y = torch.arange(height) * rows // height
    x = torch.arange(width) * columns // width
    return (y[:, None] * columns + x) % (rows * columns - 1)


def noise(height, width, regions):
    return torch.randint(regions, (height, width))


@each(
    ("cells", "pixels"),
    [
        ((5, 7), (37, 50)),
        ((47, 63), (94, 125)),
        ((23, 31), (23, 31)),
        ((60, 80), (23, 31)),
        ((200, 3), (20, 40)),
        ((1, 1), (15, 20)),
        ((1, 6), (1, 40)),
        ((4, 4), (1, 1)),
    ],
)
@pytest.mark.parametrize(
    "segments_of", [blocks, lambda h, w: noise(h, w, 9)], ids=["blocks", "noise"]
)
def test_pooling_equals_resizing_and_averaging(cells, pixels, segments_of):
    torch.manual_seed(0)
    features, segments = torch.randn(6, *cells), segments_of(*pixels)
    pooled = pool_regions(features, segments)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, resized_mean(features, segments), rtol=0, atol=1e-5)


@seeds
def test_pooling_of_any_sizes(seed):
    torch.manual_seed(seed)
    h, w, regions = torch.randint(1, 13, (3,)).tolist()
    height, width = torch.randint(1, 25, (2,)).tolist()
    features, segments = torch.randn(2, h, w), noise(height, width, regions)
    expected = resized_mean(features, segments)
    torch.testing.assert_close(pool_regions(features, segments), expected, rtol=0, atol=1e-5)


@seeds
def test_renumbered_regions_are_the_same_regions(seed):
    torch.manual_seed(seed)
    order = torch.randperm(6)
    features, segments = torch.randn(3, 4, 5), noise(9, 11, 6)
    segments[0, :6] = torch.arange(6)
    labels = torch.randint(3, segments.shape)
    for function in (
        lambda regions: pool_regions(features, regions),
        lambda regions: vote_counts(labels, regions, 3),
        lambda regions: vote(labels, regions, 3),
    ):
        torch.testing.assert_close(function(order[segments])[order], function(segments))


def test_regions_of_no_pixel_are_zero():
    pooled = pool_regions(torch.ones(2, 3, 3), torch.tensor([[0, 0], [3, 3]]))
    assert pooled.tolist() == [[1, 1], [0, 0], [0, 0], [1, 1]]


def test_one_large_region_loses_no_precision():
    features = torch.linspace(0, 1, 12).view(1, 3, 4)
    segments = torch.zeros(600, 800, dtype=torch.int64)
    torch.testing.assert_close(
        pool_regions(features, segments), resized_mean(features, segments), rtol=0, atol=1e-6
    )


@each("dtype", [torch.float16, torch.bfloat16, torch.float64])
@each("autocast", [False, True])
def test_sums_in_float32_whatever_comes_in(dtype, autocast):
    torch.manual_seed(0)
    # Sums of these overflow float16.
    features, segments = (1e4 * torch.randn(3, 5, 7)).to(dtype), blocks(40, 50)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        pooled = pool_regions(features, segments)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, pool_regions(features.float(), segments))
    torch.testing.assert_close(pooled, resized_mean(features, segments), rtol=1e-5, atol=0.05)


@each("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16])
def test_segments_of_any_integer_type(dtype):
    torch.manual_seed(0)
    features, segments = torch.randn(3, 5, 7), noise(20, 30, 200)
    labels = torch.randint(4, segments.shape)
    narrow = segments.to(dtype)
    assert torch.equal(pool_regions(features, narrow), pool_regions(features, segments))
    assert torch.equal(vote(labels, narrow, 4), vote(labels, segments, 4))
    assert torch.equal(paint(torch.arange(200), narrow), segments)


def test_maps_that_are_views():
    torch.manual_seed(0)
    features, segments = torch.randn(7, 5, 3).permute(2, 1, 0), noise(30, 20, 8).T
    assert torch.equal(
        pool_regions(features, segments),
        pool_regions(features.contiguous(), segments.contiguous()),
    )


@each(
    ("features", "told"),
    [
        (torch.zeros(1, 3, 4, 4), r"shape \(1, 3, 4, 4\)"),
        (torch.zeros(3, 0, 4), r"shape \(3, 0, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "type torch.int64"),
    ],
)
def test_what_is_no_feature_map(features, told):
    with pytest.raises(ValueError, match=told):
        pool_regions(features, torch.zeros(8, 8, dtype=torch.int64))


@each(
    ("segments", "told"),
    [
        (torch.zeros(1, 4, 4, dtype=torch.int64), r"shape \(1, 4, 4\)"),
        (torch.zeros(0, 4, dtype=torch.int64), r"shape \(0, 4\)"),
        (torch.zeros(4, 4), "are torch.float32"),
        (torch.zeros(4, 4, dtype=torch.bool), "are torch.bool"),
        (torch.tensor([[0, -1]]), "hold the id -1"),
    ],
)
def test_what_are_no_segments(segments, told):
    for function in (
        num_regions,
        lambda regions: pool_regions(torch.zeros(1, 2, 2), regions),
        lambda regions: paint(torch.zeros(9), regions),
        lambda regions: vote_counts(torch.zeros(regions.shape, dtype=torch.int64), regions, 2),
    ):
        with pytest.raises(ValueError, match=told):
            function(segments)


def looped_vote(labels, segments, num_classes, quorum, ignore_index):
    winners = []
    for region in range(int(segments.max()) + 1):
        pixels = labels[segments == region].tolist()
        votes = Counter(label for label in pixels if label != ignore_index)
        if not votes or sum(votes.values()) / len(pixels) < quorum:
            winners.append(ignore_index)
        else:
            winners.append(max(range(num_classes), key=lambda label: (votes[label], -label)))
    return torch.tensor(winners)


@each("quorum", [0.0, 0.1, 0.5, 0.7, 1.0])
@each("ignore_index", [255, 0, -1])
def test_vote_equals_the_loop(quorum, ignore_index):
    torch.manual_seed(0)
    # Few pixels in each region: ties, and shares of exactly the quorum.
    segments, labels = noise(20, 30, 90), torch.randint(4, (20, 30))
    labels[torch.rand(20, 30) < 0.5] = ignore_index
    expected = looped_vote(labels, segments, 4, quorum, ignore_index)
    voted = vote(labels, segments, 4, quorum, ignore_index)
    assert voted.dtype == torch.int64
    assert torch.equal(voted, expected)
    assert {0, 1, 2, 3} <= set(expected.tolist()) or quorum > 0.5


@seeds
@each("quorum", [0.0, 0.25, 0.5])
def test_vote_on_any_line_of_pixels(quorum, seed):
    torch.manual_seed(seed)
    regions, width = torch.randint(1, 25, (2,)).tolist()
    segments = noise(1, width, regions)
    labels = torch.randint(4, (1, width))
    labels[labels == 3] = 255
    expected = looped_vote(labels, segments, 3, quorum, 255)
    assert torch.equal(vote(labels, segments, 3, quorum), expected)


@each("quorum", [0.0, 0.5])
def test_nobody_votes(quorum):
    labels = torch.full((4, 5), 255, dtype=torch.uint8)
    assert vote(labels, noise(4, 5, 1), 3, quorum).tolist() == [255]


def test_labels_of_bytes_and_many_classes():
    labels = torch.tensor([[200, 200, 199, 255]], dtype=torch.uint8)
    segments = torch.tensor([[1, 1, 1, 0]], dtype=torch.uint8)
    assert vote(labels, segments, 201).tolist() == [255, 200]


def test_counts_of_labels_equal_the_loop():
    torch.manual_seed(0)
    segments, labels = noise(15, 16, 12), torch.randint(5, (15, 16))
    labels[labels == 4] = 255
    counts = vote_counts(labels, segments, 4)
    assert counts.shape == (12, 4)
    for region in range(12):
        for label in range(4):
            expected = ((segments == region) & (labels == label)).sum()
            assert counts[region, label] == expected


def test_quorum_of_exactly_the_share():
    # 3 / 30 >= 0.1 and 55 / 100 >= 0.55 where products are rounded up.
    counts, sizes = torch.tensor([[3], [55], [54]]), torch.tensor([30, 100, 100])
    assert majority(counts, sizes, 0.1).tolist() == [0, 0, 0]
    assert majority(counts, sizes, 0.55).tolist() == [255, 0, 255]


def test_painted_votes_of_pure_regions_are_the_labels():
    torch.manual_seed(0)
    segments = blocks(20, 30)
    node_labels = torch.randint(5, (int(segments.max()) + 1,), dtype=torch.uint8)
    painted = paint(node_labels, segments)
    assert painted.dtype == torch.uint8
    assert torch.equal(vote(painted, segments, 5), node_labels.long())


def test_arguments_that_do_not_fit():
    segments, labels = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match=r"labels \(1, 2\) and segments \(1, 3\) differ"):
        vote_counts(labels[:, :2], segments, 3)
    with pytest.raises(ValueError, match=r"labels are torch\.float32"):
        vote_counts(labels.float(), segments, 3)
    with pytest.raises(ValueError, match="num_classes is 0"):
        vote_counts(labels, segments, 0)
    with pytest.raises(ValueError, match=r"labels hold 2, outside \[0, 2\)"):
        vote_counts(labels, segments, 2)
    with pytest.raises(ValueError, match="quorum is 50"):
        vote(labels, segments, 3, quorum=50)
    with pytest.raises(ValueError, match=r"counts \(2, 3\) and sizes \(3,\)"):
        majority(torch.zeros(2, 3), torch.zeros(3))
    for node_labels in (torch.zeros(2), torch.zeros(3, 1)):
        with pytest.raises(ValueError, match="the segments hold 3 regions"):
            paint(node_labels, segments)
