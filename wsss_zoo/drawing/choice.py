"""Which images a sheet shows: every class, and not the first of the list."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.files.decoding import IGNORE_INDEX

T = TypeVar("T")


def choose_typical(
    classes: Mapping[str, Collection[str]], count: int, given: Sequence[str] = ()
) -> list[str]:
    """Choose ids so that every class occurs; what room is left is spread evenly.

    Args:
        classes: Classes of each image, in the order of the list.
        count: Number of images.
        given: Images that are chosen anyway, for example the worst; at most ``count``.

    Returns:
        Ids, at most ``count``, in the order of ``classes``. Each that is chosen for its classes has
        the most that are still absent; of equal ones the first.

    >>> choose_typical({"a": [], "b": ["cow"], "c": ["cow"], "d": ["cow", "dog"], "e": []}, 2)
    ['a', 'd']
    """
    chosen = list(given[:count])
    absent = {name for names in classes.values() for name in names}
    absent -= {name for image_id in chosen for name in classes[image_id]}
    while absent and len(chosen) < count:
        best = max(classes, key=lambda image_id: len(absent & {*classes[image_id]}))
        chosen.append(best)
        absent -= {*classes[best]}
    known = {*chosen}
    rest = [image_id for image_id in classes if image_id not in known]
    chosen += spread(rest, count - len(chosen))
    kept = {*chosen}
    return [image_id for image_id in classes if image_id in kept]


def typical_and_worst(
    classes: Mapping[str, Collection[str]], scores: Mapping[str, float], count: int
) -> tuple[list[str], list[str]]:
    """Choose typical images, so that every class occurs, and those of the lowest scores.

    Args:
        classes: Classes of each image, in the order of the list.
        scores: Score of some images; those that are missing or nan are not the worst.
        count: Number of images. A third of them are the worst, none of one or two.

    Returns:
        The typical ids in the order of ``classes``, and the worst, the lowest first.

    >>> classes = {"a": ["cow"], "b": ["cow"], "c": ["dog"], "d": []}
    >>> typical_and_worst(classes, {"a": 0.9, "b": 0.2, "c": 0.8}, 3)
    (['a', 'c'], ['b'])
    """
    count = min(count, len(classes))
    known = [image_id for image_id in classes if not math.isnan(scores.get(image_id, math.nan))]
    worst = sorted(known, key=lambda image_id: scores[image_id])[: count // 3]
    chosen = choose_typical(classes, count, worst)
    return [image_id for image_id in chosen if image_id not in {*worst}], worst


def spread(ids: Sequence[str], count: int) -> list[str]:
    """Choose ids at even distances, the first and the last among them.

    >>> spread("abcde", 3), spread("abcde", 1), spread("ab", 4)
    (['a', 'c', 'e'], ['a'], ['a', 'b'])
    """
    count = min(count, len(ids))
    steps = max(1, count - 1)
    return [ids[round(place * (len(ids) - 1) / steps)] for place in range(count)]


def image_miou(label: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    """Mean IoU of a label map with a mask, over the classes in either; both (H, W), 255 = ignored.

    Ignored pixels of the mask are left out; those of the label map agree with nothing.
    """
    counted = mask != IGNORE_INDEX
    pairs = np.bincount(mask[counted].astype(np.int64) * 256 + label[counted], minlength=65536)
    table = pairs.reshape(256, 256)
    same, union = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    there = union[:IGNORE_INDEX] > 0
    return float((same[:-1][there] / union[:-1][there]).mean()) if there.any() else math.nan


@dataclass
class StreamedChoice(Generic[T]):
    """Chooses among images that come one by one: so that every class occurs, and the worst.

    Images are kept in their order. With room for three or more, a later one replaces one whose
    classes others have, if it has a class that none has, and the last is that of the lowest score.

    Args:
        room: Number of images.
    """

    room: int
    _kept: list[tuple[T, frozenset[int]]] = field(default_factory=list)
    _worst: tuple[float, T] | None = None
    _spare: T | None = None

    def offer(self, item: T, classes: Collection[int], score: float = math.nan) -> None:
        """Consider an image with its classes and its score, nan if it has none."""
        if score < (math.inf if self._worst is None else self._worst[0]):
            self._worst = score, item
        there = frozenset(classes)
        if len(self._kept) < self._typical:
            self._kept.append((item, there))
            return
        left_out = item
        for place in reversed(range(len(self._kept) if self.room > 2 else 0)):
            others = [names for n, (_, names) in enumerate(self._kept) if n != place]
            known = frozenset[int]().union(*others)
            leaves = self._kept[place][1]
            if there - known - leaves and leaves <= known | there:
                left_out, _ = self._kept.pop(place)
                self._kept.append((item, there))
                break
        if self._spare is None:
            self._spare = left_out

    def chosen(self) -> list[T]:
        """List what was chosen: the typical images, then the worst."""
        items = [item for item, _ in self._kept]
        last = [item for item in (self._worst and self._worst[1], self._spare) if item is not None]
        return (
            items
            + [item for item in last if not any(item is i for i in items)][
                : self.room - self._typical
            ]
        )

    @property
    def _typical(self) -> int:
        return self.room - 1 if self.room > 2 else self.room
