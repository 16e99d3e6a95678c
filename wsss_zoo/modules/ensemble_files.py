"""Large states beside a run's checkpoints, one file for each version that a checkpoint names."""

import hashlib
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

_PATTERN = "ensemble-*.bin"
_NAME = re.compile(r"ensemble-\d{8,}-[0-9a-f]{16}\.bin")
# One for the checkpoint that is being written, one for that which it will replace.
_KEPT = 2


def write_version(state: Tensor, folder: Path, step: int) -> str:
    """Write bytes to ``ensemble-<step>-<hash>.bin``; older files that no checkpoint names go.

    Args:
        state: The bytes, (rows, bytes) uint8 on the CPU.
        folder: Where checkpoints are; the last two files, and those that a ``*.ckpt`` there names,
            stay.
        step: Steps done.

    Returns:
        The file's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"ensemble-{step:08d}-{_digest(state)}.bin"
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        try:
            with unfinished.open("wb") as file:
                file.write(state.numpy().data)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(
                error.errno, f"{error.strerror or error}, not written", str(path)
            ) from error
    path.touch()
    versions = sorted(folder.glob(_PATTERN), key=lambda other: other.stat().st_mtime_ns)
    if len(versions) > _KEPT:
        named = _named_in(folder)
        for old in versions[:-_KEPT]:
            if named is not None and old.name not in named:
                old.unlink()
    return path.name


def read_version(name: str, folders: Sequence[Path], shape: tuple[int, int]) -> Tensor:
    """Bytes of a file that `write_version` wrote, uint8; read where they are looked at.

    Args:
        name: The file's name.
        folders: Where to look for it.
        shape: Rows, and bytes in each.

    Raises:
        FileNotFoundError: If it is in none of the folders.
        ValueError: If it is no name of such a file, or the file's size or hash is not the one it
            was written with.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"the checkpoint names its ensemble {name!r}, which is no name of such a file; start a "
            "new run from the checkpoint by init_from"
        )
    paths = [folder / name for folder in folders if (folder / name).is_file()]
    if not paths:
        places = ", ".join(map(str, folders))
        raise FileNotFoundError(
            f"the checkpoint's ensemble {name} is not in {places}; put it beside the checkpoint, "
            "or start a new run from the checkpoint by init_from"
        )
    size = shape[0] * shape[1]
    problem = f"{paths[0]} is damaged; start a new run from the checkpoint by init_from"
    if paths[0].stat().st_size != size:
        raise ValueError(problem)
    state = torch.zeros(shape, dtype=torch.uint8)
    if size:
        state = torch.from_file(str(paths[0]), size=size, dtype=torch.uint8).view(shape)
    if _digest(state) not in name:
        raise ValueError(problem)
    return state


def _digest(state: Tensor) -> str:
    return hashlib.sha256(state.numpy().data).hexdigest()[:16]


def _named_in(folder: Path) -> set[str] | None:
    """Files that the checkpoints of a folder name; None if a checkpoint cannot be read."""
    named = set()
    for path in folder.glob("*.ckpt"):
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            return None
        named.add(checkpoint.get("ensemble", {}).get("file"))
    return named
