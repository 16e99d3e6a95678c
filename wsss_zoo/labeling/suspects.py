"""Rank given masks and tags by how probably they are wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.functional.labeling.mask_faults import (
    Fault,
    missing_object,
    sloppy_outline,
    swapped_class,
)
from wsss_zoo.functional.labeling.tag_faults import tag_faults

Kind = Literal["class", "object", "outline", "tag"]
#: All kinds, in the order in which equally high ranks are listed.
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Suspect:
    """A label that is probably wrong.

    Args:
        image_id: The image.
        kind: "class": a region has the class of another; "object": one was left as background;
            "outline": outlines do not follow the objects; "tag": one is wrong or missing.
        score: The larger the more suspicious; comparable within a kind.
        rank: Place within the kind, from 1.
        given: Name of the class that is given; "" where none is.
        suspected: Name of the class that is suspected; "" for none.
    """

    image_id: str
    kind: Kind
    score: float
    rank: int
    given: str = ""
    suspected: str = ""

    def __str__(self) -> str:
        """Word the suspicion, as on a sheet."""
        if self.kind == "outline":
            return f"outline {self.score:.2f}"
        if self.kind in ("class", "object") and not self.suspected:
            return "no sign of another class"
        if self.kind == "class":
            return f"{self.given}, not {self.suspected}? {self.score:.2f}"
        if self.kind == "object":
            return f"{self.suspected} forgotten? {self.score:.2f}"
        text = f"tag {self.given} wrong?" if self.given else f"tag {self.suspected} missing?"
        return f"{text} {self.score:.2f}"


def mask_faults(
    probs: NDArray[np.floating], mask: NDArray[np.integer], first_fg: int = 1
) -> dict[Kind, Fault]:
    """Find the worst fault of each kind in a mask.

    Args:
        probs: Probabilities by a network that was not trained on the mask, (C, H, W).
        mask: Given class index per pixel, (H, W); 255 does not count.
        first_fg: Index of the first foreground class, 0 or 1. With 0 nothing can be forgotten.
    """
    found: dict[Kind, Fault] = {"class": swapped_class(probs, mask, first_fg)}
    if first_fg:
        found["object"] = missing_object(probs, mask)
    return found | {"outline": sloppy_outline(probs, mask, first_fg)}


def rank_suspects(
    masks: Mapping[str, Mapping[Kind, Fault]],
    presence: Mapping[str, NDArray[np.float64]],
    tags: Mapping[str, NDArray[np.integer]],
    class_names: Sequence[str],
    first_fg: int = 1,
) -> list[Suspect]:
    """Rank all labels of all images, the most suspicious of each kind in turn.

    Args:
        masks: `mask_faults` by image.
        presence: Probability by image that it shows a class, (K,).
        tags: Given tags by image, (K,); each needs a presence.
        class_names: Names by class index, (C,).
        first_fg: Index of the first foreground class.
    """
    found: dict[Kind, list[Suspect]] = {kind: [] for kind in KINDS}
    for image_id, faults in masks.items():
        for kind, fault in faults.items():
            names = ["" if i is None else class_names[i] for i in (fault.given, fault.suspected)]
            found[kind].append(Suspect(image_id, kind, fault.score, 0, *names))
    found["tag"] = _tag_suspects(presence, tags, class_names[first_fg:])
    ranked = []
    for suspects in found.values():
        suspects.sort(key=lambda suspect: (-suspect.score, suspect.image_id))
        ranked += [
            Suspect(s.image_id, s.kind, s.score, rank, s.given, s.suspected)
            for rank, s in enumerate(suspects, 1)
        ]
    return sorted(ranked, key=lambda suspect: (suspect.rank, KINDS.index(suspect.kind)))


def worst_images(suspects: Sequence[Suspect], count: int) -> dict[str, Suspect]:
    """Take the ``count`` most suspicious images, each with the sign that it is taken for."""
    first: dict[str, Suspect] = {}
    for suspect in suspects:
        first.setdefault(suspect.image_id, suspect)
    return dict(list(first.items())[:count])


def _tag_suspects(
    presence: Mapping[str, NDArray[np.float64]],
    tags: Mapping[str, NDArray[np.integer]],
    fg_names: Sequence[str],
) -> list[Suspect]:
    if not tags:
        return []
    ids = list(tags)
    scores = tag_faults(np.stack([presence[i] for i in ids]), np.stack([tags[i] for i in ids]))
    suspects = []
    for image_id, row in zip(ids, scores, strict=True):
        worst = int(row.argmax())
        name = fg_names[worst]
        names = (name, "") if tags[image_id][worst] else ("", name)
        suspects.append(Suspect(image_id, "tag", float(row[worst]), 0, *names))
    return suspects
