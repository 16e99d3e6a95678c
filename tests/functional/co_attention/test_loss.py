"""The three losses of a pair against sums over images and classes."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import co_attention_loss


def case(seed=0, alone=True):
    generator = torch.Generator().manual_seed(seed)
    scores = [tuple(3 * torch.randn(3, 4, generator=generator) for _ in range(2)) for _ in range(3)]
    labels_m = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]])
    labels_n = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0]])
    return *scores, labels_m, labels_n if alone else labels_m.clone()


def cross_entropy(scores, tags):
    """Mean over rows and classes, a number at a time."""
    total = 0.0
    for row, wanted in zip(scores.tolist(), tags.tolist(), strict=True):
        for score, tag in zip(row, wanted, strict=True):
            probability = 1 / (1 + math.exp(-score))
            total -= math.log(probability if tag else 1 - probability)
    return total / scores.numel()


def alone_in(first, second):
    return torch.tensor(
        [
            [int(a and not b) for a, b in zip(*rows, strict=True)]
            for rows in zip(first, second, strict=True)
        ]
    )


@pytest.mark.parametrize("variant", ["paper", "code"])
@each("alone", [True, False])
def test_equals_the_sums(variant, alone):
    basic, common, exclusive, labels_m, labels_n = case(alone=alone)
    both = labels_m & labels_n
    own = cross_entropy(basic[0], labels_m) + cross_entropy(basic[1], labels_n)
    shared = cross_entropy(common[0], both) + cross_entropy(common[1], both)
    only = 0.0
    for scores, tags in (
        (exclusive[0], alone_in(labels_m, labels_n)),
        (exclusive[1], alone_in(labels_n, labels_m)),
    ):
        if variant == "paper" or tags.sum() > 0:
            only += cross_entropy(scores, tags)
    if variant == "code":
        own = cross_entropy(torch.cat(basic), torch.cat([labels_m, labels_n]))
        shared = cross_entropy(torch.cat(common), torch.cat([both, both]))
    expected = {"basic": own, "common": shared, "exclusive": only, "total": own + shared + only}
    losses = co_attention_loss(basic, common, exclusive, labels_m, labels_n, variant)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(
        expected, rel=1e-5
    )


def test_one_side_with_exclusive_tags_counts_alone():
    basic, common, exclusive, labels_m, _ = case()
    labels_n = labels_m.clone()
    labels_n[0, 1] = 1
    losses = co_attention_loss(basic, common, exclusive, labels_m, labels_n, "code")
    only = cross_entropy(exclusive[1], alone_in(labels_n, labels_m))
    assert losses["exclusive"].item() == pytest.approx(only, rel=1e-5)


def test_a_side_that_counts_0_sends_no_gradient():
    basic, common, exclusive, labels_m, labels_n = case(alone=False)
    for scores in exclusive:
        scores.requires_grad_()
    co_attention_loss(basic, common, exclusive, labels_m, labels_n, "code")["total"].backward()
    assert all(torch.equal(scores.grad, torch.zeros(3, 4)) for scores in exclusive)


def test_half_precision_gives_float32_losses():
    basic, common, exclusive, labels_m, labels_n = case()
    halves = [tuple(side.bfloat16() for side in scores) for scores in (basic, common, exclusive)]
    losses = co_attention_loss(*halves, labels_m.float(), labels_n.float(), "paper")
    assert {value.dtype for value in losses.values()} == {torch.float32}


def test_wrong_shapes_and_variants_are_refused():
    basic, common, exclusive, labels_m, labels_n = case()
    with pytest.raises(ValueError, match=r"\(N, K\)"):
        co_attention_loss(basic, common, exclusive, labels_m[:, :3], labels_n, "paper")
    with pytest.raises(ValueError, match="variant is 'note'"):
        co_attention_loss(basic, common, exclusive, labels_m, labels_n, "note")
