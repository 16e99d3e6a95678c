"""Votes of segments against a loop over segments and classes."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import segment_vote


def loop(labels, segments, quorum):
    voted = labels.copy()
    for segment in set(segments.flat) - {0}:
        inside = segments == segment
        votes = {c: (labels[inside] == c).sum() for c in sorted(set(labels[inside]) - {255})}
        if votes:
            best = max(votes, key=lambda c: (votes[c], -int(c)))
            if votes[best] / inside.sum() >= quorum:
                voted[inside] = best
    return voted


@each("quorum", [0.0, 0.3, 0.5, 0.75, 1.0])
@each("seed", range(3))
def test_equals_a_loop(seed, quorum):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 7, 255], (13, 17), p=[0.4, 0.2, 0.1, 0.1, 0.2]).astype(np.uint8)
    ids = rng.choice([0, 3, 65_535, 2**40, 2**62], (4, 5))
    segments = ids.repeat(4, 0).repeat(4, 1)[:13, :17]
    voted = segment_vote(torch.from_numpy(labels), torch.from_numpy(segments), quorum)
    assert voted.dtype == torch.uint8
    np.testing.assert_array_equal(voted.numpy(), loop(labels, segments, quorum))


def test_quorum_counts_ignored_pixels():
    labels = torch.tensor([[1, 1, 255, 255, 255]])
    segments = torch.ones(1, 5, dtype=torch.uint8)
    assert segment_vote(labels, segments, 0.5).tolist() == labels.tolist()
    assert segment_vote(labels, segments, 0.4).tolist() == [[1] * 5]
    # 0.1 * 30 > 3 in floating point.
    labels = torch.tensor([[5] * 3 + [255] * 27])
    assert segment_vote(labels, torch.ones_like(labels), 0.1).unique().tolist() == [5]


def test_pixels_of_no_segment_keep_their_labels():
    labels = torch.tensor([[1, 1, 2]])
    assert segment_vote(labels, torch.zeros_like(labels)).tolist() == [[1, 1, 2]]


def test_without_votes_nothing_changes():
    labels = torch.full((2, 2), 255)
    assert segment_vote(labels, torch.ones(2, 2, dtype=torch.long), 0.0) is labels


@each("change", [{}, {"labels": torch.tensor([[0, 1]])}])
def test_twice_is_once(change):
    labels = change.get("labels", torch.randint(0, 4, (9, 9), generator=torch.Generator()))
    segments = torch.arange(labels.numel()).view_as(labels) // 5
    once = segment_vote(labels, segments, 0.3)
    assert torch.equal(segment_vote(once, segments, 0.3), once)


@each(
    ("change", "message"),
    [
        ({"segments": torch.ones(2, 3).long()}, "differ; resize the segments"),
        ({"segments": torch.ones(2, 2)}, "segments are torch.float32; give integer ids"),
        ({"segments": torch.ones(2, 2).bool()}, "give integer ids"),
        ({"labels": torch.ones(2, 2)}, "give class indices"),
        ({"quorum": 1.5}, r"quorum is 1\.5"),
        ({"labels": torch.tensor([[-1, 0], [0, 0]])}, "labels hold -1"),
    ],
)
def test_bad_arguments(change, message):
    given = {"labels": torch.ones(2, 2).long(), "segments": torch.ones(2, 2).long()} | change
    with pytest.raises(ValueError, match=message):
        segment_vote(**given)
