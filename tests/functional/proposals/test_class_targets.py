import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.each import each
from wsss_zoo.functional import class_targets, covered_pixels, target_masks

K = 6


def case(seed=0):
    rng = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, K, (4, 3, 5), generator=rng)
    mask[torch.rand(mask.shape, generator=rng) < 0.6] = 255
    return mask, (torch.rand(4, K, generator=rng) < 0.4).float()


def naive(mask, tags):
    """For each image the classes shown and those that are only tagged."""
    rows = []
    for n in range(len(mask)):
        shown = sorted({int(value) for value in mask[n].flatten()} & set(range(K)))
        rows.append(
            (shown, [c for c in range(K) if tags is not None and tags[n, c] and c not in shown])
        )
    return rows


def check(targets, rows):
    assert targets.counts == [len(shown) + len(tagged) for shown, tagged in rows]
    assert targets.mask_counts == [len(shown) for shown, _ in rows]
    T = max(targets.counts)
    assert targets.labels.tolist() == [
        [*shown, *tagged, *[0] * (T - len(shown) - len(tagged))] for shown, tagged in rows
    ]
    assert targets.has_mask.tolist() == [[t < len(shown) for t in range(T)] for shown, _ in rows]
    assert targets.labels.dtype == torch.int64
    assert targets.labels.shape == targets.has_mask.shape == (len(rows), T)
    assert targets.host_labels.tolist() == targets.labels.tolist()


@each("seed", range(5))
@each("tagged", [True, False])
def test_equals_a_loop(seed, tagged):
    mask, tags = case(seed)
    tags = tags if tagged else None
    targets, rows = class_targets(mask, K, tags), naive(mask, tags)
    check(targets, rows)
    masks = target_masks(targets, mask)
    assert masks.dtype == torch.bool
    for n, (shown, only_tagged) in enumerate(rows):
        for t, label in enumerate(shown):
            assert torch.equal(masks[n, t], mask[n] == label)
        assert not masks[n, len(shown) :].any()
        assert len(only_tagged) == targets.counts[n] - len(shown)
    small = mask[:, ::2, ::3]
    assert torch.equal(target_masks(targets, small), masks[..., ::2, ::3])


def test_what_is_outside_the_classes_is_ignored():
    mask = torch.tensor([[[-1, K, 254, 255, 1000, K - 1]], [[-7, 255, 255, 255, 255, 255]]])
    check(class_targets(mask, K), [([K - 1], []), ([], [])])
    assert covered_pixels(mask, K).sum() == 1
    assert covered_pixels(mask, K)[0, 0, -1]


def test_nothing_but_255():
    mask, tags = torch.full((2, 3, 3), 255), torch.zeros(2, K)
    empty = class_targets(mask, K, tags)
    assert empty.labels.shape == empty.host_labels.shape == (2, 0)
    assert target_masks(empty, mask).shape == (2, 0, 3, 3)
    assert (empty.counts, empty.mask_counts) == ([0, 0], [0, 0])
    tags[1, [1, 4]] = 1
    check(class_targets(mask, K, tags), [([], []), ([], [1, 4])])


def test_a_class_that_is_tagged_and_shown_has_its_mask():
    mask = torch.tensor([[[3, 255]]])
    check(class_targets(mask, K, torch.tensor([[0, 1, 0, 1, 0, 0]])), [([3], [1])])


def test_a_mask_that_vanishes_at_the_lower_resolution_stays_a_target_in_its_place():
    mask = torch.tensor([[[2, 0, 2, 4]]])
    targets = class_targets(mask, K, torch.eye(K)[5:])
    assert targets.labels.tolist() == [[0, 2, 4, 5]]
    assert target_masks(targets, mask[..., ::2]).flatten(2).any(2).tolist() == [
        [False, True, False, False]
    ]


def test_tags_of_another_shape():
    with pytest.raises(ValueError, match=r"tags have shape \(4, 5\); give \(4, 6\)"):
        class_targets(case()[0], K, torch.zeros(4, K - 1))


def test_masks_and_cover_never_read_the_device():
    targets = class_targets(*((case()[0], K)))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        mask = torch.zeros(4, 3, 5, dtype=torch.int64)
        moved = targets._replace(labels=targets.labels.cuda(), has_mask=targets.has_mask.cuda())
        assert target_masks(moved, mask).device.type == "cuda"
        assert covered_pixels(mask, K).device.type == "cuda"
