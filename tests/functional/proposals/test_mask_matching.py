import math
from itertools import permutations

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    assign_proposals,
    match_proposal_batch,
    match_proposals,
    proposal_costs,
)

Q, K, H, W = 5, 4, 6, 7


def case(T=3, seed=0, scale=3.0):
    """An image with T targets, all of them with a mask that is not empty."""
    rng = torch.Generator().manual_seed(seed)
    masks = torch.rand(T, H, W, generator=rng) > 0.6
    masks[:, 0, 0] = True
    return (
        torch.randn(Q, K + 1, generator=rng),
        scale * torch.randn(Q, H, W, generator=rng),
        torch.randperm(K, generator=rng)[:T],
        masks,
        torch.ones(T, dtype=torch.bool),
    )


def naive_cost(class_logits, mask_logits, label, mask, has_mask):
    """Cost of one proposal for one target, a pixel at a time."""
    exponentials = [math.exp(score) for score in class_logits.tolist()]
    cost = -exponentials[label] / sum(exponentials)
    if not has_mask or not mask.any():
        return cost
    focal, overlap, size, known = 0.0, 0.0, 0.0, 0
    for score, inside in zip(mask_logits.flatten().tolist(), mask.flatten().tolist(), strict=True):
        m = 1 / (1 + math.exp(-score))
        p, alpha = (m, 0.25) if inside else (1 - m, 0.75)
        focal -= alpha * (1 - p) ** 2 * math.log(p)
        overlap, size, known = overlap + m * inside, size + m, known + inside
    return cost + 20 * focal / mask.numel() + 1 - (2 * overlap + 1) / (size + known + 1)


def naive_costs(class_logits, mask_logits, labels, masks, has_mask):
    targets = list(zip(labels.tolist(), masks, has_mask.tolist(), strict=True))
    return torch.tensor(
        [
            [naive_cost(*proposal, *target) for target in targets]
            for proposal in zip(class_logits, mask_logits, strict=True)
        ]
    )


def best(costs):
    """Least sum over all ways to give each target a proposal of its own."""
    queries, targets = costs.shape
    return min(
        sum(costs[query, target].item() for target, query in enumerate(chosen))
        for chosen in permutations(range(queries), targets)
    )


def batched(image):
    return [part[None] for part in image]


@pytest.mark.parametrize("block", [1, 37, 2**18])
def test_costs_equal_a_pixel_at_a_time(block, monkeypatch):
    monkeypatch.setattr("wsss_zoo.functional.proposals.mask_matching.CPU_BLOCK", block)
    first, second = case(), case(seed=1)
    first[4][1] = False
    second[3][2] = False
    costs = proposal_costs(*(torch.stack(parts) for parts in zip(first, second, strict=True)))
    expected = torch.stack([naive_costs(*first), naive_costs(*second)])
    torch.testing.assert_close(costs, expected, rtol=1e-5, atol=1e-5)


@each("seed", range(8))
def test_matching_is_the_best_of_all_permutations(seed):
    image = case(seed=seed)
    image[4][seed % 3] = seed % 2 == 0
    costs = naive_costs(*image)
    queries, targets = match_proposals(*image)
    assert queries.tolist() == sorted(queries.tolist())
    assert sorted(targets.tolist()) == [0, 1, 2]
    assert costs[queries, targets].sum().item() == pytest.approx(best(costs), abs=1e-5)


def test_a_vanished_mask_keeps_labels_and_masks_together():
    """The first target's mask is empty: the indices stay those of the targets as given."""
    masks = torch.zeros(3, 4, 4)
    masks[1, :2], masks[2, 2:] = 1, 1
    mask_logits = torch.stack([20 * masks[2] - 10, 20 * masks[1] - 10, torch.zeros(4, 4)])
    class_logits = torch.zeros(3, 4)
    class_logits[2, 0] = 1
    labels, has_mask = torch.arange(3), torch.tensor([True, True, True])
    queries, targets = match_proposals(class_logits, mask_logits, labels, masks, has_mask)
    assert (queries.tolist(), targets.tolist()) == ([0, 1, 2], [2, 1, 0])


def test_order_of_targets_and_proposals_does_not_matter():
    class_logits, mask_logits, labels, masks, has_mask = case(4)
    has_mask[2] = False
    match = match_proposals(class_logits, mask_logits, labels, masks, has_mask)
    pairs = set(zip(*(index.tolist() for index in match), strict=True))
    rows, columns = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 3, 1])
    moved = match_proposals(
        class_logits[rows], mask_logits[rows], labels[columns], masks[columns], has_mask[columns]
    )
    back = zip(rows[moved[0]].tolist(), columns[moved[1]].tolist(), strict=True)
    assert set(back) == pairs


def test_what_a_mask_holds_does_not_matter_where_it_is_not_known():
    image = case()
    image[4][:] = False
    costs = proposal_costs(*batched(image))
    image[3].logical_not_()
    assert torch.equal(proposal_costs(*batched(image)), costs)
    expected = -image[0].softmax(1)[:, image[2]]
    torch.testing.assert_close(costs[0], expected)


@each("value", [1e4, -1e4, math.inf, -math.inf, math.nan])
def test_saturated_logits_never_raise(value):
    image = case()
    for part in (0, 1):
        image[part][:3] = value
    image[4][0] = False
    assert proposal_costs(*batched(image)).isfinite().all()
    queries, targets = match_proposals(*image)
    assert len(set(queries.tolist())) == 3
    assert sorted(targets.tolist()) == [0, 1, 2]


def test_saturated_costs_are_those_of_the_formula():
    mask_logits = torch.full((2, H, W), 1e4)
    mask_logits[1] = -1e4
    masks = torch.zeros(1, 1, H, W)
    masks[..., :3] = 1
    costs = proposal_costs(
        torch.zeros(1, 2, K + 1), mask_logits[None], torch.zeros(1, 1).long(), masks,
        torch.ones(1, 1).bool(),
    )  # fmt: skip
    inside, pixels = 3 * H, H * W
    wrong = torch.tensor([0.75e4 * (pixels - inside), 0.25e4 * inside]) * 20 / pixels
    dice = torch.tensor([1 - (2 * inside + 1) / (pixels + inside + 1), 1 - 1 / (inside + 1)])
    torch.testing.assert_close(costs[0, :, 0], wrong + dice - 1 / (K + 1), rtol=1e-5, atol=0)


def test_a_proposal_that_overflowed_is_taken_last():
    image = case(4)
    image[1][2, 0, 0] = math.inf
    assert 2 not in match_proposals(*image)[0].tolist()


def test_no_target():
    queries, targets = match_proposals(*case(0))
    assert queries.shape == targets.shape == (0,)
    assert queries.dtype == targets.dtype == torch.int64


def test_more_targets_than_proposals():
    class_logits, mask_logits, *targets = case(4)
    costs = naive_costs(class_logits[:2], mask_logits[:2], *targets)
    queries, chosen = match_proposals(class_logits[:2], mask_logits[:2], *targets)
    assert queries.tolist() == [0, 1]
    assert costs[queries, chosen].sum().item() == pytest.approx(best(costs.T), abs=1e-5)


def test_a_batch_equals_its_images():
    images = [case(T, seed=T) for T in (3, 0, 1, 4)]
    images[3][4][1:3] = False
    columns = list(zip(*images, strict=True))
    matches = match_proposal_batch(torch.stack(columns[0]), torch.stack(columns[1]), *columns[2:])
    for match, image in zip(matches, images, strict=True):
        for ours, alone in zip(match, match_proposals(*image), strict=True):
            assert torch.equal(ours, alone)


def test_an_empty_batch_and_one_without_targets():
    class_logits, mask_logits = torch.zeros(0, Q, K + 1), torch.zeros(0, Q, H, W)
    assert match_proposal_batch(class_logits, mask_logits, [], [], []) == []
    images = [case(0), case(0)]
    columns = list(zip(*images, strict=True))
    matches = match_proposal_batch(torch.stack(columns[0]), torch.stack(columns[1]), *columns[2:])
    assert [(len(queries), len(targets)) for queries, targets in matches] == [(0, 0), (0, 0)]


@each("autocast", [False, True])
def test_half_precision_gives_float32_costs(autocast):
    image = case()
    halves = [part.bfloat16() for part in image[:2]]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        costs = proposal_costs(*batched([*halves, *image[2:]]))
    expected = proposal_costs(*batched([*(half.float() for half in halves), *image[2:]]))
    assert costs.dtype == torch.float32
    torch.testing.assert_close(costs, expected)


def test_no_gradient():
    image = case()
    for part in image[:2]:
        part.requires_grad_()
    assert not proposal_costs(*batched(image)).requires_grad


def test_the_given_tensors_are_left_alone():
    image = case()
    before = [part.clone() for part in image]
    match_proposals(*image)
    assert all(torch.equal(*pair) for pair in zip(image, before, strict=True))


def test_what_does_not_fit_is_refused():
    class_logits, mask_logits, labels, masks, has_mask = case()
    with pytest.raises(ValueError, match="resized"):
        match_proposals(class_logits, mask_logits, labels, masks[:, ::2], has_mask)
    with pytest.raises(ValueError, match="do not fit"):
        match_proposals(class_logits, mask_logits, labels[:2], masks, has_mask)
    with pytest.raises(ValueError, match="one of each per target"):
        match_proposal_batch(
            class_logits[None], mask_logits[None], [labels], [masks[:2]], [has_mask]
        )
    for wrong in (-1, class_logits.shape[-1] - 1):
        with pytest.raises(ValueError, match="each must be one of the"):
            match_proposals(
                class_logits, mask_logits, torch.full_like(labels, wrong), masks, has_mask
            )
    for counts in ([1], [1, 4], [-1, 0]):
        with pytest.raises(ValueError, match="give 2 numbers of targets from 0 to 3"):
            assign_proposals(torch.zeros(2, Q, 3), counts)


def test_costs_never_read_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        masks = torch.zeros(2, 3, H, W, device="cuda")
        labels = torch.zeros(2, 3, dtype=torch.int64, device="cuda")
        logits = torch.zeros(2, Q, K + 1, device="cuda"), torch.zeros(2, Q, H, W, device="cuda")
        costs = proposal_costs(*logits, labels, masks, labels == 0)
        assert (costs.device.type, costs.shape) == ("cuda", (2, Q, 3))
