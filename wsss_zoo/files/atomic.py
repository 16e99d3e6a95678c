"""Files that appear complete or not at all."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: How the names of unfinished files end, which begin with a dot; a killed run leaves them.
TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path, suffix: str = TEMPORARY, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces ``path`` unless the block raises.

    Args:
        path: The file to make or replace; its folder is made if missing.
        suffix: How the temporary name ends, for a writer that insists on one.
        sync: Force the file to the disk before it is renamed. False is faster for many files, whose
            writer then has to call ``os.sync`` after the last.

    Raises:
        OSError: If the file cannot be written; the message names ``path``.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if sync:
            # Without it a power cut can leave the new name on an empty file.
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        # Neither write nor fsync says to which file.
        raise OSError(error.errno, f"{error.strerror or error}, not written", str(path)) from error
    finally:
        # Below a file there is nothing to delete.
        with suppress(NotADirectoryError):
            unfinished.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | memoryview | str) -> None:
    """Write a file, text as UTF-8, by `replacing`."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: object) -> None:
    """Write JSON, keys sorted, by `replacing`."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} if the file is missing, damaged or holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
