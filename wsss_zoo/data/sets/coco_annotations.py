"""COCO's instance annotations: the objects of each image, and an index that is read quickly."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.sets.class_names.coco import COCO_THINGS
from wsss_zoo.files.atomic import write_atomic

# Ids become names of files, so nothing else may pass for one.
_IMAGE_NAME = re.compile(r"(COCO_(?:train|val)2014_\d{12})\.jpg")


@dataclass(frozen=True)
class CocoObject:
    """One annotated object.

    Args:
        label: Class index, 1..80.
        area: Pixels that the object covers, as annotated.
        is_crowd: Whether the outline encloses a group of objects of the class.
        outline: Polygons ``[[x, y, ...], ...]`` or a run-length code.
    """

    label: int
    area: float
    is_crowd: bool
    outline: Any


@dataclass(frozen=True)
class CocoIndex:
    """What an annotation file says of its images, without the outlines.

    Args:
        ids: Image ids, in the order of the file.
        sizes: Height and width, pixels, (images, 2).
        tags: Presence of the 80 classes, (images, 80).
    """

    ids: list[str]
    sizes: NDArray[np.int32]
    tags: NDArray[np.uint8]


@dataclass(frozen=True)
class CocoAnnotations:
    """An annotation file, packed: parsed outlines would take several times the memory.

    Args:
        index: Ids, sizes and tags.
        packed: Objects of each image in the order of ``index``.
    """

    index: CocoIndex
    packed: Sequence[bytes]

    def objects(self, position: int) -> list[CocoObject]:
        """Objects of one image."""
        return [CocoObject(*fields) for fields in json.loads(self.packed[position])]


def read_annotations(path: Path) -> CocoAnnotations:
    """Read ``instances_<part>.json``; ValueError if it is damaged or not COCO 2014's."""
    try:
        content = json.loads(path.read_bytes())
        return _pack(content["images"], content["annotations"], _labels(content["categories"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} is no COCO 2014 instance annotation file ({type(error).__name__}: {error}); "
            "unpack annotations_trainval2014.zip again"
        ) from error


def _labels(categories: list[dict[str, Any]]) -> dict[int, int]:
    names = {category["id"]: category["name"] for category in categories}
    if sorted(names.values()) != sorted(COCO_THINGS):
        raise ValueError(f"its {len(names)} categories are not COCO's {len(COCO_THINGS)}")
    return {number: COCO_THINGS.index(name) + 1 for number, name in names.items()}


def _pack(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], labels: dict[int, int]
) -> CocoAnnotations:
    ids = [_image_id(image["file_name"]) for image in images]
    rows = {image["id"]: row for row, image in enumerate(images)}
    tags = np.zeros((len(ids), len(COCO_THINGS)), dtype=np.uint8)
    objects: list[list[tuple[Any, ...]]] = [[] for _ in ids]
    for item in annotations:
        label, row = labels[item["category_id"]], rows[item["image_id"]]
        tags[row, label - 1] = 1
        fields = (label, float(item["area"]), bool(item["iscrowd"]), item["segmentation"])
        objects[row].append(fields)
    sizes = np.array([(image["height"], image["width"]) for image in images], dtype=np.int32)
    packed = [json.dumps(items).encode() for items in objects]
    return CocoAnnotations(CocoIndex(ids, sizes, tags), packed)


def _image_id(file_name: str) -> str:
    match = _IMAGE_NAME.fullmatch(file_name)
    if match is None:
        raise ValueError(f"{file_name!r} is no image of COCO 2014")
    return match[1]


def write_index(path: Path, index: CocoIndex, digest: str) -> None:
    """Store an index beside the digest of its annotation file; the file appears complete or not."""
    buffer = io.BytesIO()
    ids = np.array(index.ids, dtype=np.str_)
    np.savez(buffer, digest=np.array(digest), ids=ids, sizes=index.sizes, tags=index.tags)
    write_atomic(path, buffer.getvalue())


def read_index(path: Path, digest: str) -> CocoIndex | None:
    """The stored index; None if there is none, or it is damaged or of another annotation file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["digest"]) != digest:
                return None
            index = CocoIndex(arrays["ids"].tolist(), arrays["sizes"], arrays["tags"])
    except Exception:  # numpy lets zipfile's and zlib's errors through
        return None
    return index if all(_IMAGE_NAME.fullmatch(f"{name}.jpg") for name in index.ids) else None
