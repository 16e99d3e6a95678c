"""Predictions of single images beside those of the loader."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer
from torch import Tensor

from wsss_zoo.contract import DataModule
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.functional import mask_to_image_labels


def predict_view(
    trainer: Trainer,
    image: UInt8Array,
    tags: Tensor | None,
    image_id: str,
    known: Mapping[str, Tensor] = MappingProxyType({}),
) -> Any:
    """Run the predict step on an image (H, W, 3) while a prediction goes on.

    ``tags``, (K,), and ``known``, each (C, H, W), are what the loader would give with it.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    batch: Any = {"image": pixels.float() / 255, "image_id": [image_id]}
    if tags is not None:
        batch["image_labels"] = tags[None]
    batch |= {name: value[None] for name, value in known.items()}
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.strategy.batch_to_device(batch)
    return trainer.strategy.predict_step(batch, 0)


def known_in_view(data: Any, image_id: str, image: UInt8Array) -> dict[str, Tensor]:
    """What labels say of a resized image (H, W, 3), each (C, H, W); {} where they do not gate."""
    if not getattr(data, "gates_predictions", False):
        return {}
    known = data.label_gate.read(image_id, data.source.image_size(image_id))
    size = image.shape[:2]
    return {
        name: F.interpolate(value[None].float(), size, mode="nearest-exact")[0] > 0
        for name, value in known.items()
    }


def masks_in_predictions(data: Any) -> frozenset[str]:
    """Ids of the images whose masks the predictions keep to; none where no labels gate them."""
    if not getattr(data, "gates_predictions", False):
        return frozenset()
    masked: frozenset[str] = data.label_gate.labels.masked
    return masked


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
