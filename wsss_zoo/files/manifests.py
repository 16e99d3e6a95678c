"""A folder with one file per image that ``predict`` wrote, and the manifest that declares it whole.

``manifest.json`` is written last: a folder without it is not finished. While the folder is being
written, ``manifest.partial.json`` says by which run.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import TEMPORARY, write_json
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.files.text import id_problem

MANIFEST = "manifest.json"
HEADER = "manifest.partial.json"

_KINDS = {"class_names": list, "count": int, "options": dict}  # the others are strings


@dataclass(frozen=True)
class Manifest:
    """What a folder of results holds and where it comes from.

    Args:
        method: Class name of the method that made the results.
        class_names: Names by class index, background first where the data set has one.
        count: Number of images.
        config_hash: Hash of everything but the weights that decides what the results are.
        checkpoint_hash: SHA-256 of the checkpoint, or of the weights where there was none.
        options: How scores became results: thresholds, CRF and so on (JSON values only).
        split: Name of the predicted split.
    """

    method: str
    class_names: list[str]
    count: int
    config_hash: str
    checkpoint_hash: str
    options: dict[str, Any]
    split: str


@dataclass(frozen=True)
class Contents:
    """What the files of a folder are, in the words of messages."""

    #: What the folder holds, and what its files are called.
    name: str
    files: str
    #: How the names of the files end.
    suffix: str
    #: How to choose another folder, and how to get rid of what is there.
    choose: str
    delete: str


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Declare a folder finished: write ``manifest.json``, then remove ``manifest.partial.json``."""
    write_json(directory / MANIFEST, dataclasses.asdict(manifest))
    (directory / HEADER).unlink(missing_ok=True)


def read_manifest_of(
    directory: Path, contents: Contents, class_names: Sequence[str] | None = None
) -> Manifest:
    """Read the manifest of a finished folder and check it against the classes of a data set.

    Raises:
        FileNotFoundError: If there is no folder, or no manifest: it is unfinished or somebody
            else's.
        ValueError: If the manifest is damaged, has other names than ``class_names`` (None accepts
            any), or another number of files than the folder.
    """
    if not directory.is_dir():
        raise FileNotFoundError(
            f"{directory} does not exist, or is no folder; write it with 'wsss-zoo predict'"
        )
    manifest = find_manifest(directory / MANIFEST)
    if manifest is None:
        started = " (a run began it: the same command, started again, finishes it)"
        raise FileNotFoundError(
            f"{directory} has no {MANIFEST}: it was not finished or not written by wsss-zoo"
            f"{started if (directory / HEADER).exists() else ''}; write it with 'wsss-zoo predict'"
        )
    if class_names is not None and manifest.class_names != list(class_names):
        raise ValueError(
            f"the {contents.name} in {directory} are for the classes {manifest.class_names}, the "
            f"data set has {list(class_names)}; predict them again with these classes"
        )
    count = sum(1 for _ in directory.rglob(f"*{contents.suffix}"))
    if count != manifest.count:
        raise ValueError(
            f"{directory} holds {count} {contents.files}, its {MANIFEST} says {manifest.count}; "
            "files were lost or added: predict again into an empty folder"
        )
    return manifest


def begin_folder_of(
    directory: Path,
    contents: Contents,
    manifest: Manifest,
    image_ids: Sequence[str],
    is_done: Callable[[str], bool],
    delete: Callable[[Path], None] | None = None,
) -> set[str]:
    """Begin or resume a folder: one that is new, or begun or finished by the same run.

    Args:
        directory: The folder, made when missing.
        contents: What it is to hold.
        manifest: The manifest that the run will write.
        image_ids: All images of the run.
        is_done: Whether an image needs no work.
        delete: Empties the folder of what is there first; None keeps it, and raises ValueError if
            it is another run's. A folder of other things is always refused.

    Returns:
        Ids of the images that need no work. ``manifest.json`` exists afterwards if that is all of
        them and the run was finished; else ``manifest.partial.json`` does.
    """
    check_output_folder(directory)
    finished, begun = find_manifest(directory / MANIFEST), find_manifest(directory / HEADER)
    found = finished or begun
    if found is None and directory.exists() and any(directory.iterdir()):
        raise ValueError(
            f"{directory} is not empty and holds no {MANIFEST}, so it is no folder of "
            f"{contents.name}; choose another one ({contents.choose})"
        )
    if found is not None and delete is not None:
        delete(directory)
        finished = None
    elif found is not None and found != manifest:
        raise ValueError(
            f"{directory} holds {contents.name} of another run {_differences(found, manifest)}; "
            f"choose another folder ({contents.choose}) or {contents.delete}"
        )
    for leftover in directory.rglob(f".*{TEMPORARY}"):
        leftover.unlink()
    done = {image_id for image_id in image_ids if is_done(image_id)}
    if finished is None or len(done) < len(image_ids):
        write_json(directory / HEADER, dataclasses.asdict(manifest))
        (directory / MANIFEST).unlink(missing_ok=True)
    return done


def find_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None if there is no such file, ValueError if it is none."""
    content: Any = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        writer = content.get("written_by") if isinstance(content, dict) else None
        if isinstance(writer, str):
            raise ValueError(
                f"{path.parent} was written by {writer[:80]!r} and has no pseudo-labels; give a "
                "folder of 'wsss-zoo predict'"
            ) from error
        raise ValueError(f"{path} is no manifest ({error}); delete the folder") from error
    for field, value in vars(manifest).items():
        names = value if field == "class_names" and isinstance(value, list) else []
        if not isinstance(value, _KINDS.get(field, str)) or not all(type(n) is str for n in names):
            raise ValueError(f"{path} is no manifest ({field} is {value!r}); delete the folder")
    return manifest


def checked_id(image_id: str) -> str:
    """Return the id; ValueError if, as a file's name, it would lead out of the folder."""
    problem = id_problem(image_id)
    if problem is not None:
        raise ValueError(
            f"image id {image_id!r} {problem}, so it would lead out of its folder or be no file's "
            "name; use plain names, at most with sub-folders such as 'a/b'"
        )
    return image_id


def sha256_file(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(found: Manifest, wanted: Manifest) -> str:
    """Say in which fields, and in which of the options, two manifests differ."""
    fields = _unlike(vars(found), vars(wanted))
    options = sorted(_unlike(found.options, wanted.options))
    others = f", with other options {', '.join(options)}" if options else ""
    return f"({', '.join(fields)} differ){others}"


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    missing = object()
    return [key for key in one | other if one.get(key, missing) != other.get(key, missing)]
