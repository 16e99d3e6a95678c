"""Which images of a run's data set have no label of a kind yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss_zoo.data import BaseDataModule, Folder
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.labeling.opened_run import OpenedRun

LabelKind = Literal["masks", "tags", "scribbles"]


@dataclass(frozen=True)
class Pool:
    """Images of a run that are no held-out ones.

    Args:
        kind: Kind of label.
        candidates: Images without such a label.
        labeled: Images with one.
        class_counts: Labelled images by foreground class, (K,).
    """

    kind: LabelKind
    candidates: list[str]
    labeled: list[str]
    class_counts: Sequence[int]


def find_pool(opened: OpenedRun, kind: LabelKind) -> Pool:
    """Divide the training images of a run into labelled ones and candidates.

    Of a `Folder` all images count that are not held out. A mask counts as tags and as scribbles,
    too. With ``labeled_split`` the masks of other images count as unknown.

    Raises:
        ValueError: If no image is left to label.
    """
    data = opened.data
    ids = _training_ids(data)
    masked = _masked(data, ids)
    done = set(masked)
    if kind == "tags" and not data.tags_show_masks:
        done |= data.read_tags(ids).keys()
    if kind == "scribbles":
        done |= {image_id for image_id in ids if image_id in data.sparse_labels}
    candidates = [image_id for image_id in ids if image_id not in done]
    if not candidates:
        raise ValueError(
            f"all {len(ids)} training images have {kind}: there is none to label next; add images, "
            "or look for wrong labels with 'wsss-zoo audit'"
        )
    labeled = [image_id for image_id in ids if image_id in done]
    counts = np.zeros(data.num_fg_classes, dtype=np.int64)
    for tags in data.labels_of(labeled, from_masks=True).values() if labeled else ():
        counts += tags > 0
    return Pool(kind, candidates, labeled, counts.tolist())


def _training_ids(data: BaseDataModule) -> list[str]:
    if isinstance(data, Folder):
        ids = data.ids_of("all")
    else:
        splits = [data.train_split, data.unlabeled_split]
        ids = list(dict.fromkeys(i for split in splits if split for i in data.ids_of(split)))
    held_out = {i for split in data.held_out_splits() for i in data.ids_of(split)}
    return [image_id for image_id in ids if image_id not in held_out]


def _masked(data: BaseDataModule, ids: Sequence[str]) -> list[str]:
    if data.labeled_split is not None:
        known = set(data.labeled_ids())
        return [image_id for image_id in ids if image_id in known]
    if isinstance(data, Folder):
        return [image_id for image_id in ids if image_id in data.files.masks]
    if data.pseudo_label_dir is not None:
        return []
    if isinstance(data.source, ImageFiles):
        return [image_id for image_id in ids if image_id in data.source.masks]
    return list(ids)
