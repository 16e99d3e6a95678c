"""Training images with tags or masks, pairs of them, and whole images for evaluation."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wsss_zoo.data.image_files import IGNORE_INDEX, ImageSource, UInt8Array
from wsss_zoo.data.novel_masks import erase_novel, index_table, paste_novel
from wsss_zoo.data.partners import PairPartners
from wsss_zoo.data.transforms import (
    Crop,
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
    labels_from_mask,
    load_image,
    load_mask,
)


class PlainImages(Dataset[Sample]):
    """``images`` supervision: image (3, S, S) and id; tags and masks are not even looked for.

    Args:
        ids: Image ids.
        source: Reads images.
        views: How crops are made.
        strong: Whether the images get photometric changes too.
    """

    def __init__(self, ids: Sequence[str], source: ImageSource, views: Views, strong: bool) -> None:
        self.ids, self.source, self.views, self.strong = ids, source, views, strong

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> Sample:
        index, draw = index_and_draw(position)
        return self.sample(self.ids[index], self.views.rng(index, draw))

    def sample(self, image_id: str, rng: np.random.Generator) -> Sample:
        """One augmented image."""
        _, image = self.views.draw(load_image(self.source, image_id), rng)
        if self.strong:
            image = photometric(image, rng, self.views.augmentation)
        return {"image": to_float(image), "image_id": image_id}


class TaggedImages(PlainImages):
    """``image_labels`` supervision: image, tags, id."""

    def __init__(
        self, ids: Sequence[str], source: ImageSource, views: Views, strong: bool, labels: Labels
    ) -> None:
        super().__init__(ids, source, views, strong)
        self.labels = labels

    def sample(self, image_id: str, rng: np.random.Generator) -> Sample:
        """One augmented image with its tags."""
        image_labels = torch.from_numpy(self.labels[image_id]).float()
        return super().sample(image_id, rng) | {"image_labels": image_labels}


class ImagePairs(Dataset[Sample]):
    """``pairs`` supervision: a tagged image and ``other``, a partner that shares a class."""

    def __init__(self, images: TaggedImages, partners: PairPartners) -> None:
        self.images, self.partners = images, partners

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> Sample:
        index, draw = index_and_draw(position)
        rng = self.images.views.rng(index, draw)
        sample = self.images.sample(self.images.ids[index], rng)
        partner = self.partners.draw(index, rng)
        return {**sample, "other": self.images.sample(self.images.ids[partner], rng)}


class MaskedImages(Dataset[Sample]):
    """``mask`` supervision: image, mask, tags, id.

    The masks of novel classes are erased (255) here, so that no method can see them.

    Args:
        ids: Image ids.
        source: Reads images and true masks.
        labels: Tags by image id; an image without any gets those of its mask.
        views: How crops are made.
        num_fg_classes: Number of foreground classes K.
        first_fg: Index of the first foreground class in masks (1 with a background class, else 0).
        pseudo: Reads pseudo-labels.
        pseudo_ids: Images whose pseudo-label stands for the mask; with novel classes, for what
            their true mask does not show of base classes (see `paste_novel`).
        strong: Which images get photometric changes and CutOut too (its box is then ignored in the
            mask): none, the pseudo-labelled ones (ST, CVPR 2022) or all.
        novel: Mask indices of the novel classes.
        crop_tags: Take the tags from the crop's own mask, before novel classes are erased.
        with_valid: Add ``valid`` (S, S), False on padding and CutOut.
    """

    def __init__(
        self,
        ids: Sequence[str],
        source: ImageSource,
        labels: Labels,
        views: Views,
        *,
        num_fg_classes: int,
        first_fg: int,
        pseudo: ImageSource | None = None,
        pseudo_ids: frozenset[str] = frozenset(),
        strong: Literal["none", "pseudo", "all"] = "none",
        novel: Sequence[int] = (),
        crop_tags: bool = False,
        with_valid: bool = False,
    ) -> None:
        self.ids, self.source, self.labels, self.views = ids, source, labels, views
        self.num_fg_classes, self.first_fg = num_fg_classes, first_fg
        self.pseudo, self.pseudo_ids, self.strong = pseudo, pseudo_ids, strong
        self.novel, self._is_novel = list(novel), index_table(novel)
        self.crop_tags, self.with_valid = crop_tags, with_valid

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> Sample:
        index, draw = index_and_draw(position)
        return self.sample(self.ids[index], self.views.rng(index, draw))

    def read_mask(self, image_id: str) -> UInt8Array:
        """The true mask of an image, or the pseudo-label that stands for all of it, (H, W)."""
        is_pseudo = self.pseudo is not None and image_id in self.pseudo_ids and not self.novel
        return load_mask(self.pseudo if is_pseudo and self.pseudo else self.source, image_id)

    def sample(self, image_id: str, rng: np.random.Generator) -> Sample:
        """One augmented image with its mask."""
        full_mask, size = self.read_mask(image_id), self.views.crop_size
        crop, image = self.views.draw(load_image(self.source, image_id), rng)
        mask, valid = crop_mask(torch.from_numpy(full_mask), crop, size), crop_valid(crop, size)
        if self.strong == "all" or (self.strong == "pseudo" and image_id in self.pseudo_ids):
            image = photometric(image, rng, self.views.augmentation)
            box = draw_cutout(rng, size, self.views.augmentation)
            if box is not None:
                fill = self.views.augmentation.cutout_fill
                image = fill_box(image, box, rng, fill, self.views.pad)
                valid[box[0] : box[2], box[1] : box[3]] = False
        labels = self.labels.get(image_id)
        if labels is None or self.crop_tags:
            visible = mask.masked_fill(~valid, IGNORE_INDEX).numpy()
            shown = visible if self.crop_tags else full_mask
            labels = labels_from_mask(shown, self.num_fg_classes, self.first_fg)
        mask = mask.long()
        if self.novel:
            mask = self._without_novel(mask, image_id, crop, labels)
        sample: Sample = {
            "image": to_float(image),
            "mask": mask.masked_fill_(~valid, IGNORE_INDEX),
            "image_labels": torch.from_numpy(labels).float(),
            "image_id": image_id,
        }
        return sample | {"valid": valid} if self.with_valid else sample

    def _without_novel(
        self, mask: Tensor, image_id: str, crop: Crop, labels: NDArray[np.uint8]
    ) -> Tensor:
        """A crop's mask, (S, S), without novel classes but for those of its pseudo-label."""
        if self.pseudo is None or image_id not in self.pseudo_ids:
            return erase_novel(mask, self._is_novel)
        pseudo = torch.from_numpy(load_mask(self.pseudo, image_id))
        pseudo = crop_mask(pseudo, crop, self.views.crop_size).long()
        is_tagged = index_table((labels.nonzero()[0] + self.first_fg).tolist())
        return paste_novel(mask, pseudo, self._is_novel, is_tagged)


class EvaluationImages(Dataset[Sample]):
    """Whole images at native size, with masks and tags where there are any.

    Args:
        ids: Image ids.
        source: Reads images and masks.
        labels: Tags by image id; an image without any gets those of its mask.
        num_fg_classes: Number of foreground classes K.
        first_fg: Index of the first foreground class in masks.
    """

    def __init__(
        self,
        ids: Sequence[str],
        source: ImageSource,
        labels: Labels,
        *,
        num_fg_classes: int,
        first_fg: int,
    ) -> None:
        self.ids, self.source, self.labels = ids, source, labels
        self.num_fg_classes, self.first_fg = num_fg_classes, first_fg

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> Sample:
        image_id = self.ids[index_and_draw(position)[0]]
        sample: Sample = {
            "image": to_float(load_image(self.source, image_id).contiguous()),
            "image_id": image_id,
        }
        mask, labels = self.source.read_mask(image_id), self.labels.get(image_id)
        if mask is not None:
            sample["mask"] = torch.from_numpy(mask).long()
            if labels is None:
                labels = labels_from_mask(mask, self.num_fg_classes, self.first_fg)
        if labels is not None:
            sample["image_labels"] = torch.from_numpy(labels).float()
        return sample
