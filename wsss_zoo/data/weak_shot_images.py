"""Weak-shot training: masks for base classes, tags for novel ones, a reference image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from wsss_zoo.data.datasets import MaskedImages
from wsss_zoo.data.image_files import IGNORE_INDEX
from wsss_zoo.data.partners import WeakShotPartners
from wsss_zoo.data.views import Position, Sample, index_and_draw, labels_from_mask


class WeakShotImages(Dataset[Sample]):
    """``weak_shot`` supervision: masks of base classes, tags of novel ones, a reference image.

    The masks of novel classes are erased (255) here, so that no method can see them.

    Args:
        images: Reads samples with full masks and tags.
        partners: Chooses reference images from tags.
        novel: Mask indices of the novel classes.
        crop_tags: Take the novel tags from the crop's own mask, as SimFormer's code does, in place
            of the whole image's tags.
    """

    def __init__(
        self,
        images: MaskedImages,
        partners: WeakShotPartners,
        novel: Sequence[int],
        *,
        crop_tags: bool = False,
    ) -> None:
        self.images, self.partners, self.crop_tags = images, partners, crop_tags
        self._is_novel = torch.zeros(IGNORE_INDEX + 1, dtype=torch.bool)
        self._is_novel[list(novel)] = True

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> Sample:
        index, draw = index_and_draw(position)
        rng = self.images.views.rng(index, draw)
        partner = self.partners.draw(index, rng)
        sample = self._sample(index, rng)
        return {**sample, "reference": self._sample(partner, rng)}

    def _sample(self, index: int, rng: np.random.Generator) -> Sample:
        images = self.images
        sample = images.sample(images.ids[index], rng)
        mask, first = sample["mask"], images.first_fg
        if self.crop_tags:
            crop_mask_array = mask.numpy().astype(np.uint8)
            labels = labels_from_mask(crop_mask_array, images.num_fg_classes, first)
            sample["image_labels"] = torch.from_numpy(labels).float()
        sample["image_labels"] *= self._is_novel[first : first + images.num_fg_classes]
        sample["mask"] = torch.where(self._is_novel[mask], IGNORE_INDEX, mask)
        return sample
