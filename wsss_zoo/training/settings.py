"""Crop, batch, steps and network that fit data, machine and patience."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from wsss_zoo.training.labels import Labels
from wsss_zoo.training.machine import Machine

Quality = Literal["draft", "normal", "best"]

_SMALL, _MIDDLE, _LARGE = "tf_efficientnet_lite0", "resnet50", "resnet101"
# Crop, steps and network by quality, without and with a GPU.
_ON_CPU: dict[Quality, tuple[int, int, str]] = {
    "draft": (160, 200, _SMALL),
    "normal": (224, 1000, _SMALL),
    "best": (320, 4000, _MIDDLE),
}
_ON_GPU: dict[Quality, tuple[int, int, str]] = {
    "draft": (256, 1000, _SMALL),
    "normal": (320, 4000, _MIDDLE),
    "best": (512, 20_000, _LARGE),
}
_BATCH, _CROP_UNIT, _LEAST_CROP = 8, 32, 64
_MOST_LOADERS = 8


@dataclass(frozen=True)
class Settings:
    """What is set in a recipe.

    Args:
        backbone: Name of the network's encoder.
        weights: "imagenet", a file, or None for random weights.
        crop_size: Side of the training crops, pixels.
        batch_size: Images in a batch of one process.
        accumulate: Batches in a step.
        steps: Steps of the longest training of the recipe.
        precision: Lightning's precision.
        devices: Number of processes, one for each GPU.
        gpu: Whether they run on GPUs.
        num_workers: Loader processes of each process.
    """

    backbone: str
    weights: str | None
    crop_size: int
    batch_size: int
    accumulate: int
    steps: int
    precision: str
    devices: int
    gpu: bool
    num_workers: int

    @property
    def trainer(self) -> dict[str, Any]:
        """Options of Lightning's Trainer."""
        options: dict[str, Any] = {
            "accelerator": "gpu" if self.gpu else "cpu",
            "devices": self.devices,
            "precision": self.precision,
        }
        return options | ({"strategy": "ddp"} if self.devices > 1 else {})

    def line(self) -> str:
        """Say what is set."""
        weights = {"imagenet": "ImageNet weights", None: "random weights"}
        batch = f"{self.batch_size} images"
        batch += f" on each of {self.devices} GPUs" if self.devices > 1 else ""
        batch += f", {self.accumulate} batches a step" if self.accumulate > 1 else ""
        return (
            f"{self.backbone} with {weights.get(self.weights, self.weights)}, crops of "
            f"{self.crop_size}, batches of {batch}, {self.steps} steps, precision {self.precision}"
        )


def fit_settings(
    labels: Labels,
    machine: Machine,
    quality: Quality,
    *,
    backbone: str | None = None,
    weights: str | None = "imagenet",
) -> Settings:
    """Choose settings for the data, the machine and the quality.

    A crop is no larger than the shorter side of half of the images. A step has 8 images, over all
    GPUs.

    Args:
        labels: What there is to learn from.
        machine: What it runs on.
        quality: How long it may take.
        backbone: The user's choice.
        weights: "imagenet", a file, or None for random weights.
    """
    crop, steps, network = (_ON_GPU if machine.gpus else _ON_CPU)[quality]
    fitting = labels.side // _CROP_UNIT * _CROP_UNIT
    devices = max(1, machine.gpus)
    return Settings(
        backbone or network,
        weights,
        crop_size=max(_LEAST_CROP, min(crop, fitting)),
        batch_size=max(2, _BATCH // devices),
        accumulate=1,
        steps=steps,
        precision="bf16-mixed" if machine.gpus or machine.has_bfloat16 else "32-true",
        devices=devices,
        gpu=bool(machine.gpus),
        num_workers=min(_MOST_LOADERS, max(1, (machine.cores - 1) // devices)),
    )


def smaller(settings: Settings) -> Settings | None:
    """Choose settings that need less memory for the same steps; None if there are none.

    First fewer images in a batch and more batches in a step, then smaller crops.
    """
    if settings.batch_size > 2:
        half = settings.batch_size // 2
        return replace(settings, batch_size=half, accumulate=settings.accumulate * 2)
    crop = smaller_crop(settings.crop_size)
    return replace(settings, crop_size=crop) if crop else None


def smaller_crop(crop: int) -> int | None:
    """Choose the next smaller side of crops, pixels; None if there is none.

    >>> smaller_crop(160), smaller_crop(64)
    (96, None)
    """
    less = crop * 3 // 4 // _CROP_UNIT * _CROP_UNIT
    return less if less >= _LEAST_CROP else None
