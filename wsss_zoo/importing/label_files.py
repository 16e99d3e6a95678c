"""The files of labels that an import writes, as bytes: the same labels give the same bytes."""

import csv
import io
import json
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from wsss_zoo.data.reading.class_files import ClassFile, read_class_file
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import voc_palette

_IGNORED_COLOR = (224, 224, 192)


def palette_of(classes: ClassFile) -> bytes:
    """Make the palette of masks: VOC's colours, or those of the classes."""
    palette = voc_palette()
    for color, index in classes.colors.items():
        palette[index] = color
    return palette.tobytes()


def mask_png(mask: UInt8Array, palette: bytes) -> bytes:
    """Encode a mask as a palette PNG."""
    image = Image.fromarray(mask)
    image.putpalette(palette)
    buffer = io.BytesIO()
    # Run lengths are what such masks are made of: smaller and faster than the default.
    image.save(buffer, "png", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def class_file(classes: ClassFile, has_ignored: bool) -> tuple[str, bytes]:
    """Name and write the class list, with colours where the tool has some.

    ValueError if no list can hold one of the names.
    """
    colors = {index: color for color, index in classes.colors.items()}
    if colors and has_ignored:
        colors.setdefault(IGNORE_INDEX, _IGNORED_COLOR)
    names = [*enumerate(classes.names)] + [(IGNORE_INDEX, "ignore")] * (IGNORE_INDEX in colors)
    lines = (" ".join([name, *map(str, colors.get(index, ()))]) for index, name in names)
    text = "".join(f"{line}\n" for line in lines)
    # Lines may say more than a name: a number, a colour, a comment.
    if _problem("classes.txt", text, classes.names) is None:
        return "classes.txt", text.encode()
    text = json.dumps(classes.names, ensure_ascii=False) + "\n"
    problem = _problem("classes.json", text, classes.names)
    if problem:
        raise ValueError(
            f"a list of the classes {problem}. Rename it in the tool: 'ignore' are pixels that do "
            "not count"
        )
    return "classes.json", text.encode()


def shapes_json(shapes: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Write ``shapes.json``, an image a line."""
    lines = (f"{_json(image_id)}: {_json(shapes[image_id])}" for image_id in sorted(shapes))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def tag_file(tags: Mapping[str, Iterable[str]], names: Sequence[str]) -> tuple[str, bytes]:
    """Name and write the tags, in the order of the classes."""
    order = {name: place for place, name in enumerate(names)}
    rows = {i: sorted(tags[i], key=order.__getitem__) for i in sorted(tags)}
    if any(";" in name for name in names):  # which separates the tags of a line
        return "image_labels.json", (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()
    lines = [(image_id, ";".join(row)) for image_id, row in rows.items()]
    return "image_labels.csv", table(["image_id", "classes"], lines)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Write a CSV file."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _problem(name: str, text: str, names: Sequence[str]) -> str | None:
    """Say why a class list would not be read as these names; None if it would."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(text.encode())
        try:
            return None if read_class_file(path).names == [*names] else "reads otherwise"
        except ValueError as error:
            return str(error).removeprefix(str(path)).strip(" ,:")
