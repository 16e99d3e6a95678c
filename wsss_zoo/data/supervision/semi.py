"""Supervision ``semi``: a few images with masks, and unlabelled ones in a weak and strong views."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsss_zoo.contract import UnlabeledBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.reading.image_files import ImageSource
from wsss_zoo.data.supervision.mask import (
    make_images_with_masks,
    pseudo_label_files,
    split_by_truth,
)
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import CroppedImages, Labels, load_image, load_mask
from wsss_zoo.data.transforms.joint import crop_mask, crop_valid, to_float

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class UnlabeledImages(CroppedImages):
    """The ``unlabeled`` half of a batch; see `UnlabeledBatch`."""

    source: ImageSource
    tags: Labels
    num_fg_classes: int
    strong_views: int
    audit: bool

    def sample(self, image_id: str, rng: np.random.Generator) -> UnlabeledBatch:
        """Make the weak and strong views of one crop."""
        image = load_image(self.source, image_id)
        crop, weak = self.crops.sample(image, rng)
        valid = crop_valid(crop, self.crops.crop_size)
        strong = [self.crops.strong_view(weak, valid, rng) for _ in range(self.strong_views)]
        sample: UnlabeledBatch = {
            "weak": to_float(weak),
            "strong": to_float(torch.stack([image for image, _ in strong])),
            "valid": valid,
            "strong_valid": torch.stack([view_valid for _, view_valid in strong]),
            "geometry": crop.geometry(),
            "image_size": torch.tensor(image.shape[1:]),
            "image_id": image_id,
        }
        if self.tags:
            tags = self.tags.get(image_id)
            known = tags if tags is not None else np.zeros(self.num_fg_classes, dtype=np.uint8)
            sample["image_labels"] = torch.from_numpy(known).float()
            sample["has_image_labels"] = torch.tensor(tags is not None)
        if self.audit:
            mask = torch.from_numpy(load_mask(self.source, image_id))
            sample["audit_mask"] = crop_mask(mask, crop, self.crops.crop_size).long()
        return sample


def make_semi_images(images: Catalog, options: TrainingOptions) -> dict[str, CroppedImages]:
    """Check the images of both halves; make the training sets ``labeled`` and ``unlabeled``.

    With pseudo-labels the labelled half is the images of ``labeled_split``, if given, and those of
    the rest of ``train_split`` that have a pseudo-label. Without ``unlabeled_split`` the unlabelled
    half is then all of ``train_split``.
    """
    pseudo_ids: list[str] = []
    files: dict[str, str] = {}
    if options.pseudo_label_dir is None:
        true_ids = images.labeled_ids()
    else:
        true_ids, left = split_by_truth(images)
        files = pseudo_label_files(images, options.pseudo_label_dir)
        pseudo_ids = [image_id for image_id in left if image_id in files]
        _check_pseudo_ids(images, options.pseudo_label_dir, pseudo_ids, left)
    known = set(true_ids)
    if options.unlabeled_split is not None:
        unlabeled = images.ids_of(options.unlabeled_split)
        both = sum(image_id in known for image_id in unlabeled)
        if both:
            logger.warning("%d unlabelled images are labelled too; they are kept in both", both)
    elif pseudo_ids:
        unlabeled = images.train_ids()
    else:
        unlabeled = [image_id for image_id in images.train_ids() if image_id not in known]
    if not unlabeled:
        raise ValueError(
            f"no unlabelled images: all of train_split {images.train_split!r} is labelled "
            f"({len(known)} images); give labeled_split (a list file, a split's name or a "
            "fraction) or unlabeled_split"
        )
    if not options.unlabeled_batch_size:
        raise ValueError(
            "unlabeled_batch_size is 0, but supervision 'semi' needs unlabelled images in each "
            "batch; give 1 or more, or train a method with supervision 'mask'"
        )
    images.check_images(unlabeled, masks=options.audit)
    tags = images.labels_of(unlabeled, from_masks=False)
    if 0 < len(tags) < len(unlabeled):
        text = "%d of %d unlabelled images have no tags: gate_by_tags rules no class out in them"
        logger.info(text, len(unlabeled) - len(tags), len(unlabeled))
    unlabeled_images = UnlabeledImages(
        unlabeled,
        images.source,
        options.crops,
        tags=tags,
        num_fg_classes=images.num_fg_classes,
        strong_views=options.strong_views,
        audit=options.audit,
    )
    labeled_images = make_images_with_masks(images, options, true_ids, pseudo_ids, files)
    return {"labeled": labeled_images, "unlabeled": unlabeled_images}


def _check_pseudo_ids(
    images: Catalog, given: Sequence[str] | str, pseudo_ids: Sequence[str], left: Sequence[str]
) -> None:
    if not pseudo_ids:
        raise ValueError(
            f"pseudo_label_dir {given!r} has a label of none of the {len(left)} images of "
            f"train_split {images.train_split!r} that are not in labeled_split "
            f"{images.labeled_split!r}; predict this split, or leave pseudo_label_dir out"
        )
    if len(pseudo_ids) < len(left):
        logger.info(
            "%d of %d images have a pseudo-label; the others are in the unlabelled half only",
            len(pseudo_ids),
            len(left),
        )
