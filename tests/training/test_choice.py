"""Which recipe for which labels: a table."""

import pytest

from tests.each import each
from wsss_zoo.recipes.shipped import shipped_recipes
from wsss_zoo.training.choice import choose_recipe
from wsss_zoo.training.labels import Labels

NAMES = ("cat", "dog")
MASKS = {"cat": 20, "dog": 20}
BOTH = {"tag_classes": {"cat": 30, "dog": 40}, "tag_rows": 60}


def labels(fg_names=NAMES, **counts):
    if counts.get("masked"):
        counts = {"mask_classes": MASKS, **counts}
    return Labels(fg_names, **counts)


TABLE = [
    # what there is; recipe, candidates, what is taken where nothing is measured
    ({"tagged": 60, **BOTH}, "tags_folder", "first segmenter", "segmenter"),
    ({"tagged": 60, "held_out": 9, **BOTH}, "tags_folder", "first segmenter", "segmenter"),
    ({"masked": 40}, "masks_folder", "supervised", "supervised"),
    ({"masked": 40, "unlabelled": 3}, "masks_folder", "supervised", "supervised"),
    ({"masked": 40, "unlabelled": 200}, "few_masks_folder", "supervised longer fixmatch", "longer"),
    (
        {"masked": 40, "tagged": 60, **BOTH},
        "few_masks_folder",
        "supervised longer fixmatch",
        "fixmatch",
    ),
    ({"sparse": 20, "unlabelled": 5}, "sparse_folder", "partial sparse", "sparse"),
    ({"sparse": 20, "masked": 9}, "sparse_folder", "supervised partial sparse", "sparse"),
    # Only tags name the dog: in images without a mask, and in masks.
    (
        {"masked": 40, "tagged": 60, "mask_classes": {"cat": 40}, **BOTH},
        "tags_folder",
        "supervised first segmenter",
        "segmenter",
    ),
    (
        {
            "masked": 40,
            "mask_classes": {"cat": 40},
            "tag_classes": {"dog": 9},
            "tag_rows": 40,
            "tagged_in_masks": {"dog": 9},
        },
        "simformer",
        "supervised cam_segmenter retrain",
        "retrain",
    ),
]


@each(("counts", "recipe", "candidates", "unmeasured"), TABLE)
def test_the_recipe_follows_from_the_labels(counts, recipe, candidates, unmeasured):
    choice = choose_recipe(labels(**counts))
    assert choice.recipe == recipe
    assert recipe in shipped_recipes("pipeline")
    assert " ".join(choice.candidates) == candidates
    assert choice.unmeasured == unmeasured in choice.candidates
    assert len(choice.reason) > 20


def test_with_masks_plain_supervised_is_the_first_candidate():
    for counts, *_ in TABLE:
        assert (choose_recipe(labels(**counts)).candidates[0] == "supervised") == (
            "masked" in counts
        )


def test_tags_gate_where_there_are_some():
    assert choose_recipe(labels(masked=40, tagged=60, **BOTH)).gate_by_tags
    assert not choose_recipe(labels(masked=40, unlabelled=60)).gate_by_tags
    mixed = choose_recipe(labels(masked=4, tagged=6, mask_classes={"cat": 4}, **BOTH))
    assert mixed.own_masks
    assert not choose_recipe(labels(tagged=60, **BOTH)).own_masks


def test_one_class_is_enough_with_masks():
    assert choose_recipe(labels(("cat",), masked=2, mask_classes={"cat": 2})).recipe == (
        "masks_folder"
    )
    some = {"tag_classes": {"cat": 5}, "tag_rows": 9}
    assert choose_recipe(labels(("cat",), tagged=9, **some)).recipe == "tags_folder"


def test_a_class_in_every_tagged_image_is_said():
    counts = {"tag_classes": {"cat": 60, "dog": 40}, "tag_rows": 60}
    assert "Every tagged image has cat" in choose_recipe(labels(tagged=60, **counts)).reason


@each(
    ("counts", "message"),
    [
        ({"fg_names": ()}, "there is one class, the background"),
        ({}, "there are no training images"),
        ({"unlabelled": 9}, "all 9 images are unlabelled; the least is 2 masks"),
        (
            {"masked": 9, "unlabelled": 3, "ignored": 8, "mask_classes": {}},
            "none of the 9 training masks .*binary_masks true",
        ),
        ({"unlabelled": 9, "held_out": 3}, "all 3 masks are of held-out images"),
        (
            {"tagged": 9, "tag_classes": {"cat": 9}, "tag_rows": 9},
            "all 9 tagged images have the same tags .cat.",
        ),
        ({"tagged": 9, "tag_rows": 9}, "all 9 tagged images have the same tags .none."),
    ],
)
def test_too_little_is_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        choose_recipe(labels(**counts))


def test_what_there_is_is_said():
    lines = labels(masked=3, tagged=2, mask_classes={"cat": 3}, held_out=1).lines()
    assert lines == [
        "2 classes besides background: cat, dog",
        "5 training images: 3 with a mask, 2 with tags only",
        "held-out images: 1 with a mask",
        "without any mask or tag, so not learnt: dog",
    ]
