"""Supervision ``mask``: images with masks or with pseudo-labels that stand for them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.contract import BaseMaskBatch, MaskBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.reading.image_files import Checks, ImageFiles, ImageSource, check_masks
from wsss_zoo.data.supervision.image_labels import COMMON_REMEDY, common_shares
from wsss_zoo.data.supervision.novel_masks import erase_novel, index_table, paste_novel
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import (
    CroppedImages,
    Labels,
    labels_from_mask,
    load_image,
    load_mask,
)
from wsss_zoo.data.transforms.joint import Crop, crop_mask, crop_valid, to_float
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.listing import files_by_stem
from wsss_zoo.files.pseudo_labels import read_manifest

logger = logging.getLogger(__name__)

_LOWER_THRESHOLDS = (
    "lower the thresholds of the prediction that wrote them (labels.bg_threshold, fg_conf or "
    "conf_thresh), or give masks of such images (data.labeled_split)"
)


@dataclass(eq=False)
class MaskedImages(CroppedImages):
    """Image, mask, tags and id; see `CroppedImages`.

    The masks of novel classes are erased (255) here, so that no method can see them.

    Args:
        source: Reads images and true masks.
        tags: Tags by image id; an image without any gets those of its mask.
        num_fg_classes: Number of foreground classes K.
        first_fg: Index of the first foreground class in masks, 0 or 1.
        pseudo: Reads pseudo-labels.
        pseudo_ids: Images whose pseudo-label stands for the mask; with novel classes, for what
            their true mask does not show of base classes (see `paste_novel`).
        strong: Which images get photometric changes and CutOut too (its box is then ignored in the
            mask): none, the pseudo-labelled ones (ST, CVPR 2022) or all.
        novel: Mask indices of the novel classes.
        crop_tags: Take the tags from the crop's own mask, before novel classes are erased.
        with_valid: Add ``valid`` (S, S), False on padding and CutOut.
    """

    source: ImageSource
    tags: Labels
    num_fg_classes: int
    first_fg: int
    pseudo: ImageSource | None
    pseudo_ids: frozenset[str]
    strong: Literal["none", "pseudo", "all"]
    novel: Sequence[int]
    crop_tags: bool
    with_valid: bool

    def __post_init__(self) -> None:
        self._is_novel = index_table(self.novel)

    def read_mask(self, image_id: str) -> UInt8Array:
        """Read the true mask of an image, or the pseudo-label that stands for all of it, (H, W)."""
        is_pseudo = self.pseudo is not None and image_id in self.pseudo_ids and not self.novel
        return load_mask(self.pseudo if is_pseudo and self.pseudo else self.source, image_id)

    def sample(self, image_id: str, rng: np.random.Generator) -> MaskBatch:
        """Augment one image with its mask."""
        full_mask, size = self.read_mask(image_id), self.crops.crop_size
        crop, image = self.crops.sample(load_image(self.source, image_id), rng)
        mask, valid = crop_mask(torch.from_numpy(full_mask), crop, size), crop_valid(crop, size)
        if self.strong == "all" or (self.strong == "pseudo" and image_id in self.pseudo_ids):
            image, valid = self.crops.cut_out(self.crops.photometric(image, rng), valid, rng)
        tags = self.tags.get(image_id)
        if tags is None or self.crop_tags:
            visible = mask.masked_fill(~valid, IGNORE_INDEX).numpy()
            shown = visible if self.crop_tags else full_mask
            tags = labels_from_mask(shown, self.num_fg_classes, self.first_fg)
        mask = mask.long()
        if self.novel:
            mask = self._without_novel(mask, image_id, crop, tags)
        sample: MaskBatch = {
            "image": to_float(image),
            "mask": mask.masked_fill_(~valid, IGNORE_INDEX),
            "image_labels": torch.from_numpy(tags).float(),
            "image_id": image_id,
        }
        if not self.with_valid:
            return sample
        with_valid: BaseMaskBatch = {**sample, "valid": valid}
        return with_valid

    def _without_novel(
        self, mask: Tensor, image_id: str, crop: Crop, tags: NDArray[np.uint8]
    ) -> Tensor:
        """A crop's mask, (S, S), without novel classes but for those of its pseudo-label."""
        if self.pseudo is None or image_id not in self.pseudo_ids:
            return erase_novel(mask, self._is_novel)
        pseudo = torch.from_numpy(load_mask(self.pseudo, image_id))
        pseudo = crop_mask(pseudo, crop, self.crops.crop_size).long()
        is_tagged = index_table((tags.nonzero()[0] + self.first_fg).tolist())
        return paste_novel(mask, pseudo, self._is_novel, is_tagged)


def make_masked_images(images: Catalog, options: TrainingOptions) -> MaskedImages:
    """Check the images of ``train_split`` and make the training set of their masks.

    Pseudo-labels stand for all masks but those of ``labeled_split``.
    """
    if options.pseudo_label_dir is None:
        return make_images_with_masks(images, options, images.labeled_ids())
    true_ids, left = split_by_truth(images)
    files = pseudo_label_files(images, options.pseudo_label_dir)
    return make_images_with_masks(images, options, true_ids, left, files)


def split_by_truth(images: Catalog) -> tuple[list[str], list[str]]:
    """List the images whose masks count beside pseudo-labels, and the rest of ``train_split``."""
    true_ids = images.labeled_ids() if images.labeled_split is not None else []
    known = set(true_ids)
    return true_ids, [image_id for image_id in images.train_ids() if image_id not in known]


def pseudo_label_files(images: Catalog, given: Sequence[str] | str) -> dict[str, str]:
    """Find pseudo-labels by image id; of several folders the first that has an image counts."""
    folders = label_folders(given)
    for directory in folders:
        read_manifest(directory, images.class_names)
    return label_files(folders, images.num_classes).masks


def make_images_with_masks(
    images: Catalog,
    options: TrainingOptions,
    true_ids: list[str],
    pseudo_ids: Sequence[str] = (),
    pseudo_files: Mapping[str, str] | None = None,
) -> MaskedImages:
    """Check images with true masks, and with pseudo-labels; make one training set of both."""
    ids = [*true_ids, *pseudo_ids]
    if not ids:
        raise ValueError(f"{type(images).__name__} has no training images with masks")
    novel = [images.class_names.index(name) for name in images.novel_classes]
    # Base classes are pasted over the pseudo-labels of novel ones.
    images.check_images(ids if novel else true_ids, masks=True)
    weak_shot = options.supervision == "weak_shot"
    tags = images.labels_of(ids, from_masks=weak_shot)
    pseudo = None
    if pseudo_ids:
        files, alone = dict(pseudo_files or {}), not true_ids
        pseudo = open_pseudo_labels(images, files, pseudo_ids, tags, alone=alone)
    repeat = options.repeat_labeled and true_ids and pseudo_ids
    times = -(-len(pseudo_ids) // len(true_ids)) if repeat else 1
    return MaskedImages(
        [*true_ids * times, *pseudo_ids],
        images.source,
        options.crops,
        tags=tags,
        num_fg_classes=images.num_fg_classes,
        first_fg=int(images.background),
        pseudo=pseudo,
        pseudo_ids=frozenset(pseudo_ids),
        strong=options.photometric,
        novel=novel,
        crop_tags=weak_shot and options.crop_tags,
        with_valid=weak_shot,
    )


def label_folders(pseudo_label_dir: Sequence[str] | str | None) -> list[Path]:
    """List the folders of pseudo-labels that an option names."""
    given = pseudo_label_dir or []
    return list(map(Path, [given] if isinstance(given, str) else given))


def label_files(folders: Sequence[Path], num_classes: int) -> ImageFiles:
    """Index the label maps of folders; of several the first that has an image counts."""
    files: dict[str, str] = {}
    for directory in folders:
        files = files_by_stem(directory, [".png"]) | files
    return ImageFiles({}, files, range(num_classes))


def open_pseudo_labels(
    images: Catalog, files: dict[str, str], ids: Sequence[str], tags: Labels, *, alone: bool = False
) -> ImageFiles:
    """Check and open the pseudo-labels of images; warn of classes that no label shows.

    ValueError if they show no novel class, or are ``alone`` (nothing else is labelled) and show
    nothing besides background.
    """
    images.check_images(ids, masks=False)
    labels = ImageFiles({}, files, range(images.num_classes))
    checks = Checks(True, images.check_masks, images.check_files)
    occurs = check_masks(labels, ids, images.source.image_size, checks)
    if occurs is not None:
        if alone and images.background and not occurs[1:IGNORE_INDEX].any():
            raise ValueError(
                f"the {len(ids)} pseudo-labels show background alone, first: {files[ids[0]]}; a "
                "network learns nothing from them. Train the network that wrote them for longer, "
                "or lower the thresholds (labels.bg_threshold, fg_conf or conf_thresh)"
            )
        known = [tags[i] for i in ids if i in tags]
        if known or (alone and not images.novel_classes):
            _check_vanished_classes(images, occurs, known)
    return labels


def _check_vanished_classes(
    images: Catalog, occurs: NDArray[np.bool_], tags: Sequence[NDArray[np.uint8]]
) -> None:
    """Name tagged classes without a pixel in any pseudo-label (without tags: all classes).

    ``occurs`` is (256,). ValueError if all novel classes are among them.
    """
    # Where nothing is tagged, any class may be meant.
    counts: list[int] = np.stack(tags).sum(0).tolist() if tags else [-1] * images.num_fg_classes
    shown = occurs[int(images.background) :]
    vanished = {
        name: repr(name) + (f" ({count} tagged images)" if count > 0 else "")
        for name, count, is_shown in zip(images.fg_names, counts, shown, strict=False)
        if count and not is_shown and name in (images.novel_classes or images.fg_names)
    }
    if vanished and len(vanished) == len(images.novel_classes):
        raise ValueError(
            f"no pseudo-label has a pixel of a novel class: {', '.join(vanished.values())}; "
            "nothing can be learnt of them. Train the network that wrote the labels for longer, or "
            "make labels from activation maps (CAM)"
        )
    common = common_shares(dict(zip(images.fg_names, counts, strict=True)), len(tags))
    remedies = {False: _LOWER_THRESHOLDS, True: COMMON_REMEDY}
    for is_common, remedy in remedies.items():
        named = [text for name, text in vanished.items() if (name in common) is is_common]
        if named:
            logger.warning(
                "no pseudo-label has a pixel of %s, so the network cannot learn this; %s",
                ", ".join(named),
                remedy,
            )
