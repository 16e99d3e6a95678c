"""Folders with one file for each of some images, which a command can resume.

``manifest.json`` says by which settings they were made. It is written last
(``manifest.partial.json`` until then).
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import TEMPORARY, write_json
from wsss_zoo.files.manifests import HEADER, MANIFEST

_SHOWN = 40  # characters of a value in a message


class ResultFolder(ABC):
    """A folder of files of images.

    Args:
        directory: The folder.
        identity: What decides the files: network, options (JSON values only). Files of another
            identity are never mixed with these.
        command: Command that writes it, for example ``label``.
        contents: What it holds, and of which other origin it might be, for messages.
    """

    def __init__(
        self, directory: Path, identity: Mapping[str, Any], *, command: str, contents: str
    ) -> None:
        self.directory, self.contents = directory, contents
        self._command = f"wsss-zoo {command}"
        self._mark = {"written_by": self._command}
        self.identity = self._mark | dict(identity)

    @abstractmethod
    def path_of(self, image_id: str) -> Path:
        """Name the file that says that an image is done."""

    @abstractmethod
    def _delete_files(self) -> None:
        """Delete the files of all images."""

    def begin(self, images: Mapping[str, str], *, overwrite: bool) -> set[str]:
        """Begin or resume the folder; returns ids whose file is there and not older than the image.

        Args:
            images: Image file by id; an empty name for an image without one.
            overwrite: Delete the files that are there.

        Raises:
            ValueError: If the folder holds something else or files of another identity.
        """
        if self.directory.is_file():
            raise ValueError(f"{self.directory} is a file; choose another folder with --out")
        found = self._read(MANIFEST) or self._read(HEADER)
        if found is None and any(not p.name.startswith(".") for p in self.directory.glob("*")):
            raise ValueError(
                f"{self.directory} is not empty and was not written by '{self._command}'; choose "
                "another folder with --out"
            )
        if found is not None and overwrite:
            # From finished to begun to gone: a kill in between leaves a folder that says what it
            # is.
            if (self.directory / MANIFEST).exists():
                (self.directory / MANIFEST).replace(self.directory / HEADER)
            self._delete_files()
        elif found is not None:
            self._refuse_mixture(found)
        for leftover in self.directory.rglob(f".*{TEMPORARY}"):
            leftover.unlink()
        write_json(self.directory / HEADER, self.identity)
        (self.directory / MANIFEST).unlink(missing_ok=True)
        return {image_id for image_id, path in images.items() if self._is_done(image_id, path)}

    def finish(self, images: Mapping[str, str], problems: Sequence[str]) -> int:
        """Declare the folder finished: write the manifest; returns the number of files.

        ``images`` are files by id, of the images that are done if all went well; ``problems`` say
        what could not be done, and why.
        """
        done = {image_id: path for image_id, path in images.items() if self.has(image_id)}
        result = {"count": len(done), "images": done, "problems": list(problems)}
        write_json(self.directory / MANIFEST, self.identity | result)
        (self.directory / HEADER).unlink(missing_ok=True)
        return len(done)

    def has(self, image_id: str) -> bool:
        """Say whether the file of an image is there."""
        return self.path_of(image_id).exists()

    def _is_done(self, image_id: str, path: str) -> bool:
        try:
            result = self.path_of(image_id).stat().st_mtime
            image = Path(path).stat().st_mtime if path else result
        except FileNotFoundError:
            return False
        # The clock of a camera may be ahead.
        return not result < image < time.time()

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.directory / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete the folder") from error
        own = isinstance(found, dict) and found.items() >= self._mark.items()
        return found if own else None

    def _refuse_mixture(self, found: Mapping[str, Any]) -> None:
        own = _flat(self.identity)
        there = _flat({name: found[name] for name in self.identity if name in found})
        different = [
            f"{name} {own.get(name, 'none')[:_SHOWN]}, there {there.get(name, 'none')[:_SHOWN]}"
            for name in own | there
            if own.get(name) != there.get(name)
        ]
        if different:
            raise ValueError(
                f"{self.directory} holds {self.contents} or of other options "
                f"({'; '.join(different)}); choose another folder with --out, or replace them with "
                "--overwrite true"
            )


def _flat(identity: Mapping[str, Any]) -> dict[str, str]:
    """Values as JSON by name, those of a mapping inside by their own names."""
    flat: dict[str, str] = {}
    for name, value in identity.items():
        is_mapping = isinstance(value, Mapping)
        flat |= _flat(value) if is_mapping else {name: json.dumps(value, ensure_ascii=False)}
    return flat
