"""Supervision ``pairs``: two tagged images that share a class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from wsss_zoo.contract import PairBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.image_labels import TaggedImages, make_tagged_images
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import Position, index_and_visit


class PairPartners:
    """Partner images that share at least one class (co-attention, ECCV 2020).

    A class of the image is chosen uniformly, then one of the *other* images with that class. The
    authors' code chooses among all images with the class, the image itself included. A class that
    no other image has is left out. If there is no other class, the image is its own partner.

    ``tags`` are (images, K), 0 or 1. ValueError if an image has none; the message has its id.
    """

    def __init__(self, tags: NDArray[np.uint8], image_ids: Sequence[str]) -> None:
        untagged = np.flatnonzero(tags.sum(1) == 0)
        if len(untagged):
            raise ValueError(
                f"image {image_ids[untagged[0]]} has none of the classes, so it has no partner; "
                "take it off the split list"
            )
        self._classes = [np.flatnonzero(row) for row in tags]
        self._images = [np.flatnonzero(column) for column in tags.T]

    def choose(self, index: int, rng: np.random.Generator) -> int:
        """Choose a partner of image ``index``, by its index."""
        shared = [c for c in self._classes[index] if len(self._images[c]) > 1]
        if not shared:
            return index
        images = self._images[shared[rng.integers(len(shared))]]
        # One of these sorted images, but not the image itself, which is among them.
        place = int(rng.integers(len(images) - 1))
        return int(images[place + (place >= np.searchsorted(images, index))])


@dataclass(eq=False)
class ImagePairs(Dataset[PairBatch]):
    """A tagged image and ``other``, a partner that shares a class."""

    images: TaggedImages
    partners: PairPartners

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> PairBatch:
        index, visit = index_and_visit(position)
        rng = self.images.crops.rng(index, visit)
        sample = self.images.sample(self.images.ids[index], rng)
        partner = self.partners.choose(index, rng)
        return {**sample, "other": self.images.sample(self.images.ids[partner], rng)}


def make_image_pairs(images: Catalog, options: TrainingOptions) -> ImagePairs:
    """Make the training set of tagged images, each with partners."""
    tagged = make_tagged_images(images, options)
    matrix = np.stack([tagged.tags[image_id] for image_id in tagged.ids])
    return ImagePairs(tagged, PairPartners(matrix, tagged.ids))
