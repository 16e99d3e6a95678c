"""Label maps as masks over their images, the way wandb's page shows and hides them by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from wsss_zoo.drawing.pictures import SheetRow
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array

# Longest side in pixels of what is sent; a page of full street scenes would not open.
_LONGEST = 640
# Name of a mask in wandb, and the field of SheetRow.
_MASKS = {"truth": "truth", "prediction": "preds"}


def log_masks(
    logger: WandbLogger, key: str, rows: Sequence[SheetRow], class_names: Sequence[str], step: int
) -> None:
    """Log images with truth and prediction as masks, the image's id below.

    Rows without a predicted label map, those of classifiers, are left out.

    Args:
        logger: wandb's.
        key: Name of the panel.
        rows: Images, with their label maps.
        class_names: Names by class index; 255 is "ignored".
        step: The trainer's global step.
    """
    labels = dict(enumerate(class_names)) | {IGNORE_INDEX: "ignored"}
    shown = [(row, _masks(row, labels)) for row in rows if row.preds is not None]
    if shown:
        logger.log_image(
            key=key,
            images=[_smaller(row.image, Image.Resampling.BILINEAR) for row, _ in shown],
            step=step,
            caption=[row.image_id for row, _ in shown],
            masks=[masks for _, masks in shown],
        )


def _masks(row: SheetRow, labels: Mapping[int, str]) -> dict[str, Any]:
    maps = {name: getattr(row, field) for name, field in _MASKS.items()}
    return {
        name: {"mask_data": _smaller(label, Image.Resampling.NEAREST), "class_labels": labels}
        for name, label in maps.items()
        if label is not None
    }


def _smaller(pixels: UInt8Array, filter_: Image.Resampling) -> UInt8Array:
    height, width = pixels.shape[:2]
    scale = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, filter_))
