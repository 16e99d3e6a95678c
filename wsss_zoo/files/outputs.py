"""Find out before the work starts that its results cannot be written."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def check_output_file(path: Path, suffixes: Iterable[str] = ()) -> None:
    """Refuse a file that cannot be written.

    Args:
        path: The file; its folder may be missing.
        suffixes: Lower-case suffixes of which it needs one, the usual one first; none for any.

    Raises:
        OSError: If something is in the way, or the nearest folder is not writable.
        ValueError: If the suffix is another one.
    """
    known = list(suffixes)
    if known and path.suffix.lower() not in known:
        raise ValueError(
            f"{path} cannot be written: its name does not end in a suffix that says which kind of "
            f"picture it is; name it {path.name}{known[0]}"
        )
    _check(path, "file")


def check_output_folder(path: Path, folders: Iterable[str] = (), files: Iterable[str] = ()) -> None:
    """Refuse a folder that cannot be made, or in which no file can be written.

    Args:
        path: The folder; it may be missing.
        folders: Names of the folders that will be made in it.
        files: Names of the files that will be written in it.

    Raises:
        OSError: If something is in the way, or the nearest folder is not writable.
    """
    _check(path, "folder")
    for names, kind in ((folders, "folder"), (files, "file")):
        for name in names:
            if (path / name).exists():
                _check(path / name, kind)


def _check(path: Path, kind: str) -> None:
    try:
        problem = _problem(path, kind)
    except OSError as error:
        # A name that is too long, a folder that must not be looked into.
        problem = error.strerror or str(error)
    if problem:
        raise OSError(f"{path} cannot be written: {problem}; name another {kind}")


def _problem(path: Path, kind: str) -> str | None:
    there = path.exists()
    if there and path.is_dir() != (kind == "folder"):
        return "a folder of that name is there" if path.is_dir() else "it is a file"
    if not there and path.is_symlink():
        return f"it is a broken link to {path.readlink()}"
    folder = path if there and kind == "folder" else path.absolute().parent
    while not folder.exists():
        if folder.is_symlink():
            return f"{folder} is a broken link"
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is a file"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} is not writable"
    try:
        # Folders of the system, such as /proc, only seem to be writable.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"no file can be made in {folder} ({error.strerror or error})"
