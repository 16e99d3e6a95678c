import numpy as np
import pytest

from wsss_zoo.functional import Fault
from wsss_zoo.labeling.suspects import Suspect, mask_faults, rank_suspects, worst_images

NAMES = ["background", "cat", "dog"]


def test_kinds_take_turns_and_names_are_those_of_the_classes():
    masks = {
        "a": {"class": Fault(0.9, 1, 2), "object": Fault(0.0), "outline": Fault(0.2)},
        "b": {"class": Fault(0.1, 2, 1), "object": Fault(0.7, None, 2), "outline": Fault(0.2)},
    }
    presence = {"a": np.array([0.9, 0.1]), "b": np.array([0.8, 0.9]), "c": np.array([0.1, 0.2])}
    tags = {"a": np.array([1, 0]), "b": np.array([1, 1]), "c": np.array([1, 0])}
    found = rank_suspects(masks, presence, tags, NAMES)
    assert [(s.image_id, s.kind, s.rank) for s in found] == [
        *[("a", "class", 1), ("b", "object", 1), ("a", "outline", 1), ("c", "tag", 1)],
        *[("b", "class", 2), ("a", "object", 2), ("b", "outline", 2), ("b", "tag", 2)],
        ("a", "tag", 3),
    ]
    texts = [str(suspect) for suspect in found[:4]]
    assert texts[0] == "cat, not dog? 0.90"
    assert texts[1] == "dog forgotten? 0.70"
    assert texts[2] == "outline 0.20"
    assert texts[3].startswith("tag cat wrong?")
    worst = worst_images(found, 2)
    assert list(worst) == ["a", "b"]
    assert worst["b"].kind == "object"


def test_missing_tags_are_named():
    presence = {"a": np.array([0.1, 0.9]), "b": np.array([0.1, 0.1])}
    tags = {"a": np.array([0, 0]), "b": np.array([0, 0])}
    assert str(rank_suspects({}, presence, tags, NAMES)[0]).startswith("tag dog missing?")
    assert rank_suspects({}, {}, {}, NAMES) == []


def test_planted_faults_come_first():
    """Twenty masks, one fault of each kind, noisy predictions."""
    rng = np.random.default_rng(0)
    masks = {}
    for n in range(20):
        truth = np.zeros((60, 80), np.uint8)
        top, left = rng.integers(5, 20, 2)
        truth[top : top + 25, left : left + 30] = 1 + n % 2
        logits = rng.normal(size=(3, 60, 80))
        np.put_along_axis(logits, truth[None].astype(int), 3.0, 0)
        probs = np.exp(logits) / np.exp(logits).sum(0)
        given = {
            0: np.where(truth > 0, 3 - truth, truth),
            1: np.zeros_like(truth),
            2: np.roll(truth, 4, axis=0),
        }.get(n, truth)
        masks[f"{n:02}"] = mask_faults(probs, given.astype(np.uint8))
    found = rank_suspects(masks, {}, {}, NAMES)
    assert [s.image_id for s in found if s.rank == 1] == ["00", "01", "02"]


def test_nothing_is_forgotten_where_there_is_no_background():
    probs = np.full((2, 6, 6), 0.5)
    assert set(mask_faults(probs, np.zeros((6, 6), np.uint8), first_fg=0)) == {"class", "outline"}


def test_suspect_is_hashable_and_equal_by_value():
    assert Suspect("a", "tag", 0.5, 1) == Suspect("a", "tag", 0.5, 1)
    with pytest.raises(AttributeError):
        Suspect("a", "tag", 0.5, 1).score = 1


def test_a_mask_that_nothing_speaks_against():
    assert str(Suspect("a", "object", 0.0, 9)) == "no sign of another class"
