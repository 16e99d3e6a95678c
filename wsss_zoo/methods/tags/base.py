"""What the methods share that learn from tags where the tagged classes are."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.contract import EvaluationBatch
from wsss_zoo.methods.base import BaseMethod


class TagMethod(BaseMethod, ABC):
    """A classifier of tags, and maps of where each tagged class is.

    Args:
        num_classes: Number of classes with background, C = K + 1.
        scales: Factors by which the image is resized in prediction.

    Raises:
        ValueError: If there is no foreground class, or a scale is not above 0.
    """

    output = "classification"
    needs_background = True

    def __init__(self, num_classes: int, scales: tuple[float, ...], **shared: Any) -> None:
        super().__init__(**shared)
        if num_classes < 2:
            raise ValueError(
                f"num_classes is {num_classes}; {type(self).__name__} needs background and a class:"
                " give at least 2"
            )
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales is {list(scales)}; give at least one factor, all above 0")

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of an image (N, 3, H, W) in [0, 1] before the sigmoid: (N, K)."""

    @abstractmethod
    def localise(self, image: Tensor, image_labels: Tensor, image_id: str) -> tuple[Tensor, Tensor]:
        """Compute scores (K,) and maps (K, H, W) of an image (1, 3, H, W) with tags (K,)."""

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> dict[str, Tensor]:
        """Score the classes before the sigmoid, {"scores": (N, K)}."""
        return {"scores": self(batch["image"])}

    def predict_step(self, batch: EvaluationBatch, batch_idx: int) -> dict[str, Tensor]:
        """Compute {"scores": (N, K), "cam": (N, K, H, W) in [0, 1]}; 0 for absent classes."""
        if "image_labels" not in batch:
            raise ValueError(
                f"{type(self).__name__} shows where the tagged classes are; give the images to "
                "predict image_labels"
            )
        triples = zip(batch["image"], batch["image_labels"], batch["image_id"], strict=True)
        results = [self.localise(image[None], tags, name) for image, tags, name in triples]
        scores, cams = zip(*results, strict=True)
        return {"scores": torch.stack(scores), "cam": torch.stack(cams)}
