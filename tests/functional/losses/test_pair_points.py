import pytest
import torch

from wsss_zoo.functional import gather_points, sample_points, shared_class_regions

H, W = 6, 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_points_are_distinct_and_in_the_region_while_it_lasts():
    region = torch.rand(5, H, W, generator=generator()) > 0.5
    region[3], region[4] = False, True
    points = sample_points(region, 30, generator())
    assert points.shape == (5, 30)
    for row, inside in zip(points.tolist(), region.flatten(1), strict=True):
        assert len(set(row)) == 30
        inside_count = int(inside.sum())
        assert [bool(inside[point]) for point in row] == [i < inside_count for i in range(30)]


def test_each_pixel_of_a_region_is_as_likely_as_another():
    region = torch.zeros(2, 3, dtype=torch.bool)
    region[0], region[1, 0] = True, True
    draws = sample_points(region.expand(4000, 2, 3), 2, generator())
    counts = torch.bincount(draws.flatten(), minlength=6)
    assert counts[4:].sum() == 0
    # 2000 expected of each of four; the standard deviation is below 32.
    assert (counts[:4] - 2000).abs().max() < 5 * 32


def test_what_is_missing_is_drawn_from_the_rest():
    region = torch.zeros(300, 2, 3, dtype=torch.bool)
    region[:, 0, 0] = True
    points = sample_points(region, 2, generator())
    assert (points[:, 0] == 0).all()
    assert set(points[:, 1].tolist()) == {1, 2, 3, 4, 5}


def test_the_same_seed_draws_the_same_points():
    region = torch.ones(H, W, dtype=torch.bool)
    first, second = (sample_points(region, 9, generator(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("count", [0, H * W + 1])
def test_counts_that_cannot_be_are_refused(count):
    with pytest.raises(ValueError, match=f"count is {count} of {H * W} pixels"):
        sample_points(torch.ones(H, W).bool(), count)


def test_gathered_vectors_are_those_of_the_map():
    maps = torch.randn(2, 3, H, W, generator=generator(), requires_grad=True)
    points = sample_points(torch.ones(2, H, W).bool(), 4, generator())
    vectors = gather_points(maps, points)
    for n in range(2):
        for p, point in enumerate(points[n].tolist()):
            assert torch.equal(vectors[n, p], maps[n, :, point // W, point % W])
    vectors.sum().backward()
    assert int((maps.grad != 0).sum()) == 2 * 3 * 4


def test_regions_show_a_base_class_that_both_have():
    labels = torch.tensor([0, 1, 2, 3, 255]).repeat(50, 2, 1)
    partner = torch.tensor([3, 2, 1, 1, 255]).repeat(50, 3, 1)
    is_base = torch.tensor([True, True, False, True])
    first, second = shared_class_regions(labels, partner, is_base, generator())
    drawn = set()
    for n in range(50):
        found = [set(side[n][region[n]].tolist()) for side, region in
                 ((labels, first), (partner, second))]  # fmt: skip
        assert found[0] == found[1]
        (label,) = found[0]
        assert torch.equal(first[n], labels[n] == label)
        assert torch.equal(second[n], partner[n] == label)
        drawn.add(label)
    assert drawn == {1, 3}


def test_without_a_common_class_the_regions_are_all_base_pixels():
    labels, partner = torch.tensor([[[0, 2, 255, 254]]]), torch.tensor([[[1, 2, 1, 255]]])
    is_base = torch.tensor([True, True, False])
    first, second = shared_class_regions(labels, partner, is_base)
    assert first.flatten().tolist() == [True, False, False, False]
    assert second.flatten().tolist() == [True, False, True, False]


def test_an_unlabelled_image_has_an_empty_region():
    void = torch.full((1, 2, 2), 255)
    first, second = shared_class_regions(void, torch.zeros_like(void), torch.ones(2).bool())
    assert not first.any()
    assert second.all()


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"give \(N, H, W\) and \(N, h, w\)"):
        shared_class_regions(
            torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), torch.ones(1).bool()
        )


def test_nothing_reads_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        labels = torch.zeros(2, H, W, dtype=torch.int64, device="cuda")
        is_base = torch.zeros(4, dtype=torch.bool, device="cuda")
        region, _ = shared_class_regions(labels, labels, is_base)
        vectors = gather_points(labels[:, None], sample_points(region, 5))
        assert (vectors.device.type, vectors.shape) == ("cuda", (2, 5, 1))
