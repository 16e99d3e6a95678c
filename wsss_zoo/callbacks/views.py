"""Predictions of single images beside those of the loader."""

from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from wsss_zoo.contract import DataModule
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.functional import mask_to_image_labels


def predict_view(trainer: Trainer, image: UInt8Array, tags: Tensor | None, image_id: str) -> Any:
    """Run the predict step on an image (H, W, 3) with its tags (K,), while a prediction goes on."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    batch: Any = {"image": pixels.float() / 255, "image_id": [image_id]}
    if tags is not None:
        batch["image_labels"] = tags[None]
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.strategy.batch_to_device(batch)
    return trainer.strategy.predict_step(batch, 0)


def tags_of(data: DataModule, image_id: str) -> Tensor | None:
    """Tags of an image, (K,) float, from the tag file or its mask, as the loader gives them."""
    tags = data.image_labels_of(image_id)
    if tags is not None:
        return torch.from_numpy(tags).float()
    mask = data.read_mask(image_id)
    if mask is None:
        return None
    shown = mask_to_image_labels(torch.from_numpy(mask).long()[None], len(data.class_names))
    return shown[0].float()
