"""What the data sets in their official layouts have in common."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.splits import name_in_path
from wsss_zoo.data.reading.tag_files import TAG_FILES, Tags, read_tag_file
from wsss_zoo.files.listing import ids_by_name


class OfficialDataModule(BaseDataModule):
    """A data set in the folders that its official archives unpack to; nothing is downloaded.

    A subclass gives `layout`, `known_classes` and `open_source`, and `split_lists` or both
    `official_splits` and `list_split`. Files are found by listing folders, never by a path in a
    list or annotation. Links may lead out of the root: large archives often lie on several disks.

    Args:
        root: The folder that ``layout`` shows.
        image_labels: Where tags come from: ``auto`` (``image_labels.json`` or ``.csv`` in the root,
            else the data set's own way), ``masks``, or a JSON or CSV file.
        **kwargs: See `BaseDataModule`.
    """

    #: What must be where and who gives it out; ends the message of every missing file.
    layout: ClassVar[str]
    #: List file of each split, relative to the root.
    split_lists: ClassVar[Mapping[str, str]] = {}

    def __init__(self, root: str, *, image_labels: str = "auto", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)
        self.image_labels = image_labels

    def official_splits(self) -> list[str]:
        """List the splits whose files are there."""
        return [split for split, path in self.split_lists.items() if (self.root / path).is_file()]

    def list_split(self, split: str) -> list[str]:
        """List the ids of one of `official_splits`, in order."""
        return self.read_list(self.root / self.split_lists[split])

    def find_id(self, name: str) -> str | None:
        """Find the id of the image that a list names by id or by the path of a file."""
        return name_in_path(name)

    def split_ids(self, split: str) -> list[str]:
        """List the ids of an official split, or of a list file given by its path.

        FileNotFoundError if the root or the split is missing; the message names the splits.
        """
        self.need()
        splits = self.official_splits()
        if split in splits:
            return self.list_split(split)
        if Path(split).is_file():
            return self.read_list(Path(split))
        raise FileNotFoundError(
            f"split {split!r}: {self.root} has {', '.join(splits) or 'no splits'}, and no list "
            f"file of that path exists; {self.layout}"
        )

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Read tags from the source that ``image_labels`` names; none for ``masks``."""
        tags = self._file_tags
        if tags is None:
            return self.own_tags(image_ids) if self.image_labels == "auto" else {}
        return {image_id: tags[image_id] for image_id in image_ids if image_id in tags}

    def own_tags(self, image_ids: Sequence[str]) -> Tags:
        """Read tags that the data set itself brings; by default none, so masks give them."""
        return {}

    def check_images(self, image_ids: Sequence[str], *, masks: bool) -> None:
        """See `Catalog.check_images`; what is missing ends with the folders and archives."""
        with self.naming_archives(image_ids, masks=masks):
            super().check_images(image_ids, masks=masks)

    @contextmanager
    def naming_archives(self, image_ids: Sequence[str], *, masks: bool) -> Iterator[None]:
        """Add to the error of a missing file where it was looked for and which archive has it."""
        try:
            yield
        except FileNotFoundError as error:
            images, found = self.files.images, self.files.masks
            without = [i for i in image_ids if masks and i not in found]
            listed = all(image_id in images for image_id in image_ids)
            hint = self.missing_hint(without[0]) if without and listed else f"; {self.layout}"
            raise FileNotFoundError(f"{error}{hint}") from error

    def missing_hint(self, image_id: str) -> str:
        """See `Catalog.missing_hint`: the file of the mask, then all folders and archives."""
        path = self.mask_path(image_id)
        return (f"; {self.root / path} is missing" if path else "") + f"; {self.layout}"

    def mask_path(self, image_id: str) -> str:
        """Tell where an image's mask is looked for, relative to the root; empty if unknown."""
        return ""

    def need(self, *paths: str) -> None:
        """Raise FileNotFoundError for the first path that is missing below the root."""
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"data root {self.root} does not exist; nothing is downloaded: give the place of "
                f"the data as --data.root; {self.layout}"
            )
        for path in paths:
            if not (self.root / path).exists():
                raise FileNotFoundError(f"{self.root / path} is missing; {self.layout}")

    @cached_property
    def _file_tags(self) -> Tags | None:
        if self.image_labels == "masks":
            return None
        path: Path | None = Path(self.image_labels)
        if self.image_labels == "auto":
            found = (self.root / name for name in reversed(TAG_FILES))
            path = next(filter(Path.is_file, found), None)
        if path is None:
            return None
        ids = ids_by_name(self.files.images)
        return self.check_tags(read_tag_file(path, self.known_fg_names, ids=ids), path)


def files_in(directory: Path, suffix: str) -> dict[str, str]:
    """List the files of a folder, without its sub-folders, by their name less the suffix, sorted.

    The suffix is lower-case, its case in the files is ignored: ValueError if two files differ in
    that only. A folder that does not exist holds nothing.
    """
    if not directory.is_dir():
        return {}
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    files: dict[str, str] = {}
    for name in names:
        stem, path = name[: -len(suffix)], str(directory / name)
        if not name.lower().endswith(suffix):
            continue
        if stem in files:
            raise ValueError(f"{files[stem]} and {path} have the same id {stem!r}; delete one")
        files[stem] = path
    return files


def list_folders(directory: Path) -> list[str]:
    """List the sub-folders of a folder by name; a folder that does not exist has none."""
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
