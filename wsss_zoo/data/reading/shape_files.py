"""Strokes, points, polygons and boxes that users drew, from JSON and CSV."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from wsss_zoo.data.reading.splits import find_by_end
from wsss_zoo.data.reading.tag_tables import NUMBERING, Table, read_table
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem, read_text

Kind = Literal["stroke", "point", "polygon", "box"]
Point = tuple[float, float]
#: What the files of a folder are called.
SHAPE_FILES = ("shapes.json", "boxes.csv", "points.csv")

KINDS: tuple[Kind, ...] = get_args(Kind)
_WIDTH = 3  # of a stroke that says nothing else, pixels
_LARGEST = 1e6  # coordinate or width; more is no image, and would take long to draw
_BOX_COLUMNS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))


@dataclass(frozen=True)
class Shape:
    """One thing that a user drew, in continuous pixels of the upright image.

    Args:
        kind: What it is.
        name: Name of its class.
        rings: Points x, y: one list of joints, of one point, of two corners of a box; or the rings
            of a polygon, of which the inner ones are holes.
        origin: File, image and number of the shape, for messages.
        width: Width of a stroke, pixels.
    """

    kind: Kind
    name: str
    rings: tuple[tuple[Point, ...], ...]
    origin: str
    width: int = _WIDTH

    @property
    def points(self) -> tuple[Point, ...]:
        """Points of the first or only ring."""
        return self.rings[0]


#: Shapes by image id, in the order of the files.
Shapes = dict[str, list[Shape]]


def read_shape_files(
    folder: Path,
    known_classes: Collection[str],
    report: Report = raise_problem,
    ids: Mapping[str, str] | None = None,
) -> Shapes:
    """Read ``shapes.json``, ``boxes.csv`` and ``points.csv`` of a folder, where they exist.

    JSON: ``{"id": [{"class": "cat", "stroke": [[x, y], ..], "width": 3}, ..]}``, with ``stroke``,
    ``point`` [x, y], ``polygon`` [ring, hole, ..] or ``box`` [x0, y0, x1, y1]. CSV: a header, then
    ``image_id,class,x0,y0,x1,y1`` or ``image_id,class,x,y``; fields are separated by commas,
    semicolons or tabs. What else is accepted: see `read_table`. Corners of a box may be given in
    any order.

    Args:
        folder: The folder.
        known_classes: Names that a shape may have.
        report: What to do with a shape that cannot be used; it is then left out.
        ids: Image ids by the names that the files may give them; other names are reported.
    """
    shapes: Shapes = {}
    for name, read in zip(SHAPE_FILES, (_read_json, _read_boxes, _read_points), strict=True):
        path = folder / name
        if not path.is_file():
            continue
        for image_id, found in read(path, report).items():
            problem = id_problem(image_id)
            image = image_id if ids is None or problem else find_by_end(image_id, ids)
            if image is None and problem is None:
                problem = "is no image of this data set"
            if problem or image is None:
                report(f"{path}: id {image_id!r} {problem}; correct the id or delete the entry")
                continue
            named = [shape for shape in found if _is_known(shape, known_classes, report)]
            shapes.setdefault(image, []).extend(named)
    return shapes


def _is_known(shape: Shape, known: Collection[str], report: Report) -> bool:
    if shape.name in known:
        return True
    close = get_close_matches(shape.name.lower(), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    report(
        f"{shape.origin} has the unknown class {shape.name!r}{hint}; correct it: the data set "
        f"knows {', '.join(sorted(known))}"
    )
    return False


def _read_json(path: Path, report: Report) -> Shapes:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(normalise(key) for key, _ in pairs).items():
            if times > 1:
                report(f"{path} has {key!r} more than once in one object; delete the repetition")
        return {normalise(key): value for key, value in pairs}

    text = read_text(path)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    content = json.loads(text, object_pairs_hook=unique)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold {{image id: [shapes]}}")
    shapes: Shapes = {}
    for image_id, entries in content.items():
        if not isinstance(entries, list):
            report(f"{path}: {image_id!r} must have a list of shapes")
            continue
        made = (_from_json(path, image_id, n, each, report) for n, each in enumerate(entries, 1))
        shapes[image_id] = [shape for shape in made if shape is not None]
    return shapes


def _from_json(path: Path, image_id: str, number: int, entry: Any, report: Report) -> Shape | None:
    origin = f"{path}, image {image_id!r}, shape {number}"
    kinds = [kind for kind in KINDS if isinstance(entry, dict) and kind in entry]
    if len(kinds) != 1 or not isinstance(entry.get("class"), str):
        report(f"{origin}: expected 'class' and one of {', '.join(map(repr, KINDS))}")
        return None
    kind, value = kinds[0], entry[kinds[0]]
    if kind == "point":
        value = [[value]]
    elif kind == "box":
        value = [[value[:2], value[2:]]] if isinstance(value, list) and len(value) == 4 else None
    elif kind == "stroke" or _is_ring(value):
        value = [value]
    least = {"point": 1, "box": 2, "stroke": 1, "polygon": 3}[kind]
    usable = isinstance(value, list) and all(map(_is_ring, value))
    # Rings of one or two points, which tools write beside others, have no area.
    if not usable or not any(len(ring) >= least for ring in value):
        wanted = {"point": "[x, y]", "box": "[x0, y0, x1, y1]", "stroke": "[[x, y], ..]"}
        report(
            f"{origin}: {kind!r} must be {wanted.get(kind, '[[[x, y], ..], hole, ..]')}, numbers"
        )
        return None
    width = entry.get("width", _WIDTH)
    if not _is_number(width) or width != int(width) or width < 1:
        report(f"{origin}: width is {width!r}; give whole pixels, 1 or more")
        return None
    rings = tuple(tuple((float(x), float(y)) for x, y in ring) for ring in value)
    return Shape(kind, normalise(entry["class"]), rings, origin, int(width))


def _is_ring(value: Any) -> bool:
    """Whether a value is a list of points x, y."""
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))
        for point in value
    )


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and abs(value) < _LARGEST


def _read_boxes(path: Path, report: Report) -> Shapes:
    return _read_csv(path, "box", _BOX_COLUMNS, report)


def _read_points(path: Path, report: Report) -> Shapes:
    return _read_csv(path, "point", (("x", "y"),), report)


def _read_csv(path: Path, kind: Kind, columns: Sequence[tuple[str, ...]], report: Report) -> Shapes:
    wanted = ("image_id", "class", *columns[0])
    table = read_table(path, "") if read_text(path).strip() else Table(path, 1, [], [], ",")
    header = [name.lower() for name in table.header]
    places = _places(header, columns)
    if places is None:
        raise ValueError(
            f"{path}: its first line must be the header {','.join(wanted)} (pixels, the corner of "
            f"the top left pixel is 0, 0), but it is {','.join(table.header)!r}; add or correct it"
        )
    shapes: Shapes = {}
    for line, row in table.rows:
        if len(row) != len(header):
            report(f"{path}, line {line}: expected {len(header)} fields, got {len(row)}")
            continue
        image_id, name, *cells = (row[place] for place in places)
        numbers = [_number(cell, table.delimiter) for cell in cells]
        if None in numbers:
            wrong = cells[numbers.index(None)]
            report(f"{path}, line {line}: {wrong!r} is no number; give pixels")
            continue
        given = [number for number in numbers if number is not None]
        points = tuple(zip(given[0::2], given[1::2], strict=True))
        shape = Shape(kind, name, (points,), f"{path}, line {line}, image {image_id!r}")
        shapes.setdefault(image_id, []).append(shape)
    found = [value for shape in _all(shapes) for point in shape.points for value in point]
    if len(found) > 2 and all(0 <= value <= 1 for value in found):
        report(
            f"{path}: all coordinates are in [0, 1]; multiply them by the width and the height of "
            "the image, as pixels are expected"
        )
    return shapes


def _all(shapes: Shapes) -> Iterable[Shape]:
    return (shape for found in shapes.values() for shape in found)


def _places(header: Sequence[str], columns: Sequence[tuple[str, ...]]) -> list[int] | None:
    """Columns of id, class and coordinates in a header; None if it names others.

    A first column may number the rows, as pandas writes it.
    """
    named = header[1:] if header and header[0] in NUMBERING else header
    for names in columns:
        for first in ("image_id", "id"):
            if sorted(named) == sorted([first, "class", *names]):
                return [header.index(name) for name in (first, "class", *names)]
    return None


def _number(cell: str, delimiter: str) -> float | None:
    try:
        value = float(cell if delimiter == "," else cell.replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < _LARGEST else None
