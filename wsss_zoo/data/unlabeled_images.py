"""The unlabelled half of semi-supervised training."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wsss_zoo.data.image_files import ImageSource
from wsss_zoo.data.transforms import (
    crop_mask,
    crop_valid,
    draw_cutout,
    fill_box,
    photometric,
    to_float,
)
from wsss_zoo.data.views import (
    Labels,
    Position,
    Sample,
    Views,
    index_and_draw,
    load_image,
    load_mask,
)


class UnlabeledImages(Dataset[Sample]):
    """The ``unlabeled`` half of ``semi`` supervision.

    A sample holds ``weak`` (3, S, S), ``strong`` (V, 3, S, S) of the same crop, ``valid`` (S, S;
    False on padding), ``strong_valid`` (V, S, S; False on padding and CutOut), ``geometry`` (5,;
    see `Crop.geometry`), ``image_size`` (2,; height and width of the whole image, pixels),
    ``image_id``; where tags are known for some image, ``image_labels`` (K,) and
    ``has_image_labels`` (); with ``audit``, ``audit_mask`` (S, S), which only logging may read.
    """

    def __init__(
        self,
        ids: Sequence[str],
        source: ImageSource,
        labels: Labels,
        views: Views,
        *,
        num_fg_classes: int,
        strong_views: int = 1,
        audit: bool = False,
    ) -> None:
        self.ids, self.source, self.labels, self.views = ids, source, labels, views
        self.num_fg_classes, self.strong_views, self.audit = num_fg_classes, strong_views, audit

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> Sample:
        index, draw = index_and_draw(position)
        image_id, rng = self.ids[index], self.views.rng(index, draw)
        image = load_image(self.source, image_id)
        crop, weak = self.views.draw(image, rng)
        valid = crop_valid(crop, self.views.crop_size)
        strong = [self._strong(weak, valid, rng) for _ in range(self.strong_views)]
        sample: Sample = {
            "weak": to_float(weak),
            "strong": to_float(torch.stack([image for image, _ in strong])),
            "valid": valid,
            "strong_valid": torch.stack([view_valid for _, view_valid in strong]),
            "geometry": crop.geometry(),
            "image_size": torch.tensor(image.shape[1:]),
            "image_id": image_id,
        }
        if self.labels:
            labels = self.labels.get(image_id)
            known = labels if labels is not None else np.zeros(self.num_fg_classes, dtype=np.uint8)
            sample["image_labels"] = torch.from_numpy(known).float()
            sample["has_image_labels"] = torch.tensor(labels is not None)
        if self.audit:
            mask = torch.from_numpy(load_mask(self.source, image_id))
            sample["audit_mask"] = crop_mask(mask, crop, self.views.crop_size).long()
        return sample

    def _strong(
        self, weak: Tensor, valid: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        augmentation = self.views.augmentation
        image = photometric(weak, rng, augmentation)
        # Blur and jitter would bleed into the padding; it keeps its colour.
        image = torch.where(valid, image, self.views.pad[:, None, None])
        box = draw_cutout(rng, self.views.crop_size, augmentation)
        if box is None:
            return image, valid
        view_valid = valid.clone()
        view_valid[box[0] : box[2], box[1] : box[3]] = False
        return fill_box(image, box, rng, augmentation.cutout_fill, self.views.pad), view_valid
