"""Which recipe for which labels: the decisions of ``wsss-zoo train``, as a function."""

from dataclasses import dataclass

from wsss_zoo.training.labels import Labels

# Where all other images are so few, a second method has next to nothing to learn from them.
_FEW_OTHERS = 0.1


@dataclass(frozen=True)
class Choice:
    """A recipe and what to set in it.

    Args:
        recipe: Name of the recipe, as ``wsss-zoo recipes`` lists it.
        reason: Why, for a person; a sentence or two.
        candidates: Steps of the recipe whose models are compared on held-out masks; where there are
            masks the first is Supervised on them, which wins a tie.
        unmeasured: The candidate to take where no held-out mask can measure any.
        gate_by_tags: Whether FixMatch rules out classes that tags do not name.
        own_masks: Whether true masks are used beside the pseudo-labels of the recipe.
        novel_classes: Classes of which there are tags and no masks.
    """

    recipe: str
    reason: str
    candidates: tuple[str, ...]
    unmeasured: str
    gate_by_tags: bool = False
    own_masks: bool = False
    novel_classes: tuple[str, ...] = ()


def choose_recipe(labels: Labels) -> Choice:
    """Choose the recipe for the labels that there are.

    Raises:
        ValueError: If there is too little to learn from; the message says what the least is.

    >>> choose_recipe(Labels(("cat",), masked=40, unlabelled=200)).recipe
    'few_masks_folder'
    """
    if not labels.fg_names:
        raise ValueError(
            "there is one class, the background, so there is nothing to find; list the classes of "
            "your objects below it in classes.txt"
        )
    if not labels.images:
        raise ValueError(
            "there are no training images, because all are held out; take some off splits/val.txt "
            "and splits/test.txt (without a list a fifth of the masks is held out)"
        )
    if labels.ignored and not (labels.sparse or labels.tag_rows or labels.mask_classes):
        raise ValueError(
            f"none of the {labels.masked} training masks has a class besides the background, but "
            f"{labels.ignored} have pixels of 255, which are ignored; if 255 stands for a class "
            "(black and white masks), give --data.binary_masks true, else draw some objects"
        )
    if labels.sparse:
        return _from_sparse(labels)
    if not labels.masked:
        return _from_tags(labels)
    others = labels.tagged + labels.unlabelled
    undrawn = labels.undrawn
    if undrawn and all(labels.tagged_in_masks.get(name) for name in undrawn):
        return Choice(
            "simformer",
            f"masks show no {_named(undrawn)}, which only tags name; SimFormer transfers what base "
            "classes teach, and MaskFormer learns from its labels",
            ("supervised", "cam_segmenter", "retrain"),
            "retrain",
            novel_classes=undrawn,
        )
    if undrawn:
        return Choice(
            "tags_folder",
            f"masks show no {_named(undrawn)}, which only tags of other images name; CAM labels "
            "these images, and the masks count beside",
            ("supervised", "first", "segmenter"),
            "segmenter",
            gate_by_tags=True,
            own_masks=True,
        )
    if others < _FEW_OTHERS * labels.masked:
        few = f"; the {_count(others, 'other image')} would add little" if others else ""
        reason = f"{_count(labels.masked, 'image')} with a mask{few}: Supervised"
        return Choice("masks_folder", reason, ("supervised",), "supervised")
    if labels.tagged:
        return Choice(
            "few_masks_folder",
            f"{_count(labels.masked, 'mask')}, and {_count(labels.tagged, 'image')} with tags: "
            "FixMatch learns from these too, and tags rule classes out. On photographs of animals "
            "this gained more than any other method",
            ("supervised", "longer", "fixmatch"),
            "fixmatch",
            gate_by_tags=True,
        )
    return Choice(
        "few_masks_folder",
        f"{_count(labels.masked, 'mask')}, and {_count(others, 'image')} without labels: FixMatch "
        "learns from these too. Without tags it may lose against Supervised, which is trained as "
        "long and compared",
        ("supervised", "longer", "fixmatch"),
        "longer",
    )


def _from_sparse(labels: Labels) -> Choice:
    plain = ("supervised",) if labels.masked else ()
    return Choice(
        "sparse_folder",
        f"{_count(labels.sparse, 'image')} with scribbles, points, boxes or part masks: Sparse "
        "learns from them, then from its own labels for all other pixels and images, within what "
        "was drawn. On photographs of animals the second training gained several points",
        (*plain, "partial", "sparse"),
        "sparse",
    )


def _from_tags(labels: Labels) -> Choice:
    if not labels.tagged:
        if labels.held_out:
            raise ValueError(
                f"all {labels.held_out} masks are of held-out images, so none is left to learn "
                "from; take images off splits/val.txt (without any list a fifth of the masks is "
                "held out), or tag the others"
            )
        raise ValueError(
            f"all {labels.images} images are unlabelled; the least is 2 masks, or tags of images "
            "with and of images without each class. Drawing 30 masks is a good beginning, and "
            "masks of every class are better than many of one"
        )
    learnable = labels.learnable_from_tags
    if not learnable:
        always = [name for name in labels.fg_names if labels.tag_classes.get(name)]
        raise ValueError(
            f"all {labels.tag_rows} tagged images have the same tags ({_named(always) or 'none'}); "
            "a classifier learns a class from images that lack it, too. Tag images without it (an "
            "empty list of classes, as in `photo 7,`, says that there is none), or draw masks"
        )
    lost = [n for n in labels.fg_names if labels.tag_classes.get(n) and n not in learnable]
    hint = f". Every tagged image has {_named(lost)}, so that is hardly learnt" if lost else ""
    return Choice(
        "tags_folder",
        f"{_count(labels.tagged, 'image')} with tags, and no masks to learn from: CAM finds where "
        "each class is, a segmenter learns from these labels, and FixMatch trains it once more, "
        f"gated by tags{hint}",
        ("first", "segmenter"),
        "segmenter",
        gate_by_tags=True,
    )


def _named(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
