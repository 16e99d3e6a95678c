"""Image-level labels (tags) from JSON, CSV, VOC's XML or masks."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.reading.image_files import ImageSource
from wsss_zoo.data.reading.splits import find_by_end
from wsss_zoo.data.reading.tag_tables import read_tag_table
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem, read_text

Tags = dict[str, list[str]]
# What a folder's tag file may be called.
TAG_FILES = ("image_labels.csv", "image_labels.json")
_THREADS = 4  # decoding releases the interpreter lock


def read_tag_file(
    path: Path,
    known_classes: Collection[str] = (),
    report: Report = raise_problem,
    ids: Mapping[str, str] | None = None,
) -> Tags:
    """Read the names of the classes in each image from a JSON or a CSV file.

    JSON: ``{"image id": ["class", ...]}``. CSV: a header line, then ``image_id,class;class``, or a
    column for each class, named in the header, with 1 where it is present and 0 or nothing where it
    is not. Fields are separated by commas, semicolons or tabs, whichever the header has; several
    lines of one image add up, which is logged. What else is accepted: see `read_tag_table`. Another
    format is a ValueError.

    Args:
        path: The file.
        known_classes: Class names; they tell a single column of 0 and 1 from a list of classes.
        report: What to do with an entry that cannot be used; it is then left out.
        ids: Image ids by other names that the file may give them.
    """
    if not path.is_file():
        raise FileNotFoundError(f"tag file {path} is missing")
    names = ids or {}

    def find(name: str) -> str:
        return name if id_problem(name) else find_by_end(name, names) or name

    if path.suffix.lower() == ".json":
        found = _read_json(path, report, find)
    elif path.suffix.lower() == ".csv":
        found = read_tag_table(path, known_classes, report, find, names)
    else:
        raise ValueError(f"tag file {path} is neither .json nor .csv")
    tags: Tags = {}
    for name, classes in found.items():
        problem = id_problem(name)
        if problem:
            report(f"tag file {path}: id {name!r} {problem}; correct it")
        else:
            tags[name] = classes
    return tags


def _read_json(path: Path, report: Report, find: Callable[[str], str]) -> Tags:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for image_id, times in Counter(find(normalise(key)) for key, _ in pairs).items():
            if times > 1:
                report(f"tag file {path} has {image_id!r} more than once; delete the repetition")
        return {find(normalise(key)): value for key, value in pairs}

    text = read_text(path)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"tag file {path} is not valid JSON: {error}") from error
    content = json.loads(text, object_pairs_hook=unique)
    if not isinstance(content, dict):
        raise ValueError(f"tag file {path} must hold {{image id: [class names]}}")
    tags: Tags = {}
    for image_id, names in content.items():
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            tags[image_id] = [normalise(name) for name in names]
        else:
            report(f"tag file {path}: {image_id!r} must have a list of class names")
    return tags


def read_voc_xml(directory: Path, image_ids: Sequence[str]) -> Tags:
    """Read the names of the objects in each image from VOC's ``Annotations/<id>.xml``."""
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
    """Name the foreground classes in each image's mask, however few their pixels.

    Images without a mask are left out; ``first_fg`` is the mask index of the first class.
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
    tags: Tags,
    *,
    origin: str,
    known_classes: Iterable[str],
    images: Container[str],
    report: Report = raise_problem,
) -> Tags:
    """Report tags of classes or images that the data set does not know, and leave them out.

    ``origin`` says in messages where the tags come from; ``known_classes`` are all class names of
    the data set, in use or not; ``images`` are its image ids.
    """
    known = set(known_classes)
    checked: Tags = {}
    for image_id, names in tags.items():
        if image_id not in images:
            report(
                f"{origin} has tags for {image_id!r}, which is no image of this data set; correct "
                "the id or delete the entry"
            )
            continue
        for name in names:
            if name not in known:
                close = get_close_matches(name.lower(), known, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                report(
                    f"{origin} tags image {image_id!r} with the unknown class {name!r}{hint}; "
                    f"correct it: the data set knows {', '.join(sorted(known))}"
                )
        checked[image_id] = [name for name in names if name in known]
    return checked


def multi_hot(tags: Tags, fg_names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Mark the foreground classes of each image, (K,) 0 or 1; other names are left out."""
    labels = {}
    for image_id, names in tags.items():
        present = set(names)
        labels[image_id] = np.array([name in present for name in fg_names], dtype=np.uint8)
    return labels
