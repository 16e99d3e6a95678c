"""A small segmenter with a backbone and a decoder, and folders of labels for it to look at."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.callbacks.fakes import NAMES, ToyData, ToyMethod, trainer_in
from wsss_zoo.callbacks import GraphWriter, NoiseDetector, PseudoLabelWriter
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label

STRIDE = 4


class RegionData(ToyData):
    """The toy images, large enough to have regions."""

    def read_image(self, image_id: str) -> np.ndarray:
        return super().read_image(image_id).repeat(3, axis=0).repeat(3, axis=1)


class ToyBackbone(nn.Module):
    strides = (2, STRIDE)

    def forward(self, image: Tensor) -> list[Tensor]:
        height, width = image.shape[-2:]
        image = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), value=0.5)
        return [F.avg_pool2d(image, stride) for stride in self.strides]


class ToyNetwork(nn.Module):
    """The brighter a colour, the more probable its class; features are colours of cells."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.backbone = ToyBackbone()
        self.decoder = nn.Conv2d(3, 5, 1)
        self.head = nn.Conv2d(5, len(NAMES), 1)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data.normal_(0, 0.1, generator=generator)
        for index in range(3):
            self.decoder.weight.data[index, index] += 1
            self.head.weight.data[index + 1, index] += 8
        self.head.bias.data[0] += 8 * 140 / 255

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        logits = self.head(self.decoder(self.backbone(image)[0]))
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        return logits[..., :height, :width]


class RegionMethod(ToyMethod):
    """Predicts with its network."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.network = ToyNetwork(seed)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def outputs(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        confidence, preds = self(batch["image"]).softmax(1).max(1)
        return {"preds": preds, "confidence": confidence}


def given_label(data: ToyData, image_id: str, noise: float = 0.3) -> np.ndarray:
    """The mask, parts of it replaced by tagged classes or background, some pixels ignored."""
    rng = np.random.default_rng(len(image_id) + sum(map(ord, image_id)))
    mask = type(data)(data.ids).read_mask(image_id)
    present = [0, *(data.image_labels_of(image_id).nonzero()[0] + 1)]
    label = np.where(mask == 255, 0, mask)
    label = np.where(rng.random(mask.shape) < noise, rng.choice(present, mask.shape), label)
    label[:, :2] = 255
    return label.astype(np.uint8)


def write_given(folder: Path, data: ToyData, **changes: Any) -> str:
    """A finished folder of given labels."""
    for image_id in data.ids:
        write_label(folder, image_id, given_label(data, image_id))
    values = {"method": "CAM", "class_names": NAMES, "count": len(data.ids), "config_hash": "x"}
    values |= {"checkpoint_hash": "y", "options": {}, "split": "train"}
    write_manifest(folder, Manifest(**(values | changes)))
    return str(folder)


def predict(
    folder: Path,
    data: ToyData,
    noise: dict[str, Any] | None = None,
    graphs: dict[str, Any] | None = None,
    method: ToyMethod | None = None,
    **trainer_options: Any,
) -> ToyMethod:
    """Predict with the callbacks in the order of the command line; returns the method."""
    callbacks = [NoiseDetector(**(noise or {})), GraphWriter(**(graphs or {})), PseudoLabelWriter()]
    method = method or RegionMethod()
    trainer = trainer_in(folder, *callbacks, **trainer_options)
    trainer.predict(method, datamodule=data, return_predictions=False)
    return method


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
