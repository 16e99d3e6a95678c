"""Write the table of ``docs/train.md``: which recipe ``wsss-zoo train`` takes for which labels."""

from wsss_zoo.training.choice import choose_recipe
from wsss_zoo.training.labels import Labels

_MASKS = {"cat": 20, "dog": 20}
_TAGS = {"tag_classes": {"cat": 90, "dog": 90}, "tag_rows": 200}
# What somebody has, in words and in numbers.
CASES: dict[str, Labels] = {
    "tags of all images, no masks": Labels(("cat", "dog"), tagged=200, **_TAGS),
    "masks of some images, tags of the others": Labels(
        ("cat", "dog"), masked=40, tagged=200, mask_classes=_MASKS, **_TAGS
    ),
    "masks of some images, nothing for the others": Labels(
        ("cat", "dog"), masked=40, unlabelled=200, mask_classes=_MASKS
    ),
    "masks of all images": Labels(("cat", "dog"), masked=200, mask_classes=_MASKS),
    "masks that show some classes; tags of other images name the rest": Labels(
        ("cat", "dog"), masked=40, tagged=200, mask_classes={"cat": 40}, **_TAGS
    ),
    "masks that show some classes, with tags of the rest in the same images": Labels(
        ("cat", "dog"),
        masked=200,
        mask_classes={"cat": 99},
        tag_classes={"dog": 90},
        tag_rows=200,
        tagged_in_masks={"dog": 90},
    ),
    "scribbles, points, boxes or part masks": Labels(("cat", "dog"), sparse=200),
    "the same, and masks of other images": Labels(
        ("cat", "dog"), sparse=200, masked=40, mask_classes=_MASKS
    ),
}


def recipe_table() -> str:
    """Word the choice for each case as a Markdown table."""
    lines = ["| you have | recipe | models that are compared |", "| --- | --- | --- |"]
    for words, labels in CASES.items():
        choice = choose_recipe(labels)
        gate = ", gated by tags" if choice.gate_by_tags else ""
        names = ", ".join(f"`{name}`" for name in choice.candidates)
        lines.append(f"| {words} | `{choice.recipe}`{gate} | {names} |")
    return "\n".join(lines)
