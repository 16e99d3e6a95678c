"""Folders of one map per image that the user gives: checked as a whole, then by size."""

import glob
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_zoo.contract import DataModule
from wsss_zoo.files.atomic import read_json
from wsss_zoo.files.decoding import image_size_of
from wsss_zoo.files.manifests import HEADER, MANIFEST
from wsss_zoo.files.pseudo_labels import label_path

#: Height and width of an image, by id.
SizeOf = Callable[[str], Sequence[int]]

#: Maps of a folder that are read before the work: faults are often those of all maps.
LOOKED_AT = 16
_OF_FOLDER = ("count", "images", "problems")


def _find_png(folder: Path, image_id: str) -> Path | None:
    path = label_path(folder, image_id)
    return path if path.is_file() else None


def check_maps(
    folder: Path,
    image_ids: Sequence[str],
    *,
    option: str,
    kind: str,
    content: str,
    remedy: str,
    find: Callable[[Path, str], Path | None] = _find_png,
    suffix: str = ".png",
) -> None:
    """Check that a folder has a map of every image, before any image is processed.

    Messages name the ``option`` that gives the folder, the ``kind`` of the maps, the ``content`` of
    a right folder, and the ``remedy`` for missing maps. ``find`` finds the map of an image, and
    ``suffix`` is what its name ends with in messages.

    Raises:
        FileNotFoundError: If there is no such folder, or maps are missing (three are named).
        ValueError: If an id would lead out of the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{option} {folder} is no folder; give one {content}")
    missing = [i for i in image_ids if find(folder, i) is None]
    if missing:
        other = next(folder.glob(f"{glob.escape(missing[0])}[._-]*"), None)
        there = "" if other is None else f" ({other.name} is there, which has another name)"
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_ids)} images have no {kind} in {option} {folder}, "
            f"first: {', '.join(f'{i}{suffix}' for i in missing[:3])}{there}; {remedy}"
        )


def size_reader(data: DataModule) -> SizeOf | None:
    """Return what reads an image's size from its header; None where the data know none."""
    size_of: SizeOf | None = getattr(getattr(data, "source", None), "image_size", None)
    return size_of


def check_sizes(kind: str, files: Iterable[tuple[str, Path]], size_of: SizeOf | None) -> None:
    """Check by their headers that maps, pairs of id and image file, have their images' sizes."""
    if size_of is None:
        return
    for image_id, path in files:
        check_size(path, kind, image_id, image_size_of(str(path)), size_of(image_id))


def check_size(
    path: Path, kind: str, image_id: str, found: Sequence[int], size: Sequence[int]
) -> None:
    """Raise a ValueError unless a map's height and width are those of its image."""
    if tuple(found) != tuple(size):
        turned = tuple(found) == tuple(size)[::-1]
        hint = "; a photo is turned as its EXIF orientation says" if turned else ""
        raise ValueError(
            f"{kind} {path} is {found[1]}x{found[0]} pixels (width x height), but image "
            f"{image_id} is {size[1]}x{size[0]}; make both equal{hint}"
        )


def maps_origin(folder: Path) -> Mapping[str, Any]:
    """Read by which network or options a command of this package wrote maps; else nothing."""
    found = read_json(folder / MANIFEST) or read_json(folder / HEADER)
    own = "written_by" in found
    return {name: found[name] for name in found if name not in _OF_FOLDER} if own else {}
