"""COCO's instance annotations: the objects of each image, and its tags in a file read quickly."""

import json
import re
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, NamedTuple

from wsss_zoo.data.reading.splits import name_in_path
from wsss_zoo.data.reading.tag_files import Tags
from wsss_zoo.data.sets.class_names.coco import COCO_THINGS
from wsss_zoo.files.atomic import write_atomic

# Ids become names of files, so nothing else may pass for one.
_IMAGE_NAME = re.compile(r"(COCO_(?:train|val)2014_\d{12})\.jpg")


class CocoObject(NamedTuple):
    """One annotated object; a crowd is a group of objects with one outline."""

    #: Class index, 1..80.
    label: int
    #: Pixels that the object covers, as annotated.
    area: float
    is_crowd: bool
    #: Polygons ``[[x, y, ...], ...]`` or a run-length code.
    outline: Any


class CocoImage(NamedTuple):
    """One annotated image."""

    height: int
    width: int
    #: Names of the classes of its objects, by class index.
    tags: list[str]
    #: Its objects as JSON: parsed outlines would take several times the memory.
    packed: bytes

    def objects(self) -> list[CocoObject]:
        """Parse the objects, in the order of the file."""
        return [CocoObject(*fields) for fields in json.loads(self.packed)]


def find_numbered(name: str, list_ids: Callable[[], Container[str]]) -> str | None:
    """Find the id of the image that a list names; None if it names none.

    COCO 2017 names the same images by their number alone, and gives most of ``val2014`` to
    ``train2017``: the id is that of the part which has the number.

    Args:
        name: Name or path of a file, as COCO 2014 or 2017 has it.
        list_ids: Gives the ids of all images; asked for numbers only.

    >>> find_numbered("images/train2017/000000000042.jpg", lambda: ["COCO_val2014_000000000042"])
    'COCO_val2014_000000000042'
    """
    found = name_in_path(name)
    if found is None or not re.fullmatch(r"\d{12}", found):
        return found
    ids, parts = list_ids(), ("train", "val")
    return next((i for i in (f"COCO_{part}2014_{found}" for part in parts) if i in ids), found)


def read_annotations(path: Path) -> dict[str, CocoImage]:
    """Read ``instances_<part>.json``: images by id, in the order of the file.

    Raises:
        ValueError: If the file is damaged or not COCO 2014's.
    """
    try:
        return _read_images(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} is no COCO 2014 instance annotation file ({type(error).__name__}: {error}); "
            "unpack annotations_trainval2014.zip again"
        ) from error


def _read_images(content: dict[str, Any]) -> dict[str, CocoImage]:
    labels = _labels(content["categories"])
    objects: dict[int, list[tuple[Any, ...]]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        label, is_crowd = labels[item["category_id"]], bool(item["iscrowd"])
        fields = (label, float(item["area"]), is_crowd, item["segmentation"])
        objects[item["image_id"]].append(fields)
    images: dict[str, CocoImage] = {}
    for image in content["images"]:
        own = objects[image["id"]]
        tags = [COCO_THINGS[label - 1] for label in sorted({fields[0] for fields in own})]
        height, width = int(image["height"]), int(image["width"])
        image_id = _image_id(image["file_name"])
        images[image_id] = CocoImage(height, width, tags, json.dumps(own).encode())
    return images


def _labels(categories: list[dict[str, Any]]) -> dict[int, int]:
    names = {category["id"]: category["name"] for category in categories}
    if sorted(names.values()) != sorted(COCO_THINGS):
        raise ValueError(f"its {len(names)} categories are not COCO's {len(COCO_THINGS)}")
    return {number: COCO_THINGS.index(name) + 1 for number, name in names.items()}


def _image_id(file_name: str) -> str:
    match = _IMAGE_NAME.fullmatch(file_name)
    if match is None:
        raise ValueError(f"{file_name!r} is no image of COCO 2014")
    return match[1]


def write_tags(path: Path, tags: Tags, digest: str) -> None:
    """Store tags, in their order, beside the SHA-256 of their annotation file."""
    write_atomic(path, json.dumps({"annotations_sha256": digest, "tags": tags}))


def read_tags(path: Path, digest: str) -> Tags | None:
    """Read stored tags; None if there are none, or damaged ones, or those of other annotations."""
    try:
        stored = json.loads(path.read_bytes())
        tags: Tags = stored["tags"]
        own = stored["annotations_sha256"] == digest
        whole = all(_IMAGE_NAME.fullmatch(f"{image_id}.jpg") for image_id in tags)
        known = set().union(*tags.values()) <= set(COCO_THINGS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return tags if own and whole and known else None
