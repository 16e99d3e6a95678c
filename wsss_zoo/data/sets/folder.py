"""The user's own images in a folder."""

import logging
import zlib
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.class_files import ClassFile, find_class_file, read_class_file
from wsss_zoo.data.reading.color_masks import ColorMaskFiles, ColorTable
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.splits import find_by_end, read_split
from wsss_zoo.data.reading.tag_files import TAG_FILES, Tags, read_tag_file
from wsss_zoo.files.decoding import readable_suffixes
from wsss_zoo.files.listing import Listing, find_one, ids_by_name, list_files
from wsss_zoo.files.text import Report, raise_problem

logger = logging.getLogger(__name__)

_LAYOUT = """expected
  <root>/classes.txt        class names, one a line, in the order of the mask values, background
                            first; 'cat 128 0 0' where masks have colours (or classes.json)
  <root>/images/<id>.jpg    images of any format
  <root>/masks/<id>.png     masks of some or all images: class index per pixel, 255 = ignored, or
                            the colours of classes.txt
  <root>/image_labels.csv   optional tags: a header, then lines 'id,class;class' (or .json)
  <root>/splits/train.txt   optional lists of ids, one a line (train, val, test, any name)"""
_DEFAULT_SPLITS = ("train", "val", "all", "tagged", "masked", "extra")


class Folder(BaseDataModule):
    """Your own images: ``images/``, some ``masks/``, some ``image_labels.csv``, ``classes.txt``.

    An image's id is its path below ``images/`` without the suffix; tag files and lists may give it
    with the suffix. Images with neither mask nor tags are unlabelled. Masks hold class indices, 255
    = ignored. Where ``classes.txt`` or ``classes.json`` has colours, masks hold these instead.

    ``splits/<name>.txt`` lists the images of a split. Without the file:

    - ``train``: the images on no other list.
    - ``val``: images with masks that are on no list. All of them where there is a ``train.txt``,
      else the share ``val_fraction``, chosen by the ids: an added image changes it by one at most.
    - ``all``; of ``train`` the ``tagged`` (a mask gives tags too) and the ``masked`` images; and
      ``extra``, images of neither ``train``, ``val`` nor ``test``.

    ``test`` is only there with a ``test.txt``. A training image without a mask is unlabelled: a
    method that learns from masks alone leaves it out, and their number is logged. The same holds
    for tags, but images that ``train.txt`` lists must have them.

    Args:
        root: The folder.
        background: Whether the first line of ``classes.txt`` is a background class.
        val_fraction: Share of the images with masks to hold out without ``val.txt``, ``train.txt``;
            one at least, if there are two.
        outside_links: Whether symbolic links may lead out of the root.
        **kwargs: See `BaseDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        background: bool = True,
        val_fraction: float = 0.2,
        outside_links: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be in [0, 1), but got {val_fraction}")
        self.root = Path(root)
        self.background = background
        self.val_fraction = val_fraction
        self.outside_links = outside_links
        # The inspection collects problems where training is refused.
        self.report: Report = raise_problem

    def setup(self, stage: str) -> None:
        """See `BaseDataModule.setup`; without any mask there is no validation."""
        if self.val_split == "val" and stage == "fit" and not self.ids_of("val"):
            logger.warning("%s: no images are held out, there will be no validation", self.root)
            self.val_split = None
        super().setup(stage)

    @property
    def known_classes(self) -> list[str]:
        """Names in ``classes.txt`` or ``classes.json``."""
        return self._class_file.names

    def split_ids(self, split: str) -> list[str]:
        """List the ids of ``splits/<split>.txt``, of a list file, or of a default split."""
        for path in (self._list(split), Path(split)):
            if path.is_file():
                return self.read_list(path)
        files = self.files
        if split == "all":
            return list(files.images)
        if split == "tagged":
            return [i for i in self.ids_of("train") if i in self._file_tags or i in files.masks]
        if split == "masked":
            return [i for i in self.ids_of("train") if i in files.masks]
        if split not in ("train", "val", "extra"):
            own = sorted(path.stem for path in (self.root / "splits").glob("*.txt"))
            raise FileNotFoundError(
                f"split {split!r}: neither {self._list(split)} nor a list file of that path "
                f"exists; there are {', '.join([*own, *_DEFAULT_SPLITS])}"
            )
        lists = [name for name in ("train", "val", "test") if self._list(name).is_file()]
        listed = {image_id for name in lists for image_id in self.ids_of(name)}
        free = [image_id for image_id in files.images if image_id not in listed]
        val = set[str]() if "val" in lists else {i for i in free if i in files.masks}
        if not {"train", "val"} & set(lists):
            val = _hold_out(val, self.val_fraction)
        if split == "extra" and "train" not in lists:
            return []
        return [image_id for image_id in free if (image_id in val) == (split == "val")]

    def open_source(self) -> ImageFiles:
        """Index the image and mask folders, and report masks without an image."""
        colors = self._class_file.colors
        images, masks = (self._listings[name].files for name in ("images", "masks"))
        for name, listing in self._listings.items():
            if listing.others:
                first = ", ".join(Path(path).name for path in listing.others[:3])
                text = "%d files in %s are left out, as they are no images that can be read"
                logger.warning(f"{text}, first: %s", len(listing.others), self.root / name, first)
        if not images:
            raise FileNotFoundError(f"{self.root / 'images'} has no images; {_LAYOUT}")
        other_case = {image_id.casefold(): image_id for image_id in images}
        for image_id in [image_id for image_id in masks if image_id not in images]:
            close = other_case.get(image_id.casefold())
            hint = f" ({close!r} has other capitals)" if close else ""
            self.report(
                f"mask {masks[image_id]} has no image of the same name in {self.root / 'images'}"
                f"{hint}; rename or remove it"
            )
        masks = {image_id: path for image_id, path in masks.items() if image_id in images}
        if colors:
            return ColorMaskFiles(images, masks, self.index_map, table=ColorTable(colors))
        return ImageFiles(images, masks, self.index_map)

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Read tags from ``image_labels.csv`` or ``image_labels.json``, if there is one."""
        tags = self._file_tags
        return {image_id: tags[image_id] for image_id in image_ids if image_id in tags}

    def tagged_ids(self) -> list[str]:
        """List the training images with tags; see the class."""
        return self._usable("tagged")

    def labeled_ids(self) -> list[str]:
        """List the training images with masks that may be used; see the class."""
        if isinstance(self.labeled_split, str):
            return self.ids_of(self.labeled_split)
        return self._usable("masked") if self.labeled_split is None else super().labeled_ids()

    def labeled_pool(self) -> list[str]:
        """List the training images with masks, of which ``labeled_split`` may be a fraction."""
        return self._usable("masked")

    def own_test_split(self) -> str | None:
        """See `BaseDataModule.own_test_split`; its own is ``splits/test.txt``."""
        return self.test_split or ("test" if self._list("test").is_file() else None)

    def held_out_splits(self) -> list[str]:
        """See `BaseDataModule.held_out_splits`; ``splits/test.txt`` is one."""
        splits = (self.val_split, self.own_test_split())
        return [split for split in splits if split is not None]

    def unread_files(self) -> list[str]:
        """List what lies in the folder and is not read: files of other kinds, unknown names."""
        others = [path for listing in self._listings.values() for path in listing.others]
        known = {"images", "masks", "splits", find_class_file(self.root).name, *TAG_FILES}
        entries = sorted(path for path in self.root.iterdir() if not path.name.startswith("."))
        return [str(path) for path in entries if path.name not in known] + others

    def _usable(self, split: str) -> list[str]:
        ids = self.ids_of(self.train_split)
        if split == "masked" and isinstance(self.source, ImageFiles):
            usable = [image_id for image_id in ids if image_id in self.files.masks]
        elif self.train_split != "train" or self._list("train").is_file():
            return ids
        else:
            usable = self.ids_of(split)
        if len(usable) < len(ids):
            text = "%s: %d of %d training images are %s"
            logger.info(text, self.root, len(usable), len(ids), split)
        if not usable:
            raise ValueError(
                f"none of the {len(ids)} training images in {self.root} is {split}; add masks or "
                "tags, or take a method that needs none (wsss-zoo methods)"
            )
        return usable

    def _list(self, split: str) -> Path:
        return self.root / "splits" / f"{split}.txt"

    def find_id(self, name: str) -> str | None:
        """Find the image that a list names by id, or by a path, of which the end counts."""
        return find_by_end(name, self._id_by_name)

    def read_list(self, path: Path) -> list[str]:
        """See `Catalog.read_list`; names of images that do not exist are kept."""
        return read_split(path, self.report, self.find_id)

    @cached_property
    def _id_by_name(self) -> dict[str, str]:
        return ids_by_name(self.files.images)

    @cached_property
    def _class_file(self) -> ClassFile:
        if not self.root.is_dir():
            raise FileNotFoundError(f"data root {self.root} does not exist; {_LAYOUT}")
        path = find_class_file(self.root)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; {_LAYOUT}")
        return read_class_file(path)

    @cached_property
    def _listings(self) -> dict[str, Listing]:
        root, suffixes = None if self.outside_links else self.root, readable_suffixes()
        return {
            name: list_files(self.root / name, suffixes, root=root, report=self.report)
            for name in ("images", "masks")
        }

    @cached_property
    def _file_tags(self) -> Tags:
        path = find_one(self.root, TAG_FILES)
        if path is None:
            return {}
        tags = read_tag_file(path, self.known_fg_names, self.report, self._id_by_name)
        first = self.known_classes[0]
        unmeant = self.background and "background" not in first.lower()
        if unmeant and any(first in names for names in tags.values()):
            self.report(
                f"{path} has tags of {first!r}, which is the background, as it stands first in "
                f"{find_class_file(self.root)}; write 'background' before it, or give "
                "--data.background false if the masks have none"
            )
        return self.check_tags(tags, path, self.report)


def _hold_out(ids: Collection[str], fraction: float) -> set[str]:
    """Choose a share of ids by the rank of their hash, at least one and not the only one."""
    count = min(max(1, round(fraction * len(ids))), len(ids) - 1) if fraction > 0 and ids else 0
    return set(sorted(ids, key=lambda image_id: (zlib.crc32(image_id.encode()), image_id))[:count])
