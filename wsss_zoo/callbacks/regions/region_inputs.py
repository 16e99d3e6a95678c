"""What NoiseDetector and GraphWriter share: images, given labels and the network's output."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from wsss_zoo.callbacks.outputs import from_batch
from wsss_zoo.callbacks.regions.given_labels import GivenLabels, open_labels
from wsss_zoo.callbacks.regions.network_outputs import (
    Features,
    NetworkOutputs,
    Pass,
    segmentation_networks,
)
from wsss_zoo.callbacks.writers.resumable_writer import ResumableWriter
from wsss_zoo.contract import DataModule, EvaluationBatch, data_of
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.functional import gate_by_tags


@dataclass(frozen=True)
class SeenImage:
    """An image, its label map and the network's output; tensors are on the CPU."""

    image_id: str
    image: UInt8Array  # RGB, (H, W, 3)
    logits: Tensor  # -inf for the classes that the tags rule out, (1, C, H, W) float32
    features: Tensor  # (D, h, w)
    stride: int  # see `Pass`
    label: Tensor  # given class per pixel, 255 = ignored, (1, H, W) int64
    mask: Tensor | None  # true class per pixel, 255 = unknown, (1, H, W) int64


class RegionWriter(ResumableWriter):
    """Processes each predicted image and its given label; off without ``pseudo_label_dir``."""

    #: Group of the callback's options on the command line.
    group: ClassVar[str]
    features: Features = "decoder"

    def __init__(self, pseudo_label_dir: str | None) -> None:
        super().__init__()
        self.pseudo_label_dir = pseudo_label_dir
        self._labels: GivenLabels | None = None
        self._outputs: NetworkOutputs | None = None

    @abstractmethod
    def _check_inputs(self, trainer: Trainer, data: DataModule) -> None:
        """Check the writer's own options and inputs, before the first image."""

    @abstractmethod
    def _process_image(self, seen: SeenImage, *, write: bool) -> None:
        """Process an image; without ``write`` only check it."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check method and labels, and have the data module leave out the images that are done."""
        self._labels = None
        if stage != "predict" or self.pseudo_label_dir is None:
            return
        data = data_of(trainer, type(self).__name__)
        _check_method(pl_module, self.group)
        option = f"{self.group}.pseudo_label_dir"
        labels = open_labels(self.pseudo_label_dir, data.class_names, data.predict_ids(), option)
        self._check_inputs(trainer, data)
        self._labels = labels
        if not getattr(trainer, "fast_dev_run", False):
            self._leave_out_done(trainer, pl_module, data)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register hooks on the network."""
        super().on_predict_start(trainer, pl_module)
        if self._labels is not None:
            self._outputs = NetworkOutputs(pl_module, self.features)

    def _process_batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: EvaluationBatch
    ) -> None:
        if self._labels is None or self._outputs is None:
            return
        seen = self._outputs.pop_pass()
        tags = from_batch(batch, "image_labels", "predict")
        for index, image_id in enumerate(batch["image_id"]):
            # Another callback may need an image that is done here.
            if image_id not in self._done:
                image = _seen_image(seen, batch, tags, index, self._labels)
                self._process_image(image, write=self._open)

    def _stop_resuming(self, trainer: Trainer) -> None:
        super()._stop_resuming(trainer)
        if self._outputs is not None:
            self._outputs.remove()
            self._outputs = None


def _check_method(module: LightningModule, group: str) -> None:
    method = type(module).__name__
    if getattr(module, "output", None) != "segmentation" or not segmentation_networks(module):
        raise ValueError(
            f"{group}.pseudo_label_dir asks what a network trained on masks says of labels, but "
            f"{method} has no network of a backbone and a decoder; predict with a segmenter, such "
            "as Supervised"
        )
    evaluation: Any = getattr(module, "evaluation", None)
    one_view = {"window": (None,), "scales": (None, (1.0,), [1.0]), "flip": (None, False)}
    for name, allowed in one_view.items():
        value = getattr(evaluation, name, None)
        if value not in allowed:
            raise ValueError(
                f"{group}.pseudo_label_dir takes one pass over the whole image, but "
                f"evaluation.{name} is {value}; leave it out"
            )


def _seen_image(
    seen: Pass, batch: EvaluationBatch, tags: Tensor, index: int, labels: GivenLabels
) -> SeenImage:
    image_id = batch["image_id"][index]
    own = slice(index, index + 1)
    pixels = (batch["image"][index].permute(1, 2, 0) * 255).round().to(torch.uint8)
    logits = gate_by_tags(seen.logits[own].float(), tags[own]).cpu()
    label = torch.from_numpy(labels.read(image_id, logits.shape[-2:])).long()[None]
    mask = batch["mask"][own].cpu() if "mask" in batch else None
    features = seen.features[index].cpu()
    return SeenImage(image_id, pixels.cpu().numpy(), logits, features, seen.stride, label, mask)
