import math

import pytest

from wsss_zoo.drawing.choice import StreamedChoice, choose_typical, spread, typical_and_worst

CLASSES = {f"{n:02d}": {"cow"} if n < 17 else set() for n in range(20)} | {"20": {"dog", "cat"}}


@pytest.mark.parametrize("count", range(22))
def test_every_class_that_there_is_room_for(count):
    chosen = choose_typical(CLASSES, count)
    assert chosen == sorted({*chosen})
    assert len(chosen) == min(count, 21)
    shown = {name for image_id in chosen for name in CLASSES[image_id]}
    assert len(shown) == {0: 0, 1: 2}.get(count, 3)


def test_given_images_count():
    assert choose_typical(CLASSES, 3, ["04"]) == ["00", "04", "20"]
    assert choose_typical(CLASSES, 1, ["04", "05"]) == ["04"]
    assert choose_typical({}, 3) == []


@pytest.mark.parametrize("count", range(1, 9))
def test_even_distances(count):
    ids = [str(n) for n in range(7)]
    chosen = spread(ids, count)
    assert chosen[0] == "0"
    assert len(chosen) == len({*chosen}) == min(count, 7)
    assert count == 1 or chosen[-1] == "6"


def streamed(room, images):
    choice = StreamedChoice(room)
    for name, classes, score in images:
        choice.offer(name, classes, score)
    return choice.chosen()


def test_images_that_come_one_by_one():
    images = [("a", {0}, 0.9), ("b", {0}, 0.8), ("c", {0, 1}, 0.1), ("d", {0, 2}, 0.7)]
    assert streamed(0, images) == []
    assert streamed(1, images) == ["a"]
    assert streamed(2, images) == ["a", "b"]
    # Every class, and the worst last, once.
    assert streamed(3, [*images, ("e", {0}, 0.0)]) == ["c", "d", "e"]
    assert streamed(4, images) == ["a", "c", "d", "b"]
    assert streamed(9, images) == ["a", "b", "c", "d"]
    unscored = [(name, classes, float("nan")) for name, classes, _ in images]
    assert streamed(3, unscored) == ["c", "d", "b"]
    assert streamed(2, [(name, {0, 1}, 0.5) for name in "abcd"]) == ["a", "b"]


def test_typical_and_worst_images():
    classes = {str(n): ["cow"] for n in range(9)} | {"9": ["dog"], "10": []}
    scores = {str(n): 1 - n / 20 for n in range(9)} | {"9": math.nan}
    typical, worst = typical_and_worst(classes, scores, 6)
    assert worst == ["8", "7"]
    assert "9" in typical
    assert len(typical) == 4
    assert not {*typical} & {*worst}
    assert typical_and_worst(classes, scores, 2)[1] == []
    assert typical_and_worst({}, {}, 12) == ([], [])
    few = {"a": [], "b": [], "c": []}
    assert typical_and_worst(few, {"a": 0.5, "b": 0.25}, 12) == (["a", "c"], ["b"])
