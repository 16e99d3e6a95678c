"""The names of the classes that a checkpoint was trained with, against those of a data set."""

import zipfile
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch


def saved_class_names(checkpoint: Mapping[str, Any]) -> list[str] | None:
    """Look up the names by class index in a checkpoint; None if it has none, or no class layer."""
    options = checkpoint.get("hyper_parameters") or {}
    # A pretext task has no classes, whatever its images had.
    if "num_classes" not in options:
        return None
    # The data module's state, under the name of its class.
    states = (value for value in checkpoint.values() if isinstance(value, Mapping))
    names = next((state["class_names"] for state in states if "class_names" in state), None)
    return None if names is None else [str(name) for name in names]


def read_class_names(path: str | Path) -> list[str] | None:
    """Read the names by class index of a checkpoint's file; None if it has none."""
    if not zipfile.is_zipfile(path):
        return None
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return saved_class_names(content) if isinstance(content, Mapping) else None


def check_class_names(
    place: str, saved: Sequence[str] | None, given: Sequence[str], background: bool
) -> None:
    """Refuse a checkpoint whose classes have other names than those of the data set, by index.

    Args:
        place: Option or word, and path of the checkpoint, for the message.
        saved: Names of the checkpoint; None if they are not known.
        given: Names of the data set.
        background: Whether class 0 of the data set is background.

    Raises:
        ValueError: If a name differs, or the names are the same in another order.
    """
    if saved is None or list(saved) == list(given):
        return
    pairs = zip_longest(saved, given, fillvalue="missing")
    index, (old, new) = next((i, pair) for i, pair in enumerate(pairs) if len({*pair}) > 1)
    found = f"class {index} is {old}, in the data set {new}"
    first = int(background)
    if sorted(saved) == sorted(given) and saved[:first] == given[:first]:
        order = ", ".join(saved[first:])
        raise ValueError(
            f"{place} has the classes of the data set in another order: {found}; give its order, "
            f"--data.classes [{order}]"
        )
    raise ValueError(
        f"{place} was trained with other classes: {found}; give the data set and data.classes it "
        f"was trained with ({', '.join(saved)}), or for other classes start from its backbone "
        "alone, with model.weights"
    )
