"""The folder that an import writes: complete or not at all, and the same for the same annotations.

``import.json`` is written last. It has a hash of each file, by which a later import knows its own.
"""

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import TEMPORARY, replacing, write_json
from wsss_zoo.files.decoding import readable_suffixes
from wsss_zoo.files.listing import list_files

MANIFEST = "import.json"
HEADER = "import.partial.json"
_WRITER = {"written_by": "wsss-zoo import"}


class ImportedFolder:
    """Files below a root; unchanged ones are not touched.

    Args:
        root: The folder, made when missing.
        dry: Write nothing.

    Raises:
        ValueError: If the manifest there is damaged.
    """

    def __init__(self, root: Path, *, dry: bool = False) -> None:
        self.root, self.dry = root, dry
        found, begun = self._read(MANIFEST), self._read(HEADER)
        self._is_begun = begun is not None
        self._old: dict[str, str] = dict((found or begun or {}).get("files", {}))
        self._new: dict[str, str] = {}
        self._images: dict[str, str] | None = None
        #: Number of files that were written, changed or deleted.
        self.changes = 0

    def check(self, names: list[str]) -> None:
        """Check that files may be written; ValueError if one is not of an earlier import."""
        for name in names:
            self._check_free(name)
        before = {name for name in self._old if name.startswith("masks/")}
        if before and not before & {*names}:
            raise ValueError(
                f"{self.root} has {len(before)} masks of an import of other annotations, first "
                f"{min(before)}, which would be deleted; keep the files of both in one folder and "
                f"import that, or delete {self.root / MANIFEST} to keep the masks as your own"
            )
        for name, digest in self._old.items():
            path = self.root / name
            if not self._is_begun and path.is_file() and _hash(path.read_bytes()) != digest:
                raise ValueError(
                    f"{path} was changed after the import that wrote it; keep it elsewhere and "
                    "delete it here, or choose another folder"
                )

    def _check_free(self, name: str) -> None:
        path = self.root / name
        if not self._is_begun and name not in self._old and os.path.lexists(path):
            raise ValueError(
                f"{path} is not from an import, and would be replaced; choose another folder, "
                "or move it away"
            )

    def has_own(self, name: str) -> bool:
        """Tell whether an earlier import wrote a file."""
        return name in self._old

    def write(self, name: str, content: bytes) -> None:
        """Write a file, unless it is there already."""
        path = self.root / name
        self._new[name] = _hash(content)
        with suppress(FileNotFoundError):
            if path.read_bytes() == content:
                return
        self._begin()
        if not self.dry:
            with replacing(path, sync=False) as unfinished:
                unfinished.write_bytes(content)

    def place_image(self, image_id: str, source: Path) -> None:
        """Link an image file into ``images/``, or copy it where that cannot be done.

        ValueError if another image of that id is there.
        """
        target = self.root / "images" / f"{image_id}{source.suffix}"
        other = self._image_of(image_id)
        if other is not None:
            same = Path(other).suffix == source.suffix and (
                Path(other).samefile(source) or filecmp.cmp(other, source, shallow=False)
            )
            if not same:
                raise ValueError(
                    f"{other} is another image than {source}, with the same id; choose another "
                    "folder, or delete it"
                )
            return
        self._begin()
        if self.dry:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A hard link takes no room, and is the image's own file, wherever the source goes.
            os.link(os.path.realpath(source), target)
        except OSError:
            with replacing(target, sync=False) as unfinished:
                shutil.copyfile(source, unfinished)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Delete what an earlier import wrote and this one did not, and write the manifest."""
        for name in sorted(self._old.keys() - self._new.keys()):
            if (self.root / name).is_file():
                self._begin()
                if not self.dry:
                    (self.root / name).unlink()
        if self.dry:
            return
        manifest = {**_WRITER, **result, "files": self._new}
        if self.changes == 0 and self._read(MANIFEST) == json.loads(json.dumps(manifest)):
            return
        self._begin()
        # All at once: forcing each file to the disk would take most of the time.
        os.sync()
        write_json(self.root / MANIFEST, manifest)
        (self.root / HEADER).unlink(missing_ok=True)

    def _begin(self) -> None:
        self.changes += 1
        if self.dry or self.changes > 1:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.root / HEADER, {**_WRITER, "files": self._old})
        (self.root / MANIFEST).unlink(missing_ok=True)
        for folder in ("images", "masks", "splits"):
            for leftover in (self.root / folder).rglob(f".*{TEMPORARY}"):
                leftover.unlink()

    def _image_of(self, image_id: str) -> str | None:
        if self._images is None:
            folder = self.root / "images"
            self._images = list_files(folder, readable_suffixes(), report=lambda _: None).files
        return self._images.get(image_id)

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.root / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it") from None
        if not isinstance(found, dict) or not found.items() >= _WRITER.items():
            raise ValueError(f"{path} is not from wsss-zoo import; choose another folder")
        return found if isinstance(found.get("files"), dict) else None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
