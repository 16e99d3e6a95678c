"""Which classes are in use, and which of them are novel."""

from collections.abc import Sequence


def select_classes(known: Sequence[str], chosen: Sequence[str] | None, first_fg: int) -> list[str]:
    """Names of the classes in use by index.

    Args:
        known: All names of the data set by index in its mask files.
        chosen: Foreground classes to keep, in their new order; None for all.
        first_fg: Index of the first foreground class in ``known``: 1 after a background class, else
            0.

    Raises:
        ValueError: If a chosen name is unknown or comes twice.

    >>> select_classes(["background", "cat", "dog"], ["dog"], 1)
    ['background', 'dog']
    """
    if chosen is None:
        return list(known)
    fg_names = list(known[first_fg:])
    for place, name in enumerate(chosen):
        if name not in fg_names:
            raise ValueError(f"classes has {name!r}, which is none of {', '.join(fg_names)}")
        if name in chosen[:place]:
            raise ValueError(f"classes has {name!r} twice; delete one")
    if not chosen:
        raise ValueError("classes is empty; name at least one class, or leave it out to keep all")
    return list(known[:first_fg]) + list(chosen)


def split_classes(
    fg_names: Sequence[str], base: Sequence[str] | None, novel: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Names of the base and the novel classes; both empty if none are given.

    Args:
        fg_names: All foreground classes.
        base: Classes with masks; None for all that are not novel.
        novel: Classes with tags only.

    Raises:
        ValueError: If the lists overlap, leave a class out or name an unknown one.

    >>> split_classes(["cat", "cow", "dog"], None, ["cow"])
    (['cat', 'dog'], ['cow'])
    """
    novel = list(novel or [])
    if not novel and base is None:
        return [], []
    base = [name for name in fg_names if name not in novel] if base is None else list(base)
    for name in (*base, *novel):
        if name not in fg_names:
            raise ValueError(f"{name!r} of base_classes or novel_classes is none of {fg_names}")
    for name in fg_names:
        times = (*base, *novel).count(name)
        if times != 1:
            raise ValueError(
                f"class {name!r} stands {times} times in base_classes {base} and novel_classes "
                f"{novel}; each class must stand in exactly one"
            )
    return base, novel
