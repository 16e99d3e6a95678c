"""The files of labels that an import writes, as bytes: the same labels give the same bytes."""

import csv
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from wsss_zoo.data.reading.class_files import ClassFile
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
    """Name and write the class list, with colours where the tool has some."""
    colors = {index: color for color, index in classes.colors.items()}
    if colors and has_ignored:
        colors.setdefault(IGNORE_INDEX, _IGNORED_COLOR)
    if any(map(_has_color, classes.names)):
        return "classes.json", (json.dumps(classes.names, ensure_ascii=False) + "\n").encode()
    names = [*enumerate(classes.names)] + [(IGNORE_INDEX, "ignore")] * (IGNORE_INDEX in colors)
    lines = (" ".join([name, *map(str, colors.get(index, ()))]) for index, name in names)
    return "classes.txt", "".join(f"{line}\n" for line in lines).encode()


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


def _has_color(name: str) -> bool:
    """Tell whether a line of the class list would be read as a name and a colour."""
    return bool(re.search(r"[\s,;:](#[0-9a-fA-F]{6}|\d+[\s,;:]+\d+[\s,;:]+\d+)$", name))
