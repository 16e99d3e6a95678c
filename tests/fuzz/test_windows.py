import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import flags, sizes, tensors
from wsss_zoo.deploy.tiles import tiles_of
from wsss_zoo.functional import cutmix, draw_cutmix_boxes, draw_cutmix_masks, sliding_windows
from wsss_zoo.functional.views.windows import merge_windows


@st.composite
def windows(draw):
    """A size, and windows over it."""
    size = draw(sizes(40))
    crop = draw(st.integers(1, 24))
    last = draw(st.sampled_from(["shift", "truncate"]))
    return size, crop, sliding_windows(*size, crop, draw(st.integers(1, crop)), last)


def merged(size, boxes, maps_of):
    """Maps put together, and how often each pixel was given away."""
    whole, times = torch.full((1, *size), torch.nan), torch.zeros(size)
    for (y0, x0, y1, x1), mean in merge_windows(boxes, maps_of):
        whole[:, y0:y1, x0:x1] = mean
        times[y0:y1, x0:x1] += 1
    return whole, times


@given(windows())
def test_every_pixel_is_seen(drawn):
    (height, width), crop, boxes = drawn
    covered = torch.zeros(height, width)
    for y0, x0, y1, x1 in boxes:
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        assert y1 - y0 <= crop
        assert x1 - x0 <= crop
        covered[y0:y1, x0:x1] += 1
    assert (covered >= 1).all()
    assert len(set(boxes)) == len(boxes)


@given(windows(), st.floats(-100, 100, width=32))
def test_constants_stay_and_weights_sum_to_one(drawn, value):
    size, _, boxes = drawn
    whole, times = merged(
        size, boxes, lambda box: torch.full((1, box[2] - box[0], box[3] - box[1]), value)
    )
    assert (times == 1).all()
    assert torch.allclose(whole, torch.tensor(value), rtol=1e-5, atol=1e-5)


@given(windows(), st.data())
def test_merging_is_the_mean_of_what_covers_a_pixel(drawn, data):
    size, _, boxes = drawn
    noise = data.draw(tensors(len(boxes), *size, scales=[1.0]))
    total, count = torch.zeros(1, *size), torch.zeros(size)
    for index, (y0, x0, y1, x1) in enumerate(boxes):
        total[0, y0:y1, x0:x1] += noise[index, y0:y1, x0:x1]
        count[y0:y1, x0:x1] += 1

    def maps_of(box):
        y0, x0, y1, x1 = box
        return noise[boxes.index(box), y0:y1, x0:x1][None]

    whole, _ = merged(size, boxes, maps_of)
    assert torch.allclose(whole, total / count, atol=1e-5)


@given(sizes(60), st.integers(1, 30), st.integers(1, 4000))
def test_tiles_cover_an_image_once_merged(size, tile, most):
    boxes = tiles_of(*size, tile, most)
    _, times = merged(size, boxes, lambda box: torch.ones(1, box[2] - box[0], box[3] - box[1]))
    assert (times == 1).all()
    assert len(boxes) == 1 or all(y1 - y0 <= tile and x1 - x0 <= tile for y0, x0, y1, x1 in boxes)


@given(sizes(), st.data())
def test_cutmix(size, data):
    a, b = (data.draw(tensors(2, 3, *size, scales=[1.0])) for _ in range(2))
    mask = data.draw(flags(2, *size))
    mixed = cutmix(a, b, mask)
    where = mask[:, None].expand_as(a)
    assert torch.equal(mixed[where], b[where])
    assert torch.equal(mixed[~where], a[~where])
    assert torch.equal(cutmix(b, a, ~mask), mixed)
    assert torch.equal(cutmix(a.flip(3), b.flip(3), mask.flip(2)), mixed.flip(3))
    labels = cutmix(a[:, 0], b[:, 0], mask)
    assert torch.equal(labels, mixed[:, 0])


@given(sizes(40), st.integers(0, 3), st.integers(0, 2**31), st.floats(0, 1), st.integers(1, 4))
def test_drawn_masks(size, count, seed, prob, boxes):
    torch.manual_seed(seed)
    one = draw_cutmix_boxes(count, size, prob)
    several = draw_cutmix_masks(count, size, boxes)
    for mask in (one, several):
        assert mask.shape == (count, *size)
        assert mask.dtype == torch.bool
    for mask in one:
        # A box: what its rows and columns span is all of it.
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)
        for line in (rows, columns):
            inside = line.nonzero().flatten()
            assert len(inside) == 0 or len(inside) == inside[-1] - inside[0] + 1
