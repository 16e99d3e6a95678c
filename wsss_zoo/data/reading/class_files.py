"""Class names, and where masks are coloured their colours, from ``classes.txt`` or ``.json``."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_zoo.files.listing import find_one
from wsss_zoo.files.text import normalise, read_text

Color = tuple[int, int, int]

_IGNORED_NAME = "ignore"
_FILES = ("classes.txt", "classes.json")
_SEPARATOR = r"[\s,;:]+"
_LINE = re.compile(
    rf"(?P<name>.*[^\s,;:]){_SEPARATOR}"
    rf"(?P<color>#[0-9a-fA-F]{{6}}|\d+{_SEPARATOR}\d+{_SEPARATOR}\d+)"
)


@dataclass(frozen=True)
class ClassFile:
    """Class names by index, and class indices by colour, 255 for ignored ones.

    Without colours the masks hold indices.
    """

    names: list[str]
    colors: dict[Color, int]


def find_class_file(root: Path) -> Path:
    """Find ``classes.txt`` or ``classes.json`` of a data root; the first if there is none."""
    return find_one(root, _FILES) or root / _FILES[0]


def read_class_file(path: Path) -> ClassFile:
    """Read a class list.

    Text: a class a line, ``cat``, ``cat 128 0 0`` or ``cat #800000``. JSON: ``["cat", ...]``,
    ``{"cat": [128, 0, 0], ...}`` or ``[{"name": "cat", "color": "#800000"}, ...]``. Where colours
    are given, the name ``ignore`` is no class: its colours (there may be several) mean 255.

    ValueError if the file holds no class, a name or colour twice, a name with characters that
    cannot be printed, or colours for a part of the classes only.
    """
    names: list[str] = []
    colors: dict[Color, int] = {}
    entries = _read_json(path) if path.suffix.lower() == ".json" else _read_lines(path)
    without_color = [name for name, color in entries if color is None]
    colored = len(without_color) < len(entries)
    for name, color in entries:
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
    return ClassFile(names, colors)


def _read_lines(path: Path) -> list[tuple[str, Color | None]]:
    entries: list[tuple[str, Color | None]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        match = _LINE.fullmatch(normalise(line))
        if match:
            entries.append((match["name"], _color(match["color"], f"{path}, line {number}")))
        elif normalise(line):
            entries.append((normalise(line), None))
    return entries


def _read_json(path: Path) -> list[tuple[str, Color | None]]:
    try:
        # Pairs in place of a dict, which would drop a name that comes twice.
        content = json.loads(read_text(path), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, _Pairs):
        return [(normalise(name), _color(color, str(path))) for name, color in content]
    if not isinstance(content, list):
        raise ValueError(f'{path} must hold ["class", ...] or {{"class": [r, g, b], ...}}')
    return [_json_entry(entry, path) for entry in content]


class _Pairs(list[tuple[str, Any]]):
    """Names and values of a JSON object in their order."""


def _json_entry(entry: object, path: Path) -> tuple[str, Color | None]:
    if isinstance(entry, str):
        return normalise(entry), None
    fields: Mapping[str, Any] = dict(entry) if isinstance(entry, _Pairs) else {}
    if not isinstance(fields.get("name"), str):
        raise ValueError(f"{path}: {entry!r} is neither a class name nor has a name")
    return normalise(fields["name"]), _color(fields.get("color"), str(path))


def _color(value: object, place: str) -> Color | None:
    """Colour from ``"#800000"``, ``"128 0 0"`` or ``[128, 0, 0]``."""
    if value is None:
        return None
    numbers: list[Any] = []
    if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value.strip()):
        numbers = list(bytes.fromhex(value.strip()[1:]))
    elif isinstance(value, str):
        parts = re.split(_SEPARATOR, value.strip())
        numbers = [int(part) if part.isdecimal() else part for part in parts]
    elif isinstance(value, list):
        numbers = value
    if len(numbers) != 3 or not all(type(n) is int and 0 <= n <= 255 for n in numbers):
        raise ValueError(
            f"{place}: {value!r} is no colour; write '128 0 0' (red, green, blue in 0..255) or "
            "'#800000'"
        )
    red, green, blue = numbers
    return red, green, blue
