"""Tell the format of annotations from their content."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_zoo.data.formats import cvat_masks, yolo
from wsss_zoo.data.formats.xml_files import root_tag
from wsss_zoo.files.listing import list_files

_WHOLE = 1 << 21  # bytes of a file that is parsed; of a larger one beginning and end are looked at
_PART = 1 << 16
_FIRST = 20  # files of a kind that are looked at
# Lines of YOLO: a class and numbers.
_LINE = re.compile(rb"(\d+( [-+.\deE]+){4,}\s*)+")


def guess_format(path: Path, leave_out: Sequence[Path] = ()) -> str:
    """Tell the format of a file or of a folder; ValueError if there is none, or more than one.

    ``leave_out`` are folders that do not count.
    """
    found: dict[str, Path] = {}
    for name, where in _candidates(path, leave_out):
        found.setdefault(name, where)
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise ValueError(
            f"{path} holds no annotations of labelme, CVAT, COCO, YOLO, Label Studio or VOC; give "
            "the file or folder that the tool exported, and if need be its --format"
        )
    places = ", ".join(f"{name} ({where.name})" for name, where in sorted(found.items()))
    raise ValueError(f"{path} holds several formats: {places}; name one with --format")


def _candidates(path: Path, leave_out: Sequence[Path]) -> Iterable[tuple[str, Path]]:
    if path.is_file():
        yield from _of_file(path)
        if cvat_masks.find_label_map(path) is not None:
            yield "cvat", path
        return
    label_map, settings = cvat_masks.find_label_map(path), yolo.data_file(path)
    if label_map is not None:
        yield "cvat", label_map
    if settings is not None:
        yield "yolo", settings
    found = list_files(path, (), root=path, report=lambda problem: None).others
    listed = [name for name in found if not any(map(Path(name).is_relative_to, leave_out))]
    for suffix in (".json", ".xml"):
        files = [Path(name) for name in listed if name.lower().endswith(suffix)]
        for file in files[:_FIRST]:
            yield from _of_file(file)
    if settings is None:
        texts = [Path(name) for name in listed if name.lower().endswith(".txt")]
        for file in texts:
            if "labels" in file.relative_to(path).parts[:-1] or path.name == "labels":
                yield "yolo", file
                break
        beside = {Path(name).with_suffix("") for name in listed if not name.endswith(".txt")}
        for file in texts[:_FIRST]:
            if file.with_suffix("") in beside and _LINE.fullmatch(_beginning(file).strip()):
                yield "yolo", file
                break


def _of_file(file: Path) -> Iterable[tuple[str, Path]]:
    suffix = file.suffix.lower()
    if suffix in (".yaml", ".yml"):
        yield "yolo", file
    elif suffix == ".json":
        name = _of_json(file)
        if name:
            yield name, file
    elif suffix == ".xml":
        root = root_tag(file)
        if root == "annotations":
            yield "cvat", file
        elif root == "annotation":
            yield "voc", file


def _of_json(file: Path) -> str | None:
    if file.stat().st_size > _WHOLE:
        return _of_text(_beginning(file) + _end(file))
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return _of_text(file.read_bytes())
    if isinstance(content, list):
        first = content[0] if content else None
        if not isinstance(first, Mapping):
            return None
        if "category_id" in first and "image_id" in first:
            return "coco"  # results, which the reader refuses by name
        # "annotations" alone are also in CreateML's lists.
        keys = {"predictions", "completions", "annotation_id", "annotator", "data"}
        return "labelstudio" if keys & first.keys() else None
    if not isinstance(content, Mapping):
        return None
    if isinstance(content.get("shapes"), list):
        return "labelme"
    if "data" in content and "annotations" in content:
        return "labelstudio"
    lists = (content.get(key) for key in ("images", "annotations"))
    return "coco" if any(isinstance(value, list) for value in lists) else None


def _of_text(text: bytes) -> str | None:
    if b'"shapes"' in text and (b'"imagePath"' in text or b'"imageData"' in text):
        return "labelme"
    if b'"from_name"' in text and b'"to_name"' in text:  # whatever the data of its tasks are called
        return "labelstudio"
    if b'"category_id"' in text or b'"categories"' in text or b'"file_name"' in text:
        return "coco"
    if b'"from_name"' in text or b'"annotation_id"' in text or b'"original_width"' in text:
        return "labelstudio"
    return None


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_PART)


def _end(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-_PART, 2)
        return opened.read()
