"""Supervision ``sparse``: strokes, points, boxes, masks, tags and nothing, mixed freely."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.contract import SparseBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.reading.image_files import ImageFiles, ImageSource
from wsss_zoo.data.supervision.mask import open_pseudo_labels, pseudo_label_files
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.supervision.possible import KnownPixels, fill_pseudo, possible_pixels
from wsss_zoo.data.supervision.sparse_labels import LabelReader, possible_classes, survey_labels
from wsss_zoo.data.transforms.crops import CroppedImages, Labels, load_image, load_mask
from wsss_zoo.data.transforms.joint import (
    Crop,
    crop_image,
    crop_mask,
    crop_valid,
    sample_crop,
    to_float,
)
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array

logger = logging.getLogger(__name__)

_REDRAWS = 10  # of a crop without a labelled pixel


@dataclass(eq=False)
class SparseImages(CroppedImages):
    """Image, mask with 255 where nothing is known, and the classes that each pixel may have.

    The first ``num_labeled`` images have a label of some pixel; see `SparseBatch`.

    Args:
        source: Reads images, and true masks for ``audit``.
        num_labeled: Number of images with labels; the others come after them.
        labels: Reads the labels of pixels.
        pseudo: Reads pseudo-labels, which fill unknown pixels.
        tags: Tags by image id.
        allowed: Possible classes, (C,) bool, by image id; all for the other images.
        num_classes: Number of classes C.
        background: Whether class 0 is background.
        by_pixel: Give the possible classes of each pixel, as some image has boxes.
        strong_views: Number of strong views of each crop.
        audit: Add the true mask, for logging only.
    """

    source: ImageSource
    num_labeled: int
    labels: LabelReader
    pseudo: ImageFiles
    tags: Labels
    allowed: Mapping[str, NDArray[np.bool_]]
    num_classes: int
    background: bool
    by_pixel: bool
    strong_views: int
    audit: bool

    def sample(self, image_id: str, rng: np.random.Generator) -> SparseBatch:
        """Crop one image with its labels, and make its strong views."""
        image, size = load_image(self.source, image_id), self.crops.crop_size
        known = self.labels.read(image_id, (image.shape[1], image.shape[2]))
        allowed = self.allowed.get(image_id, np.ones(self.num_classes, dtype=bool))
        full_mask = torch.from_numpy(self._with_pseudo(image_id, known, allowed))
        crop, mask = self._sample_crop(full_mask, rng)
        weak, valid = crop_image(image, crop, size, self.crops.pad), crop_valid(crop, size)
        sample: SparseBatch = {
            "image": to_float(weak),
            "mask": mask.long(),
            "valid": valid,
            "possible": self._possible(mask, known, allowed, crop),
            "image_id": image_id,
        }
        if self.tags:
            tags = self.tags.get(image_id)
            none = np.zeros(self.num_classes - int(self.background), dtype=np.uint8)
            sample["image_labels"] = torch.from_numpy(none if tags is None else tags).float()
            sample["has_image_labels"] = torch.tensor(tags is not None)
        if self.strong_views:
            views = [self.crops.strong_view(weak, valid, rng) for _ in range(self.strong_views)]
            sample["strong"] = to_float(torch.stack([view for view, _ in views]))
            sample["strong_valid"] = torch.stack([seen for _, seen in views])
        if self.audit:
            truth = torch.from_numpy(load_mask(self.source, image_id))
            sample["audit_mask"] = crop_mask(truth, crop, size).long()
        return sample

    def _with_pseudo(
        self, image_id: str, known: KnownPixels, allowed: NDArray[np.bool_]
    ) -> UInt8Array:
        pseudo = self.pseudo.read_mask(image_id)
        if pseudo is None:
            return known.mask
        return fill_pseudo(known, pseudo, allowed, background=self.background)

    def _sample_crop(self, mask: Tensor, rng: np.random.Generator) -> tuple[Crop, Tensor]:
        """Sample a crop, anew where it has no labelled pixel although the image has; its mask."""
        size, augmentation = self.crops.crop_size, self.crops.augmentation
        has_label = bool((mask != IGNORE_INDEX).any())
        for _ in range(1 + _REDRAWS):
            crop = sample_crop(rng, mask.shape[0], mask.shape[1], size, augmentation)
            cropped = crop_mask(mask, crop, size)
            if not has_label or (cropped != IGNORE_INDEX).any():
                break
        return crop, cropped

    def _possible(
        self, mask: Tensor, known: KnownPixels, allowed: NDArray[np.bool_], crop: Crop
    ) -> Tensor:
        if not self.by_pixel:
            return torch.from_numpy(allowed)[:, None, None]

        def cropped(plane: NDArray[np.bool_]) -> Tensor:
            return crop_mask(torch.from_numpy(plane.view(np.uint8)), crop, len(mask)) == 1

        return possible_pixels(mask, known.boxes, allowed, background=self.background, cut=cropped)


def make_sparse_images(images: Catalog, options: TrainingOptions) -> SparseImages:
    """Check all labels of the training images, and make one training set of all images."""
    if images.novel_classes:
        raise ValueError(
            f"novel_classes {images.novel_classes} are for supervision 'weak_shot' and 'mask'; "
            "leave them out: sparse labels may be missing for any class of any image"
        )
    train, masked = images.train_ids(), images.mask_labeled_ids()
    is_masked = frozenset(masked)
    unmasked = [i for i in train if i not in is_masked]
    given = options.pseudo_label_dir
    files = pseudo_label_files(images, given) if given else {}
    with_pseudo = [i for i in unmasked if i in files]
    if given and not with_pseudo:
        raise FileNotFoundError(
            f"pseudo_label_dir {given} has no pseudo-label of a training image; correct the "
            "folder or leave it out"
        )
    pseudo = open_pseudo_labels(images, {i: files[i] for i in with_pseudo}, with_pseudo, {})
    sparse = images.sparse_labels
    labels = LabelReader(
        images.source, sparse, is_masked, options.complete_boxes, images.background
    )
    candidates = [i for i in unmasked if i in sparse or i in pseudo.masks]
    images.check_images(masked, masks=True)
    images.check_images(candidates, masks=options.audit)
    found = survey_labels(labels, [*masked, *candidates], images.class_names)
    # A label may have no pixel: an empty map, or strokes of classes that are not in use.
    drawn = [i for i in candidates if found[i].classes or i in pseudo.masks]
    labeled = [*masked, *drawn]
    if not labeled:
        raise ValueError(
            f"none of the {len(train)} training images has a label: give sparse labels "
            "(--data.sparse_dir, or in a Folder sparse/, shapes.json, boxes.csv or points.csv), "
            "masks that may be used (--data.labeled_split) or --data.pseudo_label_dir"
        )
    is_labeled = set(labeled)
    pool = images.ids_of(options.unlabeled_split) if options.unlabeled_split else train
    rest = [i for i in pool if i not in is_labeled] if options.unlabeled_batch_size else []
    images.check_images(rest, masks=options.audit)
    ids = [*labeled, *rest]
    tags = {} if images.tags_show_masks else images.labels_of(ids, from_masks=False)
    allowed = possible_classes(images, options, found, tags, ids, is_masked)
    if options.complete_sparse:
        complete = {i: record for i, record in found.items() if record.classes}
        tags = {i: r.tags(images.background) for i, r in complete.items()} | dict(tags)
    logger.info(
        "sparse supervision: %d images with masks, %d with sparse labels, %d with pseudo-labels "
        "alone, %d without a label of a pixel, %d with tags",
        *(len(masked), sum(i in sparse for i in drawn), sum(i not in sparse for i in drawn)),
        *(len(rest), len(tags)),
    )
    return SparseImages(
        ids,
        images.source,
        options.crops,
        num_labeled=len(labeled),
        labels=labels,
        pseudo=pseudo,
        tags=tags,
        allowed=allowed,
        num_classes=images.num_classes,
        background=images.background,
        by_pixel=any(record.box_classes for record in found.values()),
        strong_views=options.strong_views,
        audit=options.audit,
    )
