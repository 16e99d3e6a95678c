import pytest

from tests.each import each
from wsss_zoo.data.classes import select_classes, split_classes

KNOWN = ["background", "cat", "cow", "dog"]


def test_select():
    assert select_classes(KNOWN, None, 1) == KNOWN
    assert select_classes(KNOWN, ["dog", "cat"], 1) == ["background", "dog", "cat"]
    assert select_classes(KNOWN[1:], ["dog"], 0) == ["dog"]


@each(
    ("chosen", "message"),
    [
        (["background"], "'background', which is none of cat, cow, dog"),
        (["cat", "cat"], "'cat' twice"),
        ([], "classes is empty"),
    ],
)
def test_select_refuses(chosen, message):
    with pytest.raises(ValueError, match=message):
        select_classes(KNOWN, chosen, 1)


def test_split():
    assert split_classes(KNOWN[1:], None, None) == ([], [])
    assert split_classes(KNOWN[1:], None, ["cow"]) == (["cat", "dog"], ["cow"])


@each(
    ("base", "novel", "message"),
    [
        (["cat"], ["cow"], "class 'dog' stands 0 times"),
        (["cat", "dog"], ["dog", "cow"], "class 'dog' stands 2 times"),
        (None, ["horse"], "'horse' of base_classes or novel_classes is none of"),
    ],
)
def test_split_refuses(base, novel, message):
    with pytest.raises(ValueError, match=message):
        split_classes(KNOWN[1:], base, novel)
