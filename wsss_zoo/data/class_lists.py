"""Which classes are in use, and which of them are novel."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property


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


class ClassesInUse:
    """The classes of a data set, and what of them is in use: a part of the data module."""

    #: Foreground classes to keep; None for all.
    classes: Sequence[str] | None
    #: What the user said are the base and the novel classes.
    _chosen_base: Sequence[str] | None
    _chosen_novel: Sequence[str] | None

    @property
    def background(self) -> bool:
        """Whether index 0 of the masks is a background class."""
        return True

    @property
    @abstractmethod
    def known_classes(self) -> list[str]:
        """Names of all classes in the order of the indices in the mask files."""

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes in use by index, the background first where there is one."""
        return select_classes(self.known_classes, self.classes, int(self.background))

    @property
    def num_classes(self) -> int:
        """C, the background included where there is one."""
        return len(self.class_names)

    @property
    def num_fg_classes(self) -> int:
        """K, classes without the background."""
        return self.num_classes - int(self.background)

    @property
    def fg_names(self) -> list[str]:
        """Names of the foreground classes, (K,)."""
        return self.class_names[int(self.background) :]

    @property
    def novel_classes(self) -> list[str]:
        """Names of the classes that have tags only."""
        return split_classes(self.fg_names, self._chosen_base, self._chosen_novel)[1]

    @property
    def base_classes(self) -> list[str]:
        """Names of the foreground classes that have masks; empty without novel classes."""
        return split_classes(self.fg_names, self._chosen_base, self._chosen_novel)[0]

    @property
    def index_map(self) -> list[int]:
        """Class index for each index in the mask files; 255 for the classes not in use."""
        place = {name: index for index, name in enumerate(self.class_names)}
        return [place.get(name, 255) for name in self.known_classes]
