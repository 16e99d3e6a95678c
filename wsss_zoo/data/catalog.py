"""Catalog of a data set: its images, their files and their tags."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.classes import ClassesInUse
from wsss_zoo.data.reading.image_files import Checks, ImageFiles, ImageSource
from wsss_zoo.data.reading.sparse_files import SparseSource, no_sparse_labels, open_sparse_files
from wsss_zoo.data.reading.splits import read_split
from wsss_zoo.data.reading.tag_files import Tags, check_tags, multi_hot, tags_from_masks
from wsss_zoo.data.supervision.labeled_split import sample_labeled_split
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions
from wsss_zoo.files.text import Report, raise_problem

logger = logging.getLogger(__name__)


class Catalog(ClassesInUse):
    """Knows the images of a data set by split, their files and their tags.

    Every data module is one; see `BaseDataModule` for what a subclass gives, and for the settings.
    """

    train_split: str
    labeled_split: float | str | None
    seed: int
    check_masks: bool
    check_files: bool
    #: Whether symbolic links may lead out of the data's folders.
    outside_links: bool = True
    #: Folder of sparse labels.
    sparse_dir: str | None = None
    #: Whether `read_tags` looks into masks, which ``sparse`` must not.
    tags_show_masks: bool = False

    @abstractmethod
    def split_ids(self, split: str) -> list[str]:
        """List the image ids of a split, in order; an unknown split is an error that names it."""

    @abstractmethod
    def open_source(self) -> ImageSource:
        """Find the files; called once in ``setup``."""

    @abstractmethod
    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Read the class names of images from tag files; images without any are left out."""

    def find_id(self, name: str) -> str | None:
        """Find the id of the image that a list names by id, file name or path; None if unknown."""
        return None

    def read_list(self, path: Path) -> list[str]:
        """Read the ids of a list file; see `read_split` for the forms it may have."""
        return read_split(path, find=self.find_id)

    @cached_property
    def source(self) -> ImageSource:
        """Reads images and masks."""
        source = self.open_source()
        if isinstance(source, ImageFiles) and self.pixels != AS_STORED:
            return replace(source, pixels=self.pixels)
        return source

    @property
    def pixels(self) -> PixelOptions:
        """What is said of values and bands of the image files; by default nothing."""
        return AS_STORED

    @property
    def files(self) -> ImageFiles:
        """The source of a data set that lies in files."""
        source = self.source
        assert isinstance(source, ImageFiles)
        return source

    @cached_property
    def sparse_labels(self) -> SparseSource:
        """Reads the sparse labels of ``sparse_dir``."""
        return self.open_sparse_labels()

    def open_sparse_labels(self, report: Report = raise_problem) -> SparseSource:
        """Find the sparse labels; called once in ``setup`` of ``sparse``."""
        if self.sparse_dir is None:
            return no_sparse_labels()
        return open_sparse_files(
            Path(self.sparse_dir),
            images=self.files.images,
            known_classes=self.known_classes,
            class_names=self.class_names,
            report=report,
        )

    def mask_labeled_ids(self) -> list[str]:
        """List the images whose masks ``sparse`` may open: those of ``labeled_split``."""
        return [] if self.labeled_split is None else self.labeled_ids()

    @cached_property
    def _ids_by_split(self) -> dict[str, list[str]]:
        return {}

    def ids_of(self, split: str) -> list[str]:
        """List the image ids of a split; calls `split_ids` the first time only."""
        if split not in self._ids_by_split:
            self._ids_by_split[split] = self.split_ids(split)
        return self._ids_by_split[split]

    def train_ids(self) -> list[str]:
        """List the image ids of ``train_split``; ValueError if there are none."""
        ids = self.ids_of(self.train_split)
        if not ids:
            raise ValueError(f"train_split {self.train_split!r} has no images")
        return ids

    def tagged_ids(self) -> list[str]:
        """List the training images of the methods that learn from tags."""
        return self.ids_of(self.train_split)

    def labeled_ids(self) -> list[str]:
        """List the images whose masks may be used; all of ``train_split`` if none are named."""
        return self._labeled_ids

    def labeled_pool(self) -> list[str]:
        """List the images that ``labeled_split`` may be a fraction of."""
        return self.ids_of(self.train_split)

    @cached_property
    def _labeled_ids(self) -> list[str]:
        train = self.ids_of(self.train_split)
        if self.labeled_split is None:
            return train
        if isinstance(self.labeled_split, str):
            path = Path(self.labeled_split)
            return self.read_list(path) if path.suffix else self.ids_of(self.labeled_split)
        train = self.labeled_pool()
        tags = self.labels_of(train, from_masks=True)
        empty = np.zeros(self.num_fg_classes, dtype=np.uint8)
        matrix = np.stack([tags.get(image_id, empty) for image_id in train])
        return sample_labeled_split(train, matrix, self.labeled_split, self.seed)

    def labels_of(
        self, image_ids: Sequence[str], *, from_masks: bool
    ) -> dict[str, NDArray[np.uint8]]:
        """Find the tags of images, (K,) each; classes not in use are dropped, and that is logged.

        ``from_masks`` takes the tags of images without any in the tag files from their masks.
        """
        tags, fg_names = dict(self.read_tags(image_ids)), self.fg_names
        in_use = set(fg_names)
        dropped = sum(name not in in_use for names in tags.values() for name in names)
        if dropped:
            logger.info("%d tags of classes that are not in use were dropped", dropped)
        if from_masks:
            left = [image_id for image_id in image_ids if image_id not in tags]
            tags |= tags_from_masks(self.source, left, fg_names, int(self.background))
        return multi_hot(tags, fg_names)

    def check_tags(self, tags: Tags, origin: Path, report: Report = raise_problem) -> Tags:
        """Leave out tags of unknown images and classes, and report them; see `check_tags`."""
        return check_tags(
            tags,
            origin=str(origin),
            known_classes=self.known_fg_names,
            images=self.files.images,
            report=report,
        )

    def complete_labels(self, image_ids: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
        """Find tags in tag files or masks, as `labels_of`; ValueError if an image has none."""
        tags = self.labels_of(image_ids, from_masks=True)
        missing = [image_id for image_id in image_ids if image_id not in tags]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(image_ids)} training images have no image-level labels, "
                f"first: {', '.join(missing[:3])}; add them to the tag file or take the images off "
                f"the list{self.missing_hint(missing[0])}"
            )
        return tags

    def missing_hint(self, image_id: str) -> str:
        """Say where an image's mask was looked for, beginning with ``;``; empty if unknown."""
        return ""

    def check_images(self, image_ids: Sequence[str], *, masks: bool) -> None:
        """Check the files of images, as far as ``check_files`` and ``check_masks`` say."""
        self.source.check(image_ids, Checks(masks, self.check_masks, self.check_files))
