from itertools import permutations as orders

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import SCALES, flags, permutations, tensors
from wsss_zoo.functional import match_proposals, semantic_inference
from wsss_zoo.functional.proposals.mask_matching import assign_proposals, proposal_costs

CLASSES = 3


@st.composite
def problems(draw, scales=SCALES):
    """Proposals and targets of one image; there may be no target, or more than proposals."""
    queries, targets = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    class_logits = draw(tensors(queries, CLASSES + 1, scales=scales))
    mask_logits = draw(tensors(queries, height, width, scales=scales))
    labels = torch.tensor(
        draw(st.lists(st.integers(0, CLASSES - 1), min_size=targets, max_size=targets))
    ).long()
    masks = draw(flags(targets, height, width)).float()
    return class_logits, mask_logits, labels, masks, draw(flags(targets))


def costs_of(problem):
    return proposal_costs(*(part[None] for part in problem))[0]


def cost_of(costs, match):
    return float(costs[match[0], match[1]].sum())


def least(costs):
    queries, targets = costs.shape
    if targets <= queries:
        choices = orders(range(queries), targets)
        return min(sum(float(costs[q, t]) for t, q in enumerate(c)) for c in choices)
    choices = orders(range(targets), queries)
    return min(sum(float(costs[q, t]) for q, t in enumerate(c)) for c in choices)


@given(problems())
def test_as_good_as_all_assignments(problem):
    queries, targets = match_proposals(*problem)
    count = min(len(problem[0]), len(problem[2]))
    assert len(queries) == len(targets) == count
    assert len(set(queries.tolist())) == len(set(targets.tolist())) == count
    assert queries.tolist() == sorted(queries.tolist())
    costs = costs_of(problem)
    assert costs.isfinite().all()
    assert cost_of(costs, (queries, targets)) == pytest.approx(least(costs), rel=1e-5, abs=1e-4)


@given(problems(), st.data())
def test_order_of_targets_and_proposals(problem, data):
    class_logits, mask_logits, labels, masks, has_mask = problem
    by_target, by_query = (
        data.draw(permutations(count)) for count in (len(labels), len(class_logits))
    )
    costs = costs_of(problem)
    moved = costs_of(
        (
            class_logits[by_query],
            mask_logits[by_query],
            labels[by_target.long()],
            masks[by_target.long()],
            has_mask[by_target.long()],
        )
    )
    assert torch.allclose(moved, costs[by_query][:, by_target.long()], rtol=1e-4, atol=1e-4)
    first = assign_proposals(costs[None], [len(labels)])[0]
    second = assign_proposals(moved[None], [len(labels)])[0]
    assert cost_of(moved, second) == pytest.approx(cost_of(costs, first), rel=1e-4, abs=1e-3)


@given(problems())
def test_what_a_mask_holds_does_not_count_where_it_is_not_known(problem):
    class_logits, mask_logits, labels, masks, has_mask = problem
    other = torch.where(has_mask[:, None, None], masks, 1 - masks)
    costs = costs_of((class_logits, mask_logits, labels, other, has_mask))
    assert torch.equal(costs, costs_of(problem))


@given(problems(), st.sampled_from([float("nan"), float("inf"), float("-inf")]), st.data())
def test_logits_that_are_not_finite(problem, value, data):
    class_logits, mask_logits = problem[0].clone(), problem[1].clone()
    broken = data.draw(st.sampled_from([class_logits, mask_logits]))
    broken[data.draw(st.integers(0, len(broken) - 1))] = value
    match = match_proposals(class_logits, mask_logits, *problem[2:])
    assert len(match[0]) == min(len(class_logits), len(problem[2]))


@given(problems(), st.data())
def test_semantic_inference(problem, data):
    class_logits, mask_logits = problem[:2]
    scores = semantic_inference(class_logits, mask_logits)
    assert ((scores >= 0) & (scores <= len(class_logits) + 1e-4)).all()
    order = data.draw(permutations(CLASSES))
    moved = torch.cat([class_logits[:, :-1][:, order], class_logits[:, -1:]], 1)
    assert torch.allclose(semantic_inference(moved, mask_logits), scores[order], atol=1e-5)
    flipped = semantic_inference(class_logits, mask_logits.flip(2))
    assert torch.allclose(flipped, scores.flip(2), atol=1e-5)
