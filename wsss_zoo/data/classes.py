"""Which classes are in use, and which of them are novel."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property


def select_classes(known: Sequence[str], chosen: Sequence[str] | None, first_fg: int) -> list[str]:
    """List the names of the classes in use by index.

    ``known`` are all names by index in the mask files, ``chosen`` the foreground classes to keep in
    their new order, None for all; ``first_fg`` is the index of the first foreground class.

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
    """Divide class names into base and novel ones; both empty if none are given.

    ValueError if the lists overlap, leave a class out or name an unknown one.

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


def published_split(
    name: str, splits: Mapping[str, Sequence[int]], known: Sequence[str], in_use: Sequence[str]
) -> list[str]:
    """List the novel classes of a published split; ``splits`` has their indices in ``known``.

    ValueError if there is no such split, or a class of it is not in use.

    >>> published_split("split_1", {"split_1": [1]}, ["cat", "cow", "dog"], ["cat", "cow", "dog"])
    ['cow']
    """
    if name in known:
        raise ValueError(f"novel_classes is {name!r}; give a list of class names: '[{name}]'")
    if not splits:
        raise ValueError(
            f"novel_classes is {name!r}, but this data set has no published splits; give a list of "
            "class names, as in '[cow, sheep]'"
        )
    if name not in splits:
        raise ValueError(
            f"novel_classes is {name!r}, which is none of the published splits "
            f"{', '.join(splits)}; take one of them or a list of class names, as in '[{known[-1]}]'"
        )
    novel = [known[index] for index in splits[name]]
    left_out = [class_name for class_name in novel if class_name not in in_use]
    if left_out:
        raise ValueError(
            f"novel_classes {name!r} (of the published splits {', '.join(splits)}) has "
            f"{len(left_out)} classes that classes leaves out, first: {left_out[0]!r}; leave "
            "classes out, or name the novel classes instead of the split"
        )
    return novel


class ClassesInUse:
    """Classes of a data set, and which of them are in use: a part of the data module."""

    #: Whether index 0 of the masks is a background class.
    background: bool = True
    #: Foreground classes to keep; None for all.
    classes: Sequence[str] | None
    #: What the user said are the base and the novel classes.
    _chosen_base: Sequence[str] | None
    _chosen_novel: Sequence[str] | str | None

    def check_classes(self) -> None:
        """Raise ValueError if no class is in use, or base and novel classes do not fit to them."""
        if self.num_fg_classes < 1:
            raise ValueError(f"{type(self).__name__} has no class besides {self.class_names}")
        _ = self._base_and_novel

    @property
    @abstractmethod
    def known_classes(self) -> list[str]:
        """Names of all classes in the order of the indices in the mask files."""

    @property
    def known_fg_names(self) -> list[str]:
        """Names of all foreground classes, in use or not."""
        return self.known_classes[int(self.background) :]

    @property
    def novel_splits(self) -> Mapping[str, Sequence[int]]:
        """Published splits that ``novel_classes`` may name, as indices in ``known_classes``."""
        return {}

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

    @cached_property
    def fg_names(self) -> list[str]:
        """Names of the foreground classes, (K,)."""
        return self.class_names[int(self.background) :]

    @property
    def novel_classes(self) -> list[str]:
        """Names of the classes that have tags only."""
        return self._base_and_novel[1]

    @property
    def base_classes(self) -> list[str]:
        """Names of the foreground classes that have masks; empty without novel classes."""
        return self._base_and_novel[0]

    @cached_property
    def _base_and_novel(self) -> tuple[list[str], list[str]]:
        novel, in_use = self._chosen_novel, self.fg_names
        if isinstance(novel, str):
            novel = published_split(novel, self.novel_splits, self.known_classes, in_use)
        return split_classes(in_use, self._chosen_base, novel)

    @property
    def index_map(self) -> list[int]:
        """Class index for each index in the mask files; 255 for the classes not in use."""
        place = {name: index for index, name in enumerate(self.class_names)}
        return [place.get(name, 255) for name in self.known_classes]
