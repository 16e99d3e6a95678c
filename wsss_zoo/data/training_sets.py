"""From a data module's settings to the data set of its kind of supervision."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Dataset

from wsss_zoo.data.datasets import (
    EvaluationImages,
    ImagePairs,
    MaskedImages,
    PlainImages,
    TaggedImages,
)
from wsss_zoo.data.extra_images import add_extra_images
from wsss_zoo.data.image_files import ImageFiles, check_masks, files_by_stem
from wsss_zoo.data.partners import PairPartners, WeakShotPartners
from wsss_zoo.data.pseudo_labels import read_manifest
from wsss_zoo.data.unlabeled_images import UnlabeledImages
from wsss_zoo.data.views import Sample, Views
from wsss_zoo.data.weak_shot_images import WeakShotImages

if TYPE_CHECKING:
    from wsss_zoo.data.base import BaseDataModule

logger = logging.getLogger(__name__)


def make_training_set(data: "BaseDataModule") -> Dataset[Sample] | dict[str, Dataset[Sample]]:
    """Build and check the training set that ``data.supervision`` names.

    Raises:
        ValueError: If the settings do not fit together or a list is empty.
        FileNotFoundError: If a file is missing.
    """
    if data.supervision in ("image_labels", "pairs"):
        return _tagged(data)
    if data.extra_roots:
        raise ValueError(
            f"extra_roots {data.extra_roots} adds tagged images, which supervision "
            f"{data.supervision!r} cannot use; leave it out, or take a method that learns from "
            "'image_labels' or 'pairs'"
        )
    if data.supervision == "images":
        return _plain(data)
    if data.supervision == "semi":
        return _semi(data)
    if data.supervision == "weak_shot":
        return _weak_shot(data)
    if data.supervision == "graphs":
        return _graphs(data)
    return _masked(data)


def _views(data: "BaseDataModule") -> Views:
    red, green, blue = (round(255 * value) for value in data.pad_color)
    return Views(data.crop_size, data.augmentation, (red, green, blue), data.seed)


def _train_ids(data: "BaseDataModule") -> list[str]:
    ids = data.split_ids(data.train_split)
    if not ids:
        raise ValueError(f"train_split {data.train_split!r} has no images")
    return ids


def _plain(data: "BaseDataModule") -> PlainImages:
    ids = _train_ids(data)
    data.look_at(ids, masks=False)
    return PlainImages(ids, data.source, _views(data), data.photometric == "all")


def _tagged(data: "BaseDataModule") -> Dataset[Sample]:
    ids = data.tagged_ids()
    data.look_at(ids, masks=False)
    labels = data.complete_labels(ids)
    images = TaggedImages(ids, data.source, _views(data), data.photometric == "all", labels)
    if data.extra_roots:
        images = add_extra_images(images, data)
    if data.supervision == "image_labels":
        return images
    matrix = np.stack([images.labels[image_id] for image_id in images.ids])
    return ImagePairs(images, PairPartners(matrix, images.ids))


def _graphs(data: "BaseDataModule") -> Dataset[Sample]:
    # Here, as it takes seconds to import and only one kind of supervision needs it.
    from wsss_zoo.data.graph_images import RegionGraphs

    ids = _train_ids(data)
    return RegionGraphs(ids, data.open_graphs(ids), data.complete_labels(ids))


def with_graphs(images: EvaluationImages, directory: Path) -> Dataset[Sample]:
    """Whole images, each with its region graph from a folder."""
    from wsss_zoo.data.graph_images import GraphImages

    return GraphImages(images, directory)


def _masked(data: "BaseDataModule") -> MaskedImages:
    if data.pseudo_label_dir is None:
        return _masked_images(data, data.labeled_ids())
    # Pseudo-labels stand for all masks but those that are named.
    true_ids = data.labeled_ids() if data.labeled_split is not None else []
    known = set(true_ids)
    pseudo_ids = [image_id for image_id in _train_ids(data) if image_id not in known]
    return _masked_images(data, true_ids, pseudo_ids)


def _masked_images(
    data: "BaseDataModule", true_ids: list[str], pseudo_ids: list[str] | None = None
) -> MaskedImages:
    pseudo_ids, weak_shot = pseudo_ids or [], data.supervision == "weak_shot"
    ids = true_ids + pseudo_ids
    if not ids:
        raise ValueError(f"{type(data).__name__} has no training images with masks")
    novel = [data.class_names.index(name) for name in data.novel_classes]
    # Base classes are pasted over the pseudo-labels of novel ones.
    data.look_at(ids if novel else true_ids, masks=True)
    pseudo = _pseudo_labels(data, pseudo_ids) if pseudo_ids else None
    repeat = data.repeat_labeled and true_ids and pseudo_ids
    times = -(-len(pseudo_ids) // len(true_ids)) if repeat else 1
    return MaskedImages(
        true_ids * times + pseudo_ids,
        data.source,
        data.labels_of(ids, from_masks=False),
        _views(data),
        num_fg_classes=data.num_fg_classes,
        first_fg=int(data.background),
        pseudo=pseudo,
        pseudo_ids=frozenset(pseudo_ids),
        strong=data.photometric,
        novel=novel,
        crop_tags=weak_shot and data.crop_tags,
        with_valid=weak_shot,
    )


def _pseudo_labels(data: "BaseDataModule", ids: list[str]) -> ImageFiles:
    given = data.pseudo_label_dir or []
    files: dict[str, str] = {}
    for directory in map(Path, [given] if isinstance(given, str) else given):
        read_manifest(directory, data.class_names)
        files = files_by_stem(directory, [".png"]) | files
    data.look_at(ids, masks=False)
    labels = ImageFiles({}, files, range(data.num_classes))
    options = {"mask_values": data.check_masks, "open_files": data.check_files}
    check_masks(labels, ids, data.source.image_size, **options)
    return labels


def _semi(data: "BaseDataModule") -> dict[str, Dataset[Sample]]:
    labeled = data.labeled_ids()
    known = set(labeled)
    if data.unlabeled_split is None:
        unlabeled = [image_id for image_id in _train_ids(data) if image_id not in known]
    else:
        unlabeled = data.split_ids(data.unlabeled_split)
        both = sum(image_id in known for image_id in unlabeled)
        if both:
            logger.warning("%d unlabelled images are labelled too; they are kept in both", both)
    if not unlabeled:
        raise ValueError(
            f"no unlabelled images: all of train_split {data.train_split!r} is labelled; give "
            "labeled_split (a list file, a split's name or a fraction) or unlabeled_split"
        )
    data.look_at(unlabeled, masks=data.audit)
    unlabeled_set = UnlabeledImages(
        unlabeled,
        data.source,
        data.labels_of(unlabeled, from_masks=False),
        _views(data),
        num_fg_classes=data.num_fg_classes,
        strong_views=data.strong_views,
        audit=data.audit,
    )
    return {"labeled": _masked_images(data, labeled), "unlabeled": unlabeled_set}


def _weak_shot(data: "BaseDataModule") -> Dataset[Sample]:
    if not data.novel_classes:
        raise ValueError(
            "supervision 'weak_shot' needs novel_classes, a list of class names (as in '[cow, "
            "sheep]') or the name of a published split"
        )
    if data.pseudo_label_dir is not None:
        raise ValueError(
            f"pseudo_label_dir is {data.pseudo_label_dir!r}, but supervision 'weak_shot' learns "
            "from true masks of base classes and from tags; leave it out, or train a method with "
            "supervision 'mask', as MaskFormer, on both"
        )
    images = _masked_images(data, data.labeled_ids())
    labels = data.labels_of(list(images.ids), from_masks=True)
    images.labels = labels
    is_novel = np.array([name in data.novel_classes for name in data.fg_names])
    matrix = np.stack([labels[image_id] for image_id in images.ids])
    for name in data.novel_classes:
        if not matrix[:, data.fg_names.index(name)].any():
            logger.warning("no training image is tagged with the novel class %r", name)
    return WeakShotImages(images, WeakShotPartners(matrix, is_novel))
