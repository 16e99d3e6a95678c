"""What is computed of mirrored maps is mirrored, or the same: regions, co-attention, CAMs."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import label_maps, sizes, tensors
from tests.fuzz.test_regions import CLASSES, segments
from wsss_zoo.functional import (
    co_attention,
    multi_scale_cam,
    paint,
    pool_regions,
    region_adjacency,
    vote,
)

AXES = st.sampled_from([(-1,), (-2,), (-2, -1)])


@given(sizes(), st.data(), AXES, sizes(6))
def test_regions(size, data, axes, grid):
    """A region keeps its number, so all that is known of it stays."""
    regions = data.draw(segments(size))
    features = data.draw(tensors(2, *grid, scales=[1.0]))
    labels = data.draw(label_maps(CLASSES, size))
    mirrored = regions.flip(axes)
    pooled = pool_regions(features, regions)
    torch.testing.assert_close(pool_regions(features.flip(axes), mirrored), pooled)
    voted = vote(labels, regions, CLASSES, 0.5)
    assert torch.equal(vote(labels.flip(axes), mirrored, CLASSES, 0.5), voted)
    assert torch.equal(paint(voted, mirrored), paint(voted, regions).flip(axes))
    assert torch.equal(region_adjacency(mirrored), region_adjacency(regions))


@given(sizes(5), sizes(5), st.data(), AXES, AXES)
def test_co_attention(size, other_size, data, axes, other_axes):
    """Each image may be mirrored by itself: positions have no place, only a likeness."""
    first, second = (data.draw(tensors(2, 3, *s, scales=[0.0, 1.0])) for s in (size, other_size))
    weight = data.draw(tensors(3, 3, scales=[0.0, 1.0, 30.0]))
    made, other = co_attention(first, second, weight)
    assert made.shape == first.shape
    assert other.shape == second.shape
    turned = co_attention(first.flip(axes), second.flip(other_axes), weight)
    torch.testing.assert_close(turned[0], made.flip(axes), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(turned[1], other.flip(other_axes), rtol=1e-3, atol=1e-4)
    # What is gathered are means of the other's features.
    low, high = second.amin((2, 3), keepdim=True), second.amax((2, 3), keepdim=True)
    assert ((made >= low - 1e-4) & (made <= high + 1e-4)).all()
    exchanged = co_attention(second, first, weight.T)
    torch.testing.assert_close(exchanged[0], other, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(exchanged[1], made, rtol=1e-3, atol=1e-4)


@given(sizes(4), st.lists(sizes(4), min_size=1, max_size=3), st.data())
def test_class_activation_maps(cells, grids, data):
    """Of the mirrored image: what were the views of the image are now those of its mirror."""
    views = [data.draw(tensors(2, 3, *grid)) for grid in grids]
    weight = data.draw(tensors(CLASSES, 3, scales=[1.0]))
    tags, size = torch.tensor([1.0, 0.0, 1.0]), (16 * cells[0], 16 * cells[1])
    cam = multi_scale_cam(views, weight, tags, size)
    assert ((cam >= 0) & (cam <= 1)).all()
    assert not cam[1].any()
    mirrored = multi_scale_cam([view.flip(0) for view in views], weight, tags, size)
    torch.testing.assert_close(mirrored, cam.flip(-1), rtol=1e-3, atol=1e-4)
