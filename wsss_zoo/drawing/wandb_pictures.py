"""Label maps as masks over their images, which wandb's page shows and hides by class."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from wsss_zoo.drawing.pictures import SheetRow, scaled
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array

# Longest side in pixels of what is sent; a page of full street scenes would not open.
_LONGEST = 640


def log_masks(
    logger: WandbLogger, key: str, rows: Sequence[SheetRow], class_names: Sequence[str], step: int
) -> None:
    """Log images with truth and prediction as masks, the image's id below.

    Rows without a predicted label map, those of classifiers, are left out; 255 is "ignored".
    """
    labels = dict(enumerate(class_names)) | {IGNORE_INDEX: "ignored"}
    shown = [row for row in rows if row.preds is not None]
    if shown:
        logger.log_image(
            key=key,
            images=[_shrunk(row.image) for row in shown],
            step=step,
            caption=[row.image_id for row in shown],
            masks=[_masks(row, labels) for row in shown],
        )


def _masks(row: SheetRow, labels: Mapping[int, str]) -> dict[str, Any]:
    maps = {"truth": row.truth, "prediction": row.preds}
    return {
        name: {"mask_data": _shrunk(label, is_label=True), "class_labels": labels}
        for name, label in maps.items()
        if label is not None
    }


def _shrunk(pixels: UInt8Array, *, is_label: bool = False) -> UInt8Array:
    return scaled(pixels, min(1.0, _LONGEST / max(pixels.shape[:2])), is_label=is_label)
