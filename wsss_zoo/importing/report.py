"""What an import found and did, in words and as JSON values."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import read_json
from wsss_zoo.importing.output import MANIFEST

_SHOWN = 3  # places named of what is left out
_CLASSES = 30  # names shown

_WORDS = {"box": ("box", "boxes"), "ignore": ("ignored region", "ignored regions")}


def lines_of_import(root: Path) -> list[str]:
    """Word what the import that wrote a folder found; nothing if none did."""
    result = read_json(root / MANIFEST)
    if not {"format", "images", "shapes", "classes", "left_out"} <= result.keys():
        return []
    left_out = [f"  {count} x {reason}" for reason, count in result["left_out"].items()]
    return [*report_lines(result, {}), *(["left out:", *left_out] if left_out else [])]


def shape_counts(kinds: Mapping[str, int]) -> str:
    """Word the number of shapes by kind.

    >>> shape_counts({"polygon": 2, "box": 1})
    '1 box, 2 polygons'
    """
    words = (
        f"{count} {_WORDS.get(kind, (kind, kind + 's'))[count != 1]}"
        for kind, count in sorted(kinds.items())
    )
    return ", ".join(words) or "none"


def overlap_lines(overlaps: Mapping[tuple[str, str], int]) -> list[str]:
    """Word the pixels that two classes both claim, most first."""
    most = Counter(dict(overlaps)).most_common(5)
    return [f"{first} and {second}: {count} pixels" for (first, second), count in most]


def left_out_lines(left_out: Mapping[str, list[str]]) -> list[str]:
    """Word what is left out, and where."""
    lines = []
    for reason, places in sorted(left_out.items()):
        first = "; ".join(places[:_SHOWN]) + ("; .." if len(places) > _SHOWN else "")
        lines.append(f"{len(places)} x {reason}: {first}")
    return lines


def report_lines(result: Mapping[str, Any], left_out: Mapping[str, list[str]]) -> Iterator[str]:
    """Word the result of an import, which its manifest holds too, and what was left out."""
    images = result["images"]
    yield f"format: {result['format']}"
    yield (
        f"images: {images['all']}; annotated: {images['annotated']}, of these empty: "
        f"{images['empty']}; without annotation: {images['unlabeled']}"
    )
    yield f"shapes: {shape_counts(result['shapes'])}"
    names = result["classes"]
    more = f", .. ({len(names)} in all)" if len(names) > _CLASSES else ""
    yield f"classes: {', '.join(names[:_CLASSES])}{more}"
    yield f"written: {result['written']}"
    yield result["rest"]
    if result["overlaps"]:
        yield "pixels that two classes claim, where the upper one counts:"
        yield from (f"  {line}" for line in result["overlaps"])
    if left_out:
        yield "left out:"
        yield from (f"  {line}" for line in left_out_lines(left_out))
    yield from result["notes"]
