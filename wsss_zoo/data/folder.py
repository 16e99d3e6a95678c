"""The user's own images in a folder."""

import logging
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.image_files import ImageFiles, files_by_stem
from wsss_zoo.data.image_labels import Tags, check_tags, read_tag_file
from wsss_zoo.data.splits import read_split

logger = logging.getLogger(__name__)

_LAYOUT = """expected
  <root>/classes.txt        class names, one a line, in the order of the mask values (background
  first) <root>/images/<id>.jpg    images
  <root>/masks/<id>.png     masks of some or all images: class index per pixel, 255 = ignored
  <root>/image_labels.csv   optional tags: a header, then lines 'id,class;class' (or
  image_labels.json)
  <root>/splits/train.txt   optional lists of ids, one a line (train, val, any name)"""
_TAG_FILES = ("image_labels.csv", "image_labels.json")


class Folder(BaseDataModule):
    """Your own images: ``images/``, some ``masks/``, some ``image_labels.csv``, ``classes.txt``.

    An image's id is its path below ``images/`` without the suffix. Without ``splits/val.txt``, a
    part of the images that have masks is held out for validation, chosen by the ids alone, so that
    it stays the same when images are added; ``train`` is then all others. The split ``all`` is
    every image, ``tagged`` those of ``train`` with tags, ``masked`` those of ``train`` with masks.
    Images that have neither are
    unlabelled: methods that learn from tags leave out what has no tags, those that learn from masks
        what
    has no mask, and say how many; with a ``splits/train.txt`` they are errors instead.

    Args:
        root: The folder.
        background: Whether the first line of ``classes.txt`` is a background class.
        val_fraction: Share of the images with masks to hold out where there is no
            ``splits/val.txt``.
        **kwargs: See `BaseDataModule`.
    """

    def __init__(
        self, root: str, *, background: bool = True, val_fraction: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be in [0, 1), but got {val_fraction}")
        self.root = Path(root)
        self.has_background = background
        self.val_fraction = val_fraction

    def setup(self, stage: str) -> None:
        """See `BaseDataModule.setup`; without any mask there is no validation."""
        if self.val_split == "val" and stage == "fit" and not self.split_ids("val"):
            logger.warning("%s: no images are held out, there will be no validation", self.root)
            self.val_split = None
        super().setup(stage)

    @property
    def background(self) -> bool:
        """Whether index 0 of the masks is a background class."""
        return self.has_background

    @cached_property
    def known_classes(self) -> list[str]:
        """Names in ``classes.txt``.

        Raises:
            FileNotFoundError: If the root or the file is missing.
            ValueError: If it is empty or has a name twice.
        """
        path = self.root / "classes.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; {_LAYOUT}")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"{path} must hold different class names, one a line; it has {names}")
        return names

    def split_ids(self, split: str) -> list[str]:
        """Ids of ``splits/<split>.txt``, of a list file given by its path, or of a default split.

        Raises:
            FileNotFoundError: If there is no such split.
        """
        for path in (self._list(split), Path(split)):
            if path.is_file():
                return read_split(path)
        files = self._files
        if split == "all":
            return list(files.images)
        if split == "tagged":
            return [i for i in self.split_ids("train") if i in self._file_tags or i in files.masks]
        if split == "masked":
            return [i for i in self.split_ids("train") if i in files.masks]
        if split in ("train", "val"):
            held_out = {i for i in files.masks if _share(i) < self.val_fraction}
            listed = self._list("val")
            if listed.is_file():
                held_out = set(read_split(listed))
            return [i for i in files.images if (i in held_out) == (split == "val")]
        raise FileNotFoundError(
            f"split {split!r}: neither {self._list(split)} nor a list file of that path exists"
        )

    def open_source(self) -> ImageFiles:
        """Index the image and mask folders.

        Raises:
            FileNotFoundError: If there are no images.
            ValueError: If two files have the same id, or a mask has no image.
        """
        suffixes = set(Image.registered_extensions())
        images = files_by_stem(self.root / "images", suffixes)
        masks = files_by_stem(self.root / "masks", [".png"])
        if not images:
            raise FileNotFoundError(f"{self.root / 'images'} has no images; {_LAYOUT}")
        stray = [image_id for image_id in masks if image_id not in images]
        if stray:
            raise ValueError(
                f"mask {masks[stray[0]]} has no image of the same name in {self.root / 'images'}; "
                "rename or remove it"
            )
        return ImageFiles(images, masks, self.index_map)

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Tags from ``image_labels.csv`` or ``image_labels.json``; none where neither exists.

        Raises:
            ValueError: If a tag or an image of the tag file is unknown.
        """
        tags = self._file_tags
        return {image_id: tags[image_id] for image_id in image_ids if image_id in tags}

    def tagged_ids(self) -> list[str]:
        """Training images with tags; see the class."""
        return self._usable("tagged")

    def labeled_ids(self) -> list[str]:
        """Training images with masks that may be used; see the class."""
        return self._usable("masked") if self.labeled_split is None else super().labeled_ids()

    def _usable(self, split: str) -> list[str]:
        ids = self.split_ids(self.train_split)
        if self.train_split != "train" or self._list("train").is_file():
            return ids
        usable = self.split_ids(split)
        if len(usable) < len(ids):
            logger.info(
                "%s: %d of %d training images are %s", self.root, len(usable), len(ids), split
            )
        if not usable:
            raise ValueError(f"none of the {len(ids)} training images in {self.root} is {split}")
        return usable

    @cached_property
    def _file_tags(self) -> Tags:
        found = [self.root / name for name in _TAG_FILES if (self.root / name).is_file()]
        if not found:
            return {}
        tags = read_tag_file(found[0])
        check_tags(
            tags,
            origin=str(found[0]),
            known_classes=self.known_classes[int(self.background) :],
            is_image=self._files.images.__contains__,
        )
        return tags

    @property
    def _files(self) -> ImageFiles:
        source = self.source
        assert isinstance(source, ImageFiles)
        return source

    def _list(self, split: str) -> Path:
        return self.root / "splits" / f"{split}.txt"


def _share(image_id: str) -> float:
    """A number in [0, 1) that depends on the id alone."""
    return zlib.crc32(image_id.encode()) / 2**32
