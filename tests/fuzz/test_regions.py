import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.fuzz.strategies import IGNORED, flags, images, label_maps, permutations, sizes, tensors
from wsss_zoo.functional import (
    kept_edges,
    nearest_clean,
    paint,
    pool_regions,
    region_adjacency,
    superpixels,
    temper,
    vote,
    vote_counts,
    write_back,
)
from wsss_zoo.functional.regions.pooling import num_regions

CLASSES = 3


@st.composite
def segments(draw, size=None, regions=6):
    """Region of each pixel; some ids below the highest may be of no pixel."""
    shape = size or draw(sizes())
    return torch.from_numpy(draw(hnp.arrays(np.int64, shape, elements=st.integers(0, regions - 1))))


@given(sizes(40), st.data(), st.integers(1, 60), st.sampled_from(["skimage", "auto"]))
def test_superpixels_number_every_pixel(size, data, count, backend):
    image = data.draw(images(size))
    found = superpixels(image, count, backend)
    assert found.shape == size
    assert sorted(set(found.ravel().tolist())) == list(range(found.max() + 1))
    np.testing.assert_array_equal(found, superpixels(image[:, ::-1][:, ::-1], count, backend))


@given(segments(), st.data(), sizes(9), st.integers(1, 3))
def test_pooling_is_a_mean_of_the_resized_map(regions, data, grid, channels):
    features = data.draw(tensors(channels, *grid, scales=[0.0, 1.0, 1e3]))
    pooled = pool_regions(features, regions)
    resized = F.interpolate(
        features[None].double(), tuple(regions.shape), mode="bilinear", align_corners=False
    )[0]
    assert pooled.shape == (num_regions(regions), channels)
    for index, row in enumerate(pooled.double()):
        pixels = resized[:, regions == index]
        expected = pixels.mean(1) if pixels.shape[1] else torch.zeros(channels).double()
        assert torch.allclose(row, expected, rtol=1e-4, atol=1e-4 * float(features.abs().max() + 1))


@given(sizes(), st.data(), st.floats(0, 1))
def test_votes(size, data, quorum):
    regions = data.draw(segments(size))
    labels = data.draw(label_maps(CLASSES, size))
    counts = vote_counts(labels, regions, CLASSES)
    assert counts.sum() == (labels != IGNORED).sum()
    found = vote(labels, regions, CLASSES, quorum)
    for index, label in enumerate(found.tolist()):
        pixels = labels[regions == index]
        voting = pixels[pixels != IGNORED]
        enough = len(voting) and len(voting) >= quorum * len(pixels) - 1e-9
        if label != IGNORED:
            assert (voting == label).sum() == max((voting == c).sum() for c in range(CLASSES))
        else:
            assert not enough or len(voting) <= quorum * len(pixels) + 1e-9
    painted = paint(found, regions)
    assert torch.equal(painted, found[regions])
    # What was painted votes as it was painted.
    occurring = torch.bincount(regions.flatten(), minlength=len(found)) > 0
    assert torch.equal(vote(painted, regions, CLASSES, 0.0)[occurring], found[occurring])


@given(segments(), st.data())
def test_adjacency(regions, data):
    edges = region_adjacency(regions)
    expected = set()
    for axis in (0, 1):
        first = regions.narrow(axis, 0, regions.shape[axis] - 1)
        second = regions.narrow(axis, 1, regions.shape[axis] - 1)
        for a, b in zip(first.flatten().tolist(), second.flatten().tolist(), strict=True):
            expected |= {(a, b), (b, a)} if a != b else set()
    assert list(map(tuple, edges.T.tolist())) == sorted(expected)
    assert torch.equal(region_adjacency(regions.flip(1)), edges)
    assert torch.equal(region_adjacency(regions.T), edges)
    x = data.draw(tensors(num_regions(regions), 4, scales=[0.0, 1e-6, 1.0, 1e4]))
    kept = kept_edges(x, edges)
    names = list(map(tuple, edges.T.tolist()))
    both = {pair for pair, keep in zip(names, kept.tolist(), strict=True) if keep}
    assert both == {(b, a) for a, b in both}
    assert {a for a, _ in both} == {a for a, _ in expected}


@given(sizes(), st.data(), st.sampled_from(["all", "keep_nodes", "keep_pixels"]))
def test_labels_written_back(size, data, rule):
    regions = data.draw(segments(size))
    count = num_regions(regions)
    nodes, votes = (data.draw(label_maps(CLASSES, (count,))) for _ in range(2))
    label = data.draw(label_maps(CLASSES, size))
    clean = data.draw(flags(*size)) & (label != IGNORED)
    found = write_back(nodes, votes, regions, label, clean, rule)
    if rule == "all":
        assert torch.equal(found, nodes[regions])
    kept = votes[regions] != IGNORED if rule == "keep_nodes" else clean
    if rule == "keep_pixels":
        assert torch.equal(found[kept], label[kept])


@given(segments(), st.data())
def test_nearest_labels(regions, data):
    count = num_regions(regions)
    nodes = data.draw(label_maps(CLASSES, (count,)))
    x = data.draw(tensors(count, 2, scales=[0.0, 1.0]))
    found = nearest_clean(nodes, x, region_adjacency(regions))
    known = nodes != IGNORED
    assert torch.equal(found[known], nodes[known])
    if known.any():
        assert set(found.tolist()) <= set(nodes[known].tolist())
    else:
        assert (found == IGNORED).all()


@given(st.data(), st.integers(2, 5), st.floats(0.01, 1.0))
def test_tempered_probabilities(data, classes, share):
    probs = data.draw(tensors(classes, 3, 4)).softmax(0)
    cap = 1 / classes + share * (1 - 1 / classes)
    found = temper(probs, cap)
    assert torch.allclose(found.sum(0), torch.ones(3, 4), atol=1e-5)
    assert (found <= max(cap, 1 / classes) + 1e-5).all()
    order = data.draw(permutations(classes))
    assert torch.allclose(temper(probs[order], cap), found[order], atol=1e-6)
