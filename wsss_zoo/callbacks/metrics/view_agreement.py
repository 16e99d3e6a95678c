"""Agreement of labels with those of a smaller view of the image: no mask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Trainer

from wsss_zoo.callbacks.metrics.label_estimate import sampled_ids
from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.callbacks.views import known_in_view, predict_view, tags_of
from wsss_zoo.contract import DataModule
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.pseudo_labels import read_label

SCALE = 0.75
# One image of 16, so that the second view costs little; more than 64 tell nothing new.
_SHARE, _LEAST, _MOST = 16, 8, 64
# Shares are added in whole billionths, so that ranks and resumes give the same sums.
_UNIT = 10**9


def view_agreement(
    trainer: Trainer,
    data: DataModule,
    directory: Path,
    label_of: Callable[[Any, UInt8Array, torch.Tensor | None], UInt8Array],
    needs_tags: bool = True,
) -> dict[str, float]:
    """Compare label maps with those of the images at 0.75 of their sides.

    One image of 16 is predicted again, at least 8 and at most 64, chosen by their ids. Each rank
    takes a share of them; all get the same result. Call it while the prediction goes on.

    Args:
        trainer: Predicts.
        data: Knows images and tags.
        directory: Folder of the label maps, complete.
        label_of: Label map, (H, W), of outputs of the predict step, the image (H, W, 3) and its
            tags (K,).
        needs_tags: Leave out images without tags or mask; else their tags are None.

    Returns:
        ``estimate/agreement``, the share of pixels with the same class, of those that have a label
        in both views, as mean over images; nothing if there are none.
    """
    ids = data.predict_ids()
    count = min(max(len(ids) // _SHARE, _LEAST), _MOST)
    total = torch.zeros(2, dtype=torch.int64)
    for image_id in sampled_ids(ids, count)[trainer.global_rank :: trainer.world_size]:
        tags = tags_of(data, image_id)
        if tags is None and needs_tags:
            continue
        label = read_label(directory, image_id)
        view = _smaller(data.read_image(image_id))
        known = known_in_view(data, image_id, view)
        other = label_of(predict_view(trainer, view, tags, image_id, known), view, tags)
        share = agreement(label, other)
        if share == share:
            total += torch.tensor([round(share * _UNIT), 1])
    shares, images = sum_over_ranks(trainer, total).tolist()
    return {"estimate/agreement": shares / (_UNIT * images)} if images else {}


def agreement(label: UInt8Array, other: UInt8Array) -> float:
    """Share of the pixels with a label in both maps that have the same one; NaN without any.

    Args:
        label: Class index per pixel, 255 = unknown, (H, W).
        other: The same of another view, (h, w): its pixel at the same place counts.
    """
    rows, columns = (
        (np.arange(side) * 2 + 1) * small // (2 * side)
        for side, small in zip(label.shape, other.shape, strict=True)
    )
    enlarged = other[rows[:, None], columns]
    both = (label != IGNORE_INDEX) & (enlarged != IGNORE_INDEX)
    return float((label == enlarged)[both].mean()) if both.any() else float("nan")


def _smaller(image: UInt8Array) -> UInt8Array:
    height, width = (max(1, round(side * SCALE)) for side in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
