"""Class names, and where masks are coloured their colours, from ``classes.txt`` or ``.json``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_zoo.data.reading.class_entries import ClassEntry, Color, read_json_list, read_lines
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions, make_pixel_options
from wsss_zoo.files.listing import find_one

_IGNORED_NAME = "ignore"
# What tools call pixels that have no class, less underscores; labelme begins its list with it.
_MARKERS = {"ignore", "ignored", "void", "unlabeled", "unlabelled", "don't care", "dont care"}
_LABELME = "__ignore__"
_BACKGROUNDS = {"background", "back ground", "bg"}
_FILES = ("classes.txt", "classes.json")


@dataclass(frozen=True)
class ClassFile:
    """Class names by index, and class indices by colour, 255 for ignored ones.

    Without colours the masks hold indices. ``pixels`` is what the file says of the images' values.
    """

    names: list[str]
    colors: dict[Color, int]
    pixels: PixelOptions = AS_STORED


def find_class_file(root: Path) -> Path:
    """Find ``classes.txt`` or ``classes.json`` of a data root; the first if there is none."""
    return find_one(root, _FILES) or root / _FILES[0]


def is_background_name(name: str) -> bool:
    """Tell whether a class name says that it is the background.

    >>> is_background_name("_background_"), is_background_name("cat")
    (True, False)
    """
    return name.casefold().strip("_ ") in _BACKGROUNDS


def read_class_file(path: Path) -> ClassFile:
    """Read a class list.

    * Text: a class a line, ``cat``, ``cat 128 0 0``, ``128 0 0 cat`` or ``cat #800000``. Numbers
      before or behind every name (``1 cat``) are the indices. What follows ``#`` is a comment.
    * JSON: ``["cat", ...]``, ``{"cat": [128, 0, 0], ...}``, ``{"0": "cat", ...}``, ``{"cat": 0,
      ...}`` or ``[{"name": "cat", "id": 0, "color": "#800000"}, ...]``; or such a list as
      ``classes`` beside ``value_range`` and ``bands``, see `PixelOptions`.

    Where colours are given, the name ``ignore`` is no class: its colours (there may be several)
    mean 255. ``__ignore__`` in the first line, as labelme writes it, is no class either.

    Raises:
        ValueError: If the file holds no class, a name, number or colour twice, numbers that leave
            one out, a name with characters that cannot be printed, another marker of pixels without
            a class, or numbers or colours for a part of the classes only.
    """
    others: Mapping[str, Any] = {}
    if path.suffix.lower() == ".json":
        entries, others = read_json_list(path)
    else:
        entries = read_lines(path)
        _refuse_one_line(entries, path)
    without_color = [entry.name for entry in entries if entry.color is None]
    colored = len(without_color) < len(entries)
    entries = _in_order(_without_markers(entries, path, colored=colored), path)
    names: list[str] = []
    colors: dict[Color, int] = {}
    for name, color, _ in entries:
        if not name or name in names:
            problem = f"has {name!r} more than once" if name else "has a class without a name"
            raise ValueError(f"{path} {problem}; it must hold different class names")
        if not name.isprintable():
            raise ValueError(
                f"{path} has the class name {name!r} with characters that cannot be printed; "
                "delete them"
            )
        ignored = colored and name == _IGNORED_NAME
        if not ignored:
            names.append(name)
        if color is None:
            continue
        if color in colors:
            raise ValueError(
                f"{path} gives {name!r} the colour {color}, which another class has; colours must "
                "differ"
            )
        colors[color] = 255 if ignored else len(names) - 1
    if not names:
        raise ValueError(f"{path} has no classes; write one class name a line")
    if colored and without_color:
        raise ValueError(
            f"{path} has colours, but none for {without_color[0]!r}; give every class one, or none "
            "if the masks hold class indices"
        )
    return ClassFile(names, colors, _pixels(others, path))


def check_background(names: list[str], path: Path) -> None:
    """Refuse a list whose background is not index 0, for masks whose index 0 is the background."""
    if len(names) == 1:
        raise ValueError(
            f"{path} has one class, {names[0]!r}, and index 0 is the background; write one class "
            "name a line, the background first (or give --data.background false)"
        )
    place = next((n for n, name in enumerate(names) if is_background_name(name)), 0)
    if place:
        raise ValueError(
            f"{path} has {names[place]!r} at index {place}, but index 0 ({names[0]!r}) is taken "
            f"for the background; write it first. If the masks really hold {place} for it, give "
            f"each class its grey value as a colour ('{names[place]} {place} {place} {place}'), "
            "background first; if it is a class like the others, give --data.background false"
        )


def _refuse_one_line(entries: list[ClassEntry], path: Path) -> None:
    if len(entries) == 1 and re.search(r"[,;|\t]", entries[0].name):
        raise ValueError(
            f"{path} has all classes in one line, {entries[0].name!r}; write one class name a line"
        )


def _without_markers(entries: list[ClassEntry], path: Path, *, colored: bool) -> list[ClassEntry]:
    """Leave out the marker of labelme, and refuse others that would become a class."""
    kept = []
    for place, entry in enumerate(entries):
        if place == 0 and entry.name == _LABELME and not colored:
            if entry.number not in (None, 255):
                raise ValueError(
                    f"{path} gives {_LABELME!r} the number {entry.number}; masks hold 255 for it, "
                    "so number the classes from 0 without it"
                )
            continue
        is_marker = entry.name.casefold().strip("_ ") in _MARKERS
        if is_marker and entry.number == 255:
            continue
        if is_marker and not (colored and entry.name == _IGNORED_NAME):
            remedy = (
                "call it 'ignore' to give these pixels 255"
                if colored
                else "leave it out: masks hold 255 for these pixels"
            )
            raise ValueError(
                f"{path} has {entry.name!r}, which marks pixels without a class; {remedy}. If it "
                "is the background or a class, name it so"
            )
        kept.append(entry)
    return kept


def _in_order(entries: list[ClassEntry], path: Path) -> list[ClassEntry]:
    """Sort classes by their numbers, if they have any; these must be 0, 1, 2 and so on."""
    classes = [e for e in entries if not (e.color is not None and e.name == _IGNORED_NAME)]
    numbers = {entry.number: entry.name for entry in classes if entry.number is not None}
    if not numbers:
        return entries
    without = [entry.name for entry in classes if entry.number is None]
    if without:
        raise ValueError(
            f"{path} has numbers, but none for {without[0]!r}; number every class or none"
        )
    if len(numbers) < len(classes):
        given = [entry.number for entry in classes]
        twice = next(number for number in given if given.count(number) > 1)
        first, second, *_ = [entry.name for entry in classes if entry.number == twice]
        raise ValueError(
            f"{path} gives {first!r} and {second!r} the number {twice}; numbers must differ"
        )
    missing = sorted(set(range(len(classes))) - numbers.keys())
    if missing:
        largest = max(numbers)
        raise ValueError(
            f"{path} numbers its classes, and gives {numbers[largest]!r} {largest}, but names no "
            f"class {missing[0]}; numbers are the values in the masks, from 0 without a gap: name "
            "the missing ones too (the background is 0), or delete the numbers if masks hold 0, 1, "
            "2.. in the order of the list"
        )
    ignored = [entry for entry in entries if entry not in classes]
    return sorted(classes, key=lambda entry: entry.number or 0) + ignored


def _pixels(others: Mapping[str, Any], path: Path) -> PixelOptions:
    unknown = others.keys() - {"value_range", "bands"}
    if unknown:
        raise ValueError(
            f"{path} says {sorted(unknown)[0]!r}, which is not read; beside 'classes' it may have "
            "'value_range' and 'bands'"
        )
    for name, value in others.items():
        if not isinstance(value, list):
            raise ValueError(f"{path} has {name} {value!r}; give a list, as [0, 4095] or [1, 2, 3]")
    try:
        return make_pixel_options(**others)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
