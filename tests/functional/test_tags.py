"""Tags of masks against numpy's sets, gating against a loop over images and classes."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    gate_by_tags,
    mask_to_image_labels,
    normalize_tagged,
    reassign_by_tags,
)


@each("known", [None, [True, False, True]])
def test_equals_the_loop(known):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 2, 5)
    tags = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]])
    has = None if known is None else torch.tensor(known)
    expected = logits.clone()
    for image in range(3):
        for label in range(3):
            if tags[image, label] == 0 and (known is None or known[image]):
                expected[image, label + 1] = -torch.inf
    assert torch.equal(gate_by_tags(logits, tags, has), expected)


def test_background_and_tagged_classes_share_the_probability():
    probs = gate_by_tags(torch.randn(1, 4, 3, 3), torch.tensor([[0, 1, 0]])).softmax(1)
    assert torch.equal(probs[:, [1, 3]], torch.zeros(1, 2, 3, 3))
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 3, 3))


def test_image_without_any_tag_is_background():
    assert gate_by_tags(torch.randn(1, 3, 2, 2), torch.zeros(1, 2)).argmax(1).eq(0).all()


@each("known", [None, [True, False, True]])
def test_reassigning_equals_the_loop(known):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 2, 5)
    tags = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]])
    has = None if known is None else torch.tensor(known)
    expected = logits.softmax(1)
    for image in range(3):
        if known is None or known[image]:
            shown = 1 + tags[image].nonzero()[:, 0]
            background = expected[image, 0].clone() if len(shown) else torch.ones(2, 5)
            kept = expected[image, shown] / expected[image, shown].sum(0)
            expected[image] = 0
            expected[image, 0], expected[image, shown] = background, kept * (1 - background)
    given = reassign_by_tags(logits, tags, has)
    torch.testing.assert_close(given.softmax(1), expected)
    if known:
        torch.testing.assert_close(given[1], logits[1])


def test_reassigning_to_a_class_of_hardly_any_probability():
    logits = torch.tensor([0.0, 100.0, -100.0]).view(1, 3, 1, 1)
    assert reassign_by_tags(logits, torch.tensor([[0, 1]])).argmax(1).item() == 2


def test_normalizing_equals_the_loop():
    torch.manual_seed(0)
    probs = torch.randn(3, 4, 2, 5).softmax(1)
    tags = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 1]])
    probs[2, 3] = 0
    expected = probs.clone().double()
    for image in range(3):
        for label in range(3):
            highest = max(probs[image, label + 1].flatten().tolist())
            if tags[image, label] and highest > 0:
                expected[image, label + 1] /= highest
        for y in range(2):
            for x in range(5):
                expected[image, :, y, x] /= sum(expected[image, :, y, x].tolist())
    torch.testing.assert_close(normalize_tagged(probs, tags).double(), expected)


def test_normalizing_keeps_a_class_that_is_sure():
    probs = torch.tensor([[0.0, 0.7], [1.0, 0.3]]).view(1, 2, 1, 2)
    torch.testing.assert_close(normalize_tagged(probs, torch.ones(1, 1)), probs)


def test_tags_of_other_classes():
    with pytest.raises(ValueError, match=r"image_labels \(1, 3\) and logits \(1, 3, 2, 2\) do"):
        gate_by_tags(torch.randn(1, 3, 2, 2), torch.zeros(1, 3))


def test_tags_of_a_mask_is_the_set_of_foreground_classes():
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 6, (20, 2, 2), generator=generator)
    mask[mask == 5] = 255
    result = mask_to_image_labels(mask, 5)
    for row, one in zip(result, mask, strict=True):
        shown = set(np.unique(one.numpy())) - {0, 255}
        assert row.tolist() == [float(c in shown) for c in range(1, 5)]


def test_tags_of_a_mask_a_class_of_index_255_is_never_shown():
    assert mask_to_image_labels(torch.full((1, 2, 2), 255), 3).sum() == 0
