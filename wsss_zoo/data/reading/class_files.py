"""Class names, and where masks are coloured their colours, from ``classes.txt`` or ``.json``."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_zoo.files.text import plain, read_text

Color = tuple[int, int, int]

IGNORED_NAME = "ignore"
_FILES = ("classes.txt", "classes.json")
_SEPARATOR = r"[\s,;:]+"
_LINE = re.compile(
    rf"(?P<name>.*[^\s,;:]){_SEPARATOR}"
    rf"(?P<color>#[0-9a-fA-F]{{6}}|\d+{_SEPARATOR}\d+{_SEPARATOR}\d+)"
)


@dataclass(frozen=True)
class ClassFile:
    """Content of a class list.

    Args:
        names: Class names by index.
        colors: Class index by colour in the masks, 255 for ignored ones; empty if the list names no
            colours: masks then hold indices.
    """

    names: list[str]
    colors: dict[Color, int]


def find_class_file(root: Path) -> Path:
    """``classes.txt`` or ``classes.json`` of a data root; the first if there is none."""
    found = [root / name for name in _FILES if (root / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{root} has {_FILES[0]} and {_FILES[1]}; delete one of them")
    return found[0] if found else root / _FILES[0]


def read_class_file(path: Path) -> ClassFile:
    """Read a class list.

    Text: a class a line, ``cat``, ``cat 128 0 0`` or ``cat #800000``. JSON: ``["cat", ...]``,
    ``{"cat": [128, 0, 0], ...}`` or ``[{"name": "cat", "color": "#800000"}, ...]``. Where colours
    are given, the name ``ignore`` is no class: its colours (there may be several) mean 255.

    Raises:
        ValueError: If the file holds no class, a name or colour twice, a name with characters that
            cannot be printed, or colours for a part of the classes only.
    """
    read = _read_json if path.suffix.lower() == ".json" else _read_lines
    names: list[str] = []
    colors: dict[Color, int] = {}
    without_color: list[str] = []
    entries = read(path)
    colored = any(color is not None for _, color in entries)
    for name, color in entries:
        if not name or name in names:
            problem = f"has {name!r} more than once" if name else "has a class without a name"
            raise ValueError(f"{path} {problem}; it must hold different class names")
        if not name.isprintable():
            raise ValueError(
                f"{path} has the class name {name!r} with characters that cannot be printed; "
                "delete them"
            )
        ignored = colored and name == IGNORED_NAME
        if not ignored:
            names.append(name)
        if color is None:
            without_color.append(name)
        elif color in colors:
            raise ValueError(
                f"{path} gives {name!r} the colour {color}, which another class has; colours must "
                "differ"
            )
        else:
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
        match = _LINE.fullmatch(plain(line))
        if match:
            place = f"{path}, line {number}"
            entries.append((match["name"], _color(match["color"], place)))
        elif plain(line):
            entries.append((plain(line), None))
    return entries


def _read_json(path: Path) -> list[tuple[str, Color | None]]:
    try:
        # Pairs in place of a dict, which would drop a name that comes twice.
        content = json.loads(read_text(path), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, _Pairs):
        return [(plain(name), _color(color, str(path))) for name, color in content]
    if not isinstance(content, list):
        raise ValueError(f'{path} must hold ["class", ...] or {{"class": [r, g, b], ...}}')
    return [_json_entry(entry, path) for entry in content]


class _Pairs(list[tuple[str, Any]]):
    """Names and values of a JSON object in their order."""


def _json_entry(entry: object, path: Path) -> tuple[str, Color | None]:
    if isinstance(entry, str):
        return plain(entry), None
    fields: Mapping[str, Any] = dict(entry) if isinstance(entry, _Pairs) else {}
    if not isinstance(fields.get("name"), str):
        raise ValueError(f"{path}: {entry!r} is neither a class name nor has a name")
    return plain(fields["name"]), _color(fields.get("color"), str(path))


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
