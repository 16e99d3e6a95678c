"""Published splits into base and novel classes, and how the command line names them."""

import pytest
import yaml

from tests.each import each
from wsss_zoo.cli import main
from wsss_zoo.data import ADE20K, COCOStuff10K, Shapes
from wsss_zoo.data.classes import published_split

SPLITS = ["split_1", "split_2", "split_3", "split_4"]
# First and last class of the paper's lists.
ENDS = {
    (ADE20K, "split_1"): ("building", "flag"),
    (ADE20K, "split_2"): ("wall", "radiator"),
    (ADE20K, "split_3"): ("wall", "bulletin board"),
    (ADE20K, "split_4"): ("ceiling", "monitor"),
    (COCOStuff10K, "split_1"): ("motorcycle", "window-other"),
    (COCOStuff10K, "split_2"): ("bicycle", "water-other"),
    (COCOStuff10K, "split_3"): ("person", "wall-tile"),
    (COCOStuff10K, "split_4"): ("motorcycle", "wood"),
}


@pytest.mark.parametrize(("kind", "count", "size"), [(ADE20K, 150, 38), (COCOStuff10K, 171, 43)])
def test_lists(kind, count, size):
    data = kind("no such folder")
    assert list(data.novel_splits) == SPLITS
    assert len({tuple(indices) for indices in data.novel_splits.values()}) == len(SPLITS)
    for name, indices in data.novel_splits.items():
        assert len(indices) == len(set(indices)) == size
        assert list(indices) == sorted(indices)
        assert 0 <= indices[0] < indices[-1] < count
        split = kind("no such folder", novel_classes=name)
        assert split.novel_classes == [split.class_names[index] for index in indices]
        assert len(split.base_classes) == count - size
        assert set(split.base_classes).isdisjoint(split.novel_classes)


@each(("kind", "name"), ENDS)
def test_some_names(kind, name):
    novel = kind("no such folder", novel_classes=name).novel_classes
    assert (novel[0], novel[-1]) == ENDS[kind, name]


def test_splits_are_read_in_the_order_of_the_mask_files():
    # A background class has a place of its own, and classes in use may be in another order.
    known, in_use = ["background", "cat", "cow", "dog"], ["dog", "cow", "cat"]
    assert published_split("a", {"a": [1, 3]}, known, in_use) == ["cat", "dog"]


def test_classes_may_be_chosen_as_long_as_the_split_is_whole():
    names = ADE20K("r", novel_classes="split_1").novel_classes
    data = ADE20K("r", novel_classes="split_1", classes=["wall", *names])
    assert (data.base_classes, data.novel_classes) == (["wall"], names)


@each(
    ("data", "message"),
    [
        (Shapes(novel_classes="split_1"), r"'split_1', but this data set has no published splits"),
        (ADE20K("r", novel_classes="split_5"), r"'split_5', which is none of the .* split_1, "),
        (ADE20K("r", novel_classes="walls"), "'walls', which is none of the published splits"),
        (
            ADE20K("r", novel_classes="split_1", classes=["wall", "building"]),
            r"splits split_1, .*37 classes that classes leaves out, first: 'floor'; .* name the",
        ),
        (
            ADE20K("r", novel_classes="split_1", base_classes=["wall"]),
            "class 'sky' stands 0 times",
        ),
        (Shapes(novel_classes=["fox", "fox"]), "class 'fox' stands 2 times"),
        (Shapes(novel_classes=["cow"]), "'cow' of base_classes or novel_classes is none of"),
    ],
)
@each("stage", ["fit", "validate", "test", "predict"])
def test_bad_input_is_found_before_any_file_is_read(data, message, stage):
    with pytest.raises(ValueError, match=message):
        data.setup(stage)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("split_2", "split_2"),
        ("[cow, traffic light]", ["cow", "traffic light"]),
    ],
)
def test_command_line(given, parsed, capsys):
    options = ["--model", "Supervised", "--data", "ADE20K", "--data.root", "r"]
    with pytest.raises(SystemExit):
        main(["fit", *options, "--data.novel_classes", given, "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["data"]["init_args"]["novel_classes"] == parsed


def test_the_name_of_a_class_is_no_split():
    with pytest.raises(ValueError, match=r"novel_classes is 'fox'; give a list .*'\[fox\]'"):
        Shapes(novel_classes="fox").setup("fit")
