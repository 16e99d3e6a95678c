"""Weak-shot training: masks for base classes, tags for novel ones, a reference image."""

import numpy as np
import torch
from torch.utils.data import Dataset

from wsss_zoo.data.datasets import MaskedImages
from wsss_zoo.data.partners import WeakShotPartners
from wsss_zoo.data.views import Position, Sample, index_and_draw


class WeakShotImages(Dataset[Sample]):
    """``weak_shot`` supervision: masks of base classes, tags of novel ones, a reference image.

    Args:
        images: Reads samples whose masks have the novel classes erased; its ``novel`` says which
            they are.
        partners: Chooses reference images from tags.
    """

    def __init__(self, images: MaskedImages, partners: WeakShotPartners) -> None:
        self.images, self.partners = images, partners
        self._is_novel = torch.zeros(images.num_fg_classes, dtype=torch.bool)
        self._is_novel[[index - images.first_fg for index in images.novel]] = True

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> Sample:
        index, draw = index_and_draw(position)
        rng = self.images.views.rng(index, draw)
        partner = self.partners.draw(index, rng)
        sample = self._sample(index, rng)
        return {**sample, "reference": self._sample(partner, rng)}

    def _sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = self.images.sample(self.images.ids[index], rng)
        sample["image_labels"] *= self._is_novel
        return sample
