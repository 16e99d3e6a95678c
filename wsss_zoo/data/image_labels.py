"""Image-level labels (tags) from JSON, CSV, VOC's XML or masks."""

import csv
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.image_files import ImageSource

Tags = dict[str, list[str]]
_THREADS = 4  # decoding releases the interpreter lock


def read_tag_file(path: Path) -> Tags:
    """Names of the classes in each image, from a JSON or a CSV file.

    JSON: ``{"image id": ["class", ...]}``. CSV: a header line, then ``image_id,class;class``;
        several
    lines of one image add up. A byte-order mark and Windows line ends are accepted.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is neither format or a line does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"tag file {path} is missing")
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    raise ValueError(f"tag file {path} is neither .json nor .csv")


def _read_json(path: Path) -> Tags:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"tag file {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"tag file {path} must hold {{image id: [class names]}}")
    for image_id, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"tag file {path}: {image_id!r} must have a list of class names")
    return content


def _read_csv(path: Path) -> Tags:
    tags: Tags = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) is None:
            raise ValueError(f"tag file {path} is empty; its first line must be a header")
        for row in rows:
            if not row:
                continue
            if len(row) != 2:
                raise ValueError(
                    f"tag file {path}, line {rows.line_num}: expected 'image_id,class;class', "
                    f"got {len(row)} fields"
                )
            names = [name.strip() for name in row[1].split(";") if name.strip()]
            tags.setdefault(row[0].strip(), []).extend(names)
    return tags


def read_voc_xml(directory: Path, image_ids: Sequence[str]) -> Tags:
    """Names of the annotated objects in each image, from VOC's ``Annotations/<id>.xml``.

    Raises:
        FileNotFoundError: If an image has no annotation (the first is named).
        ValueError: If a file is not XML.
    """
    tags: Tags = {}
    for image_id in image_ids:
        path = directory / f"{image_id}.xml"
        try:
            objects = ET.parse(path).getroot().iter("object")
        except FileNotFoundError:
            raise FileNotFoundError(
                f"annotation {path} is missing; add it, or take the tags from another source "
                "(image_labels: masks, or a JSON or CSV file)"
            ) from None
        except ET.ParseError as error:
            raise ValueError(f"annotation {path} is not valid XML: {error}") from error
        tags[image_id] = sorted({item.findtext("name", default="") for item in objects})
    return tags


def tags_from_masks(
    source: ImageSource, image_ids: Sequence[str], fg_names: Sequence[str], first_fg: int
) -> Tags:
    """Names of the foreground classes in each image's mask, however few their pixels.

    Images without a mask are left out.

    Args:
        source: Reads masks.
        image_ids: The images.
        fg_names: Foreground classes.
        first_fg: Mask index of the first of them.
    """

    def names(image_id: str) -> list[str] | None:
        mask = source.read_mask(image_id)
        if mask is None:
            return None
        counts = np.bincount(mask.ravel(), minlength=256)
        return [name for index, name in enumerate(fg_names, first_fg) if counts[index] > 0]

    with ThreadPoolExecutor(_THREADS) as pool:
        found = zip(image_ids, pool.map(names, image_ids), strict=True)
        return {image_id: tags for image_id, tags in found if tags is not None}


def check_tags(
    tags: Tags, *, origin: str, known_classes: Iterable[str], is_image: Callable[[str], bool]
) -> None:
    """Refuse tags of classes or images that the data set does not know.

    Args:
        tags: Class names by image id.
        origin: Where they come from, for the message.
        known_classes: All class names of the data set, used or not.
        is_image: Whether an id is an image of the data set.

    Raises:
        ValueError: Naming the first unknown image or class.
    """
    known = set(known_classes)
    for image_id, names in tags.items():
        if not is_image(image_id):
            raise ValueError(
                f"{origin} has tags for {image_id!r}, which is no image of this data set; correct "
                "the id or delete the entry"
            )
        for name in names:
            if name not in known:
                raise ValueError(
                    f"{origin} tags image {image_id!r} with the unknown class {name!r}; the data "
                    f"set knows {', '.join(sorted(known))}"
                )


def multi_hot(names: Sequence[str], fg_names: Sequence[str]) -> NDArray[np.uint8]:
    """Presence of each foreground class, (K,); names outside the list are left out."""
    present = set(names)
    return np.array([name in present for name in fg_names], dtype=np.uint8)
