"""What the lines of ``classes.txt`` and the entries of ``classes.json`` say, each by itself."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsss_zoo.files.text import normalise, read_text

Color = tuple[int, int, int]

_SEPARATOR = r"[\s,;:]+"
_COLOR = rf"#[0-9a-fA-F]{{6}}|\d+{_SEPARATOR}\d+{_SEPARATOR}\d+"
_COLOR_LAST = re.compile(rf"(?P<name>.*[^\s,;:]){_SEPARATOR}(?P<color>{_COLOR})[\s,;:]*")
# Also with a number before it: '7 128 64 128 road'.
_COLOR_FIRST = re.compile(
    rf"(?:(?P<number>\d+){_SEPARATOR})?(?P<color>{_COLOR}){_SEPARATOR}(?P<name>.*[^\d\s,;:].*)"
)
_NUMBER_FIRST = re.compile(r"[(\[]?(\d+)(?:\.0+)?[)\]]?(?:\s+-\s+|\.\s+|[\s,;:=]+)(.*\D.*)")
_NUMBER_LAST = re.compile(r"(.*[^\d\s,;:=])[\s,;:=]+[(\[]?(\d+)(?:\.0+)?[)\]]?")
# A colour is no comment.
_COMMENT = re.compile(r"\s+(?:#(?![0-9a-fA-F]{6}\b)|//).*$")
# Comments and lists of other languages, tables of Markdown, hexadecimal numbers.
_NO_NAMES = ("//", ";", "%", "--", "- ", "* ", "|", "0x")
_NAME_WORDS = {"name", "names", "class", "classes", "label", "labels", "category", "categories"}
_HEADING_WORDS = {
    *_NAME_WORDS,
    *("id", "index", "value", "number", "color", "colour", "rgb", "hex"),
    *("r", "g", "b", "red", "green", "blue", "class_name", "class_id", "label_name", "label_id"),
}
# What lines of YAML and of other formats have.
_NO_NAME = re.compile(r".*:\s.*|.*\{|\}")
# Fields of an entry in JSON that give the value in the masks.
_NUMBER_FIELDS = ("id", "index", "value", "class_id", "label_id", "category_id")
_NUMBER_LIKE = re.compile(r"id$|index|value|number", re.IGNORECASE)
_LISTS = ("classes", "categories", "labels", "names", "id2label", "label2id")


class ClassEntry(NamedTuple):
    """A class of a list: its name, its colour if it has one, and its number if it has one."""

    name: str
    color: Color | None = None
    number: int | None = None


def read_lines(path: Path) -> list[ClassEntry]:
    """Read the entries of a text file; ValueError for a line that is no class."""
    content = read_text(path)
    if _is_json(content):
        raise ValueError(f"{path} holds JSON; call it classes.json")
    lines = [normalise(line) for line in content.split("\n")]
    entries: list[ClassEntry] = []
    for number, line in enumerate(lines, 1):
        text = _COMMENT.sub("", line).rstrip(" \t,;")
        is_color = _COLOR_FIRST.fullmatch(text)
        if not text or (line.startswith("#") and not is_color):
            continue
        place = f"{path}, line {number}"
        if text.startswith(_NO_NAMES):
            raise ValueError(
                f"{place} is {line!r}, which begins like no class name; write one class name a "
                "line. Comments begin with #"
            )
        words = {word.casefold() for word in re.split(_SEPARATOR, text) if word}
        if not entries and words <= _HEADING_WORDS and words & {*_NAME_WORDS, "class_name"}:
            raise ValueError(f"{place} is {line!r}, a heading and no class; delete the line")
        entries.append(_entry(text, place))
    entries = _numbered(entries, path)
    for entry in entries:
        if _NO_NAME.fullmatch(entry.name):
            raise ValueError(
                f"{path} has the line {entry.name!r}, which is neither a name nor a name with a "
                "colour or a number; write one class name a line"
            )
    return entries


def _is_json(content: str) -> bool:
    try:
        return isinstance(json.loads(content), list | dict)
    except (ValueError, RecursionError):
        return False


def _entry(text: str, place: str) -> ClassEntry:
    match = _COLOR_FIRST.fullmatch(text)
    if match:
        number = match["number"]
        color = read_color(match["color"], place)
        return ClassEntry(_unquoted(match["name"]), color, None if number is None else int(number))
    match = _COLOR_LAST.fullmatch(text)
    if match:
        return ClassEntry(_unquoted(match["name"]), read_color(match["color"], place))
    return ClassEntry(_unquoted(text))


def _unquoted(name: str) -> str:
    quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "\"'"
    return name[1:-1].strip() if quoted else name


def _numbered(entries: list[ClassEntry], path: Path) -> list[ClassEntry]:
    """Take numbers off the names, where a list has them."""
    first = [_NUMBER_FIRST.fullmatch(entry.name) for entry in entries]
    with_number = [
        entry
        for entry, match in zip(entries, first, strict=True)
        if match or entry.number is not None
    ]
    if with_number:
        without = [entry for entry in entries if entry not in with_number]
        if without:
            raise ValueError(
                f"{path} has a number before {with_number[0].name!r}, but none before "
                f"{without[0].name!r}; number every class or none. If the number belongs to the "
                "name, join them: '4-wheeler'"
            )
        return [
            entry._replace(name=_unquoted(match[2]), number=int(match[1])) if match else entry
            for entry, match in zip(entries, first, strict=True)
        ]
    last = [_NUMBER_LAST.fullmatch(entry.name) for entry in entries]
    # 'grade 1' and 'grade 2' are names, and so is 'route 66' among others.
    if len(entries) > 1 and len({match[1] for match in last if match}) == len(entries):
        return [
            entry._replace(name=_unquoted(match[1]), number=int(match[2]))
            for entry, match in zip(entries, last, strict=True)
            if match
        ]
    return entries


def read_json_list(path: Path) -> tuple[list[ClassEntry], Mapping[str, Any]]:
    """Read the entries of a JSON file, and what else it says beside them."""
    try:
        # Pairs in place of a dict, which would drop a name that comes twice.
        content = json.loads(read_text(path), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    others: Mapping[str, Any] = {}
    if isinstance(content, _Pairs):
        fields = dict(content)
        held = [name for name in _LISTS if isinstance(fields.get(name), _Pairs | list)]
        # A class may be called 'labels': then its value is a colour.
        if held and not _is_color(fields[held[0]]):
            content = fields.pop(held[0])
            others = fields
    if isinstance(content, _Pairs):
        return _from_pairs(content, path), others
    if not isinstance(content, list):
        raise ValueError(f'{path} must hold ["class", ...] or {{"class": [r, g, b], ...}}')
    entries = [_json_entry(entry, path) for entry in content]
    _refuse_other_numbers([dict(e) for e in content if isinstance(e, _Pairs)], path)
    return entries, others


def _refuse_other_numbers(fields: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Refuse a field that may be the value in the masks under a name that is not read."""
    for key in dict.fromkeys(key for entry in fields for key in entry):
        numbers = [_whole(entry.get(key)) for entry in fields]
        if key in _NUMBER_FIELDS or None in numbers or len({*numbers}) < max(2, len(numbers)):
            continue
        if numbers != list(range(len(numbers))):
            raise ValueError(
                f"{path} has a number for each class as {key!r} ({numbers[0]} for "
                f"{fields[0]['name']!r}), which is not read; call it 'id' if it is the value in "
                "the masks, else delete it"
            )


def _whole(value: object) -> int | None:
    """Read a whole number, also one in quotes or written 1.0; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = re.fullmatch(r"\s*(-?\d+)(?:\.0*)?\s*", str(value))
    return int(text[1]) if text else None


class _Pairs(list[tuple[str, Any]]):
    """Names and values of a JSON object in their order."""


def _is_color(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int for v in value)


def _from_pairs(pairs: Sequence[tuple[str, Any]], path: Path) -> list[ClassEntry]:
    """Read {name: colour}, {name: number} or {number: name}."""
    if pairs and all(key.strip().isdecimal() and isinstance(v, str) for key, v in pairs):
        return [ClassEntry(normalise(name), None, int(key)) for key, name in pairs]
    values = [value for _, value in pairs]
    if values and all(type(v) is int for v in values) and 0 in values:
        return [ClassEntry(normalise(name), None, value) for name, value in pairs]
    return [ClassEntry(normalise(name), read_color(color, str(path))) for name, color in pairs]


def _json_entry(entry: object, path: Path) -> ClassEntry:
    if isinstance(entry, str):
        return ClassEntry(normalise(entry))
    fields: Mapping[str, Any] = dict(entry) if isinstance(entry, _Pairs) else {}
    if not isinstance(fields.get("name"), str):
        shown = dict(entry) if isinstance(entry, _Pairs) else entry
        raise ValueError(f"{path}: {shown!r} is neither a class name nor has a name")
    name, numbers = normalise(fields["name"]), set()
    for key, value in fields.items():
        number = _whole(value)
        if number is None:
            continue
        if key in _NUMBER_FIELDS:
            numbers.add(number)
        elif _NUMBER_LIKE.search(key):
            raise ValueError(
                f"{path} gives {name!r} the field {key!r}, which is not read; delete it, or call "
                "it 'id' if it is the value in the masks"
            )
    if len(numbers) > 1:
        raise ValueError(f"{path} gives {name!r} the numbers {sorted(numbers)}; keep one")
    color = fields.get("color", fields.get("colour"))
    return ClassEntry(name, read_color(color, str(path)), next(iter(numbers), None))


def read_color(value: object, place: str) -> Color | None:
    """Read a colour from ``"#800000"``, ``"128 0 0"`` or ``[128, 0, 0]``; ValueError if none."""
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
