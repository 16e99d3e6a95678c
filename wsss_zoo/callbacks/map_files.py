"""Folders of one map per image that the user gives: checked as a whole, then by size."""

from collections.abc import Callable, Sequence
from pathlib import Path

from wsss_zoo.files.pseudo_labels import label_path


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
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_ids)} images have no {kind} in {option} {folder}, "
            f"first: {', '.join(f'{i}{suffix}' for i in missing[:3])}; {remedy}"
        )


def check_size(
    path: Path, kind: str, image_id: str, found: Sequence[int], size: Sequence[int]
) -> None:
    """Raise a ValueError unless a map's height and width are those of its image."""
    if tuple(found) != tuple(size):
        raise ValueError(
            f"{kind} {path} is {found[1]}x{found[0]} pixels (width x height), but image "
            f"{image_id} is {size[1]}x{size[0]}; make both equal"
        )
