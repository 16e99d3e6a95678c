"""Which images a data set has, and what is known of each before any training."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.class_lists import ClassesInUse
from wsss_zoo.data.image_files import ImageSource
from wsss_zoo.data.image_labels import Tags, multi_hot, tags_from_masks
from wsss_zoo.data.splits import draw_labeled_split, read_split

logger = logging.getLogger(__name__)


class KnownLabels(ClassesInUse):
    """The splits of a data set, their tags and which masks may be used: a part of the data module.

    A data set gives `split_ids`, `open_source` and `read_tags`.
    """

    #: See `BaseDataModule`.
    train_split: str
    labeled_split: float | str | None
    seed: int

    @abstractmethod
    def split_ids(self, split: str) -> list[str]:
        """Image ids of a split, in order; an unknown split is an error that names it."""

    @abstractmethod
    def open_source(self) -> ImageSource:
        """Find the files; called once in ``setup``."""

    @abstractmethod
    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Class names in each image from tag files; images that have none there are left out."""

    @cached_property
    def source(self) -> ImageSource:
        """Reads images and masks."""
        return self.open_source()

    def labels_of(
        self, image_ids: Sequence[str], *, from_masks: bool
    ) -> dict[str, NDArray[np.uint8]]:
        """Tags of images, as (K,) arrays; classes not in use are dropped, and that is said.

        Args:
            image_ids: The images.
            from_masks: Take the tags of images without any in the tag files from their masks.
        """
        tags = dict(self.read_tags(image_ids))
        in_use = set(self.fg_names)
        dropped = sum(name not in in_use for names in tags.values() for name in names)
        if dropped:
            logger.info("%d tags of classes that are not in use were dropped", dropped)
        if from_masks:
            left = [image_id for image_id in image_ids if image_id not in tags]
            tags |= tags_from_masks(self.source, left, self.fg_names, int(self.background))
        return {image_id: multi_hot(names, self.fg_names) for image_id, names in tags.items()}

    def complete_labels(self, image_ids: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
        """Tags of images that must have some, from tag files or masks, as (K,) arrays.

        Raises:
            ValueError: If an image has neither; the first three are named.
        """
        labels = self.labels_of(image_ids, from_masks=True)
        missing = [image_id for image_id in image_ids if image_id not in labels]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(image_ids)} training images have no image-level labels, "
                f"first: {', '.join(missing[:3])}; add them to the tag file or take the images off "
                "the list"
            )
        return labels

    def tagged_ids(self) -> list[str]:
        """Training images of the methods that learn from tags."""
        return self.split_ids(self.train_split)

    def labeled_ids(self) -> list[str]:
        """Images whose masks may be used for training; all of ``train_split`` if none are named."""
        train = self.split_ids(self.train_split)
        if self.labeled_split is None:
            return train
        if isinstance(self.labeled_split, str):
            path = Path(self.labeled_split)
            return read_split(path) if path.suffix else self.split_ids(self.labeled_split)
        return self._drawn_split

    @cached_property
    def _drawn_split(self) -> list[str]:
        train = self.split_ids(self.train_split)
        labels = self.labels_of(train, from_masks=True)
        empty = np.zeros(self.num_fg_classes, dtype=np.uint8)
        matrix = np.stack([labels.get(image_id, empty) for image_id in train])
        return draw_labeled_split(train, matrix, float(self.labeled_split or 0), self.seed)
