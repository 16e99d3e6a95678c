"""Files of a folder by image id; what two systems name differently, and where links lead."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem

# What the commands that read a data set offer against a link that leads out of it.
_OUTSIDE_LINKS = ", or allow it with outside_links (--data.outside_links true)"


@dataclass(frozen=True)
class Listing:
    """Files below a folder by id, sorted; and files with other suffixes."""

    files: dict[str, str]
    others: list[str]


def files_by_stem(directory: Path, suffixes: Iterable[str]) -> dict[str, str]:
    """Find files below a directory by their path without suffix; see `list_files`."""
    return list_files(directory, suffixes).files


def list_files(
    directory: Path,
    suffixes: Iterable[str],
    *,
    root: Path | None = None,
    allow: str = _OUTSIDE_LINKS,
    report: Report = raise_problem,
) -> Listing:
    """Find files below a directory by id: the path without suffix, relative to it, in NFC.

    Hidden files are left out. A file that cannot be used is reported and left out: two have the
    same id, a name is no id, a link is broken, leads out of ``root`` or back to itself.

    Args:
        directory: Folder to list, sub-folders included; one that does not exist holds nothing.
        suffixes: Lower-case suffixes that count, such as ``.jpg``; case in the files is ignored.
        root: Folder that symbolic links must not lead out of; None lets them lead anywhere.
        allow: How a message says what else helps against a link that leads out of it.
        report: What to do with a problem; the default raises ValueError.
    """
    wanted = set(suffixes)
    found: dict[str, str] = {}
    others: list[str] = []
    boundary = None if root is None else os.path.realpath(root)
    problem = _link_problem(directory, boundary, allow) if directory.is_symlink() else None
    if problem:
        report(problem)
    if problem or not directory.is_dir():
        return Listing({}, [])
    for name, path in _walk(directory, "", boundary, allow, report):
        stem, dot, suffix = name.rpartition(".")
        if dot + suffix.lower() not in wanted:
            others.append(path)
            continue
        image_id = normalise(stem)
        problem = id_problem(image_id)
        if problem:
            report(f"the name of {path!r} {problem}, so it is no image id; rename the file")
        elif image_id in found:
            report(f"{found[image_id]} and {path} have the same id {image_id!r}; rename one")
        else:
            found[image_id] = path
    return Listing(dict(sorted(found.items())), others)


def find_one(root: Path, names: Sequence[str]) -> Path | None:
    """Find the file that has one of several names; None if there is none, ValueError if several."""
    found = [root / name for name in names if (root / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{root} has {' and '.join(names)}; delete one of them")
    return found[0] if found else None


def ids_by_name(files: dict[str, str]) -> dict[str, str]:
    """Map the names that lists may give to files, with the suffix and without, to ids."""
    return {i + Path(path).suffix: i for i, path in files.items()} | {i: i for i in files}


def _walk(
    directory: str | Path, prefix: str, boundary: str | None, allow: str, report: Report
) -> Iterator[tuple[str, str]]:
    with os.scandir(directory) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in visible:
        problem = _link_problem(Path(entry.path), boundary, allow) if entry.is_symlink() else None
        if problem:
            report(problem)
        elif entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", boundary, allow, report)
        elif entry.is_file():
            yield prefix + entry.name, entry.path


def _link_problem(link: Path, boundary: str | None, allow: str) -> str | None:
    # Path.resolve raises on a loop of links before Python 3.13.
    target = Path(os.path.realpath(link))
    if not target.exists():
        return f"{link} is a broken link; delete it or restore {target}"
    if target.is_dir() and Path(os.path.realpath(link.parent)).is_relative_to(target):
        return f"{link} leads back to a folder that it is in; delete the link"
    if boundary is not None and not target.is_relative_to(boundary):
        return (
            f"{link} is a link that leads out of the data root, to {target}; copy or move the "
            f"files there{allow}"
        )
    return None
