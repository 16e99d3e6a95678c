"""Supervision ``weak_shot``: masks of base classes, tags of novel ones, a reference image."""

import logging
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wsss_zoo.contract import BaseMaskBatch, WeakShotBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.mask import MaskedImages, make_images_with_masks
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import Position, index_and_visit

logger = logging.getLogger(__name__)


class WeakShotPartners:
    """Reference images of weak-shot training, chosen from tags only.

    Uniform over the other images that share a novel class and a base class; where there is none,
    over those that share a novel class; else a base class; else over all others. The image itself
    only if it is the only one. SimFormer's released lists leave images with a single novel class
    without a partner for it; this implementation does not.

    ``tags`` are (images, K), 0 or 1; ``novel`` marks the novel classes, (K,) bool.
    """

    def __init__(self, tags: NDArray[np.uint8], novel: NDArray[np.bool_]) -> None:
        self._novel = tags.astype(bool) & novel
        self._base = tags.astype(bool) & ~novel

    def candidates(self, index: int) -> NDArray[np.intp]:
        """Find the images that may be the reference of image ``index``, by their indices."""
        shares_novel = (self._novel & self._novel[index]).any(1)
        shares_base = (self._base & self._base[index]).any(1)
        everyone = np.ones(len(shares_novel), dtype=bool)
        for allowed in (shares_novel & shares_base, shares_novel, shares_base, everyone):
            allowed[index] = False
            if allowed.any():
                return np.flatnonzero(allowed)
        return np.array([index])

    def choose(self, index: int, rng: np.random.Generator) -> int:
        """Choose a reference of image ``index``, by its index."""
        return int(rng.choice(self.candidates(index)))


@dataclass(eq=False)
class WeakShotImages(Dataset[WeakShotBatch]):
    """An image, and its ``reference``: masks of base classes, tags of novel ones.

    The samples of ``images`` have the novel classes erased; ``is_novel`` marks these, (K,) bool.
    """

    images: MaskedImages
    partners: WeakShotPartners
    is_novel: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> WeakShotBatch:
        index, visit = index_and_visit(position)
        rng = self.images.crops.rng(index, visit)
        partner = self.partners.choose(index, rng)
        sample = self._sample(index, rng)
        return {**sample, "reference": self._sample(partner, rng)}

    def _sample(self, index: int, rng: np.random.Generator) -> BaseMaskBatch:
        sample = cast(BaseMaskBatch, self.images.sample(self.images.ids[index], rng))
        sample["image_labels"] *= self.is_novel
        return sample


def make_weak_shot_images(images: Catalog, options: TrainingOptions) -> WeakShotImages:
    """Check the images whose masks may be used; make the training set of them and their tags."""
    if not images.novel_classes:
        raise ValueError(
            "supervision 'weak_shot' needs novel_classes, a list of class names (as in '[cow, "
            "sheep]') or the name of a published split"
        )
    if options.pseudo_label_dir is not None:
        raise ValueError(
            f"pseudo_label_dir is {options.pseudo_label_dir!r}, but supervision 'weak_shot' learns "
            "from true masks of base classes and from tags; leave it out, or train a method with "
            "supervision 'mask', as MaskFormer, on both"
        )
    masked = make_images_with_masks(images, options, images.labeled_ids())
    is_novel = np.array([name in images.novel_classes for name in images.fg_names])
    matrix = np.stack([masked.tags[image_id] for image_id in masked.ids])
    for name in images.novel_classes:
        if not matrix[:, images.fg_names.index(name)].any():
            logger.warning("no training image is tagged with the novel class %r", name)
    return WeakShotImages(masked, WeakShotPartners(matrix, is_novel), torch.from_numpy(is_novel))
