"""Tables of tags in CSV, as people and programs write them."""

import ast
import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from wsss_zoo.files.text import Report, normalise, read_text

logger = logging.getLogger(__name__)

# What the columns of a table with one column for each class may hold.
_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}
# Headers of a column that only numbers the rows; pandas writes the first and reads the second.
NUMBERING = ("", "unnamed: 0", "index")
_SEP = re.compile(r'"?sep=(.)"?[,;\t ]*', re.IGNORECASE)
_IMAGE = re.compile(r".+\.(?:jpe?g|png|tiff?|bmp|gif|webp|heic)", re.IGNORECASE)


@dataclass
class Table:
    """Header and rows of a file with their line numbers; cells are normalised."""

    path: Path
    header_line: int
    header: list[str]
    rows: list[tuple[int, list[str]]]
    delimiter: str

    def at(self, line: int) -> str:
        """Name a line for a message."""
        return f"tag file {self.path}, line {line}"

    def column(self, index: int) -> list[str]:
        """Collect the cells of a column, of the rows that have it."""
        return [row[index] for _, row in self.rows if len(row) > index]


def read_tag_table(
    path: Path,
    known_classes: Collection[str],
    report: Report,
    find: Callable[[str], str],
    images: Collection[str] = (),
) -> dict[str, list[str]]:
    """Read the names of the classes in each image from a CSV file; see `read_tag_file`.

    Accepted without a word: a byte-order mark, comments before the header (``# of 2024``), Excel's
    first line ``sep=;``, empty columns at the end, a first column of row numbers (pandas' index),
    lists as pandas writes them (``['cat', 'dog']``). Several rows of one image add up, which is
    logged.

    Args:
        path: The file.
        known_classes: Class names; they tell a single column of 0 and 1 from a list of classes.
        report: What to do with a row that cannot be used; it is then left out.
        find: Finds the id of the image that a cell names.
        images: Names of images; they tell the column of the ids, and a missing header.
    """
    table = read_table(path)
    _drop_numbering(table, known_classes, images)
    tags: dict[str, list[str]] = {}
    if _lacks_header(table, known_classes, images, report):
        if len(table.header) != 2:
            return tags
        table.rows.insert(0, (table.header_line, table.header))
        table.header = ["", ""]
    other = _column_of_ids(table, images)
    if other:
        report(
            f"{table.at(table.header_line)}: the first column {table.header[0]!r} has no ids of "
            f"images, but column {other + 1} {table.header[other]!r} has; put that one first"
        )
        return tags
    flags = all(_is_flag(cell) for cell in table.column(-1))
    one_flag = len(table.header) == 2 and table.header[1] in known_classes and flags
    if len(table.header) > 2 or one_flag:
        rows = _read_flags(table, known_classes, report)
    else:
        rows = _read_names(table, known_classes, report)
    return _add_up(table, rows, report, find, are_flags=len(table.header) > 2 or one_flag)


def read_table(path: Path, what: str = "tag file ") -> Table:
    """Read the cells of a CSV file; ``what`` it is stands before its path in messages.

    Comments before the header, ``sep=;`` and empty columns at the end are left out.
    """
    text = re.sub(r"\A(?:\n*#[^\n,;\t|]*\n)+", "", read_text(path))
    first_line = text.lstrip("\n").partition("\n")[0]
    told = _SEP.fullmatch(first_line)
    marks = ",;\t" if re.search("[,;\t]", first_line) else "|,"
    guessed = next((char for char in first_line if char in marks), ",")
    delimiter = told[1] if told else guessed
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, list(map(normalise, row))) for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(f"{what}{path}, line {reader.line_num}: {error}") from error
    rows = rows[1:] if told else rows
    if not rows:
        raise ValueError(f"{what}{path} is empty; its first line must be a header")
    line, header = rows.pop(0)
    width = len(header)
    while width > 1 and not header[width - 1] and not any(any(r[width - 1 :]) for _, r in rows):
        width -= 1
    for _, row in rows:
        while len(row) > width and not row[-1]:
            row.pop()
    return Table(path, line, header[:width], rows, delimiter)


def _drop_numbering(table: Table, known: Collection[str], images: Collection[str]) -> None:
    """Drop a first column that only numbers the rows."""
    header, first = table.header, table.column(0)
    numbers = all(re.fullmatch(r"\d+", cell) for cell in first) and len({*first}) == len(first)
    if len(header) < 3 or header[0].lower() not in NUMBERING or not numbers:
        return
    # Else the numbers are the ids, and the next column is a class.
    second = table.column(1)
    are_ids = bool(images) and all(cell in images for cell in second)
    are_flags = all(map(_is_flag, second))
    if header[1] in known or (not are_ids and (are_flags or all(i in images for i in first))):
        return
    table.header = header[1:]
    table.rows = [(line, row[1:]) for line, row in table.rows]


def _lacks_header(
    table: Table, known: Collection[str], images: Collection[str], report: Report
) -> bool:
    """Tell whether the first line is a row of the table, and report it."""
    cells = table.header
    classes = {*known}
    is_row = any(cell in images or _IMAGE.fullmatch(cell) for cell in cells if cell not in classes)
    is_flags = all(map(_is_flag, cells[1:])) and any(cells[1:])
    is_row |= is_flags and not classes.issuperset(cells[1:])
    is_row |= len(cells) == 2 and bool({*_names(cells[1], known)} & classes) and not (
        cells[1] in classes and all(map(_is_flag, table.column(1)))
    )  # fmt: skip
    if is_row:
        columns = ",classes" if len(cells) == 2 else " and the class of each column"
        place = table.at(table.header_line)
        report(f"{place} has tags; add a header line before it: image_id{columns}")
    return is_row


def _column_of_ids(table: Table, images: Collection[str]) -> int:
    """Find the column of ids: 0, unless that has none and another has nothing else."""
    if not images or not table.rows or any(cell in images for cell in table.column(0)):
        return 0
    others = range(1, len(table.header))
    return next((n for n in others if all(cell in images for cell in table.column(n))), 0)


Rows = list[tuple[int, str, list[str]]]  # line, name of the image, classes


def _read_names(table: Table, known: Collection[str], report: Report) -> Rows:
    rows: Rows = []
    for line, row in table.rows:
        if len(row) == 2:
            rows.append((line, row[0], _names(row[1], known)))
        else:
            text = f"{table.at(line)}: expected 'image_id,class;class', got {len(row)} fields"
            report(f"{text}; put several classes between quotes, or ; between them")
    return rows


def _read_flags(table: Table, known: Collection[str], report: Report) -> Rows:
    """Tags from a table with a column of 0 and 1 for each class."""
    columns = table.header[1:]
    if known and not {*columns} & {*known} and _hold_names(table, known):
        report(
            f"{table.at(table.header_line)}: the columns {', '.join(columns)} hold names of "
            "classes; write them in one column, as cat;dog, or make a column of 0 and 1 for each "
            "class"
        )
        return []
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    unknown = {name for name in columns if known and name not in known}
    for name in dict.fromkeys(repeated):
        report(f"{table.at(table.header_line)}: two columns have the name {name!r}; rename one")
    for name in columns:
        if name in unknown:
            close = get_close_matches(name, known, n=1)
            hint = f"rename it to {close[0]!r} if that is meant" if close else "rename it if it is"
            report(
                f"{table.at(table.header_line)}: column {name!r} is none of the classes; {hint}, "
                "else save the table without it"
            )
    rows: Rows = []
    for line, row in table.rows:
        if len(row) != len(table.header):
            report(
                f"{table.at(line)}: expected {len(table.header)} fields, got {len(row)} "
                "('image_id,class;class', or a column of 0 and 1 for each class)"
            )
            continue
        names = []
        for name, flag in zip(columns, row[1:], strict=True):
            present = _FLAGS.get(flag.lower())
            if name in unknown:
                continue
            if present is None:
                report(f"{table.at(line)}: {flag!r} in column {name!r} is neither 1 nor 0")
            elif present:
                names.append(name)
        rows.append((line, row[0], names))
    return rows


def _add_up(
    table: Table, rows: Rows, report: Report, find: Callable[[str], str], *, are_flags: bool
) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    repeated: dict[str, None] = {}
    for line, name, names in rows:
        image_id = find(name)
        if image_id in tags and are_flags and {*tags[image_id]} != {*names}:
            report(
                f"{table.at(line)}: {name!r} has other classes than in line {lines[image_id]}; "
                "correct the wrong one of the two lines"
            )
            continue
        if image_id in tags:
            repeated[image_id] = None
        lines.setdefault(image_id, line)
        known = tags.setdefault(image_id, [])
        known += [name for name in names if name not in known]
    if repeated:
        logger.warning(
            "tag file %s: %d images have several rows, which are added up, first: %s",
            table.path,
            len(repeated),
            ", ".join([*repeated][:3]),
        )
    return tags


def _hold_names(table: Table, known: Collection[str]) -> bool:
    return any(cell in known for _, row in table.rows for cell in row[1:])


def _is_flag(cell: str) -> bool:
    return cell.lower() in _FLAGS


def _names(field: str, known: Collection[str]) -> list[str]:
    """Split a cell; other separators than ; count where all parts are known classes."""
    if field.startswith("[") and field.endswith("]"):
        try:
            return [normalise(str(name)) for name in ast.literal_eval(field)]
        except (ValueError, SyntaxError):
            field = field[1:-1]
    names: list[str] = []
    for name in _stripped(field.split(";")):
        parts = _stripped(re.split(r"[,|]", name))
        names += parts if name not in known and all(part in known for part in parts) else [name]
    return names


def _stripped(names: Iterable[str]) -> list[str]:
    return [name.strip() for name in names if name.strip()]
