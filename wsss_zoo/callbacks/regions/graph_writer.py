"""Region graphs of images and their given labels, built during ``predict``."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from wsss_zoo.callbacks.regions.detection_quality import (
    describe_detection,
    publish_detection,
    report_of_counts,
)
from wsss_zoo.callbacks.regions.loss_thresholds import read_thresholds
from wsss_zoo.callbacks.regions.network_outputs import Features
from wsss_zoo.callbacks.regions.region_inputs import RegionWriter, SeenImage
from wsss_zoo.callbacks.writers.run_identity import manifest_of
from wsss_zoo.contract import DataModule
from wsss_zoo.files.atomic import write_json
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.files.manifests import MANIFEST, Manifest
from wsss_zoo.files.pseudo_labels import QUALITY
from wsss_zoo.files.region_graphs import (
    RegionGraph,
    begin_graphs,
    finish_graphs,
    has_graph,
    read_graph,
    write_graph,
)
from wsss_zoo.functional import (
    clean_pixels,
    kept_edges,
    label_loss,
    pool_regions,
    region_adjacency,
    superpixel_backend,
    superpixels,
    vote_counts,
)

Backend = Literal["auto", "fast_slic", "skimage"]


class GraphWriter(RegionWriter):
    """Builds a graph of regions of each predicted image, for `GATCorrector`.

    The nodes are superpixels, with the mean features of the network that predicts; edges lead to
    regions with a common border. A pixel's given label is clean if its loss, ``-log p`` of its
    class among background and tagged classes, is at most a threshold. All comes from the one pass
    of the prediction. A graph is on the disk before the image's label map is, and the manifest
    comes last: a prediction that was killed and is started again makes what is missing.

    Where the data module reads masks, ``graphs/quality.json``, the loggers and a table say how well
    noise was found, over all pixels: ``graphs/precision``, ``graphs/coverage``, ``graphs/recall``
    and the same by class. The masks serve to measure only.

    Args:
        pseudo_label_dir: Folder of the labels to correct, ``<image_id>.png`` of every predicted
            image; None turns the callback off.
        threshold: Loss up to which a label is clean: a number, or a ``threshold.json`` of
            `NoiseDetector`, whose thresholds by class are used if it was asked for them.
        num_segments: Number of superpixels to ask for.
        backend: Library that makes them; "auto" takes fast_slic where it can be imported.
        features: Where the nodes' features come from: the network's decoder or the last level of
            its backbone.
        out_dir: Folder to write; None for ``graphs`` in the trainer's ``default_root_dir``.

    Raises:
        ValueError: If a number is out of range, labels or thresholds are for other classes, the
            method is not a segmenter that is run in one view, or the folder is another run's.
        FileNotFoundError: If a folder, a label map or the threshold's file is missing.
        ImportError: If the library of the superpixels is.

    Yi et al., "Learning from Pixel-Level Label Noise", arXiv 2103.14242; no code is known.
    """

    group: ClassVar[str] = "graphs"

    def __init__(
        self,
        pseudo_label_dir: str | None = None,
        threshold: float | str | None = None,
        num_segments: int = 1000,
        backend: Backend = "auto",
        features: Features = "decoder",
        out_dir: str | None = None,
    ) -> None:
        super().__init__(pseudo_label_dir)
        if num_segments < 1:
            raise ValueError(f"graphs.num_segments is {num_segments}; give at least 1")
        self.threshold = threshold
        self.num_segments = num_segments
        self.backend: Backend = backend
        self.features = features
        self.out_dir = out_dir
        self._directory = Path()
        self._thresholds = torch.empty(0)
        self._backend_used = ""
        self._manifest: Manifest | None = None

    def _check_inputs(self, trainer: Trainer, data: DataModule) -> None:
        self._thresholds = read_thresholds(self.threshold, data.class_names)
        self._backend_used = superpixel_backend(self.backend)
        self._directory = Path(self.out_dir or Path(trainer.default_root_dir) / "graphs")

    def _begin_folder(
        self, trainer: Trainer, module: LightningModule, data: DataModule
    ) -> set[str]:
        assert self._labels is not None
        thresholds = [value if np.isfinite(value) else None for value in self._thresholds.tolist()]
        options = {
            "labels": self._labels.identity,
            "thresholds": dict(zip(data.class_names, thresholds, strict=True)),
            "superpixels": self._backend_used,
            "num_segments": self.num_segments,
            "features": self.features,
        }
        self._manifest = manifest_of(trainer, module, data, options)
        image_ids = data.predict_ids()
        done = begin_graphs(self._directory, self._manifest, image_ids)
        if done:
            counted = f"{len(done)} of {len(image_ids)} graphs are there"
            rank_zero_info(f"{self._directory}: {counted}, {len(image_ids) - len(done)} left")
        return done

    def _process_image(self, seen: SeenImage, *, write: bool) -> None:
        segments = superpixels(seen.image, self.num_segments, self.backend)
        graph = build_graph(seen, torch.from_numpy(segments), self._thresholds)
        if write:
            write_graph(self._directory, seen.image_id, graph)

    def _finish_folder(self, trainer: Trainer, data: DataModule) -> None:
        trainer.strategy.barrier("graphs written")
        directory, image_ids = self._directory, data.predict_ids()
        missing, report = 0, None
        if trainer.is_global_zero:
            missing = sum(not has_graph(directory, image_id) for image_id in image_ids)
            if (directory / MANIFEST).exists() and (directory / QUALITY).exists():
                report = json.loads((directory / QUALITY).read_text(encoding="utf-8"))
        missing, report = trainer.strategy.broadcast((missing, report))
        if missing:
            rank_zero_info(
                f"{directory}: {missing} of {len(image_ids)} graphs are missing "
                "(limit_predict_batches); not finished"
            )
            return
        measured = report is not None
        if not measured:
            report = self._measure(trainer, data)
        if trainer.is_global_zero:
            if report is not None:
                if not measured:
                    write_json(directory / QUALITY, report)
                title = f"{directory}: labels taken for clean, against masks not used for them"
                publish_detection(trainer, title, report)
            if not (directory / MANIFEST).exists():
                assert self._manifest is not None
                finish_graphs(directory, self._manifest, image_ids)
        trainer.strategy.barrier("graphs finished")

    def _measure(self, trainer: Trainer, data: DataModule) -> dict[str, Any] | None:
        """Each rank counts its share of the files; None where no image has a mask."""
        counts = torch.zeros(len(data.class_names), 4, dtype=torch.int64)
        images = 0
        for image_id in data.predict_ids()[trainer.global_rank :: trainer.world_size]:
            mask = data.read_mask(image_id)
            if mask is not None:
                graph = read_graph(self._directory, image_id)
                counts += count_detection(graph.label, graph.clean, mask, len(counts))
                images += 1
        vector = torch.cat([torch.tensor([images]), counts.flatten()])
        vector = vector.to(trainer.strategy.root_device)
        total = torch.as_tensor(trainer.strategy.reduce(vector, reduce_op="sum")).cpu()
        if not total[0]:
            return None
        report = report_of_counts(total[1:].view_as(counts))
        described = describe_detection(report, data.class_names, self.group)
        return described | {"images": int(total[0]), "class_names": list(data.class_names)}


def build_graph(seen: SeenImage, segments: Tensor, thresholds: Tensor) -> RegionGraph:
    """Graph of an image's regions.

    Args:
        seen: The image, its label map and what the network made of it.
        segments: Region of each pixel, 0..V-1, (H, W) int64.
        thresholds: Loss up to which a label of each class is clean, (C,).
    """
    C, label = seen.logits.shape[1], seen.label[0]
    probs = seen.logits.softmax(1)[0]
    loss = label_loss(seen.logits, seen.label)[0]
    clean = clean_pixels(loss, label, thresholds)
    counts = vote_counts(label, segments, C)
    clean_counts = vote_counts(label.masked_fill(~clean, IGNORE_INDEX), segments, C)
    x = pool_padded(seen.features, segments, seen.stride)
    edge_index = region_adjacency(segments)
    labeled = label != IGNORE_INDEX
    total = torch.bincount(segments[labeled], loss[labeled].double(), minlength=len(x))
    number = counts.sum(1)
    mean_loss = (total / number.clamp(min=1)).masked_fill(number == 0, torch.inf)
    # On a CPU argmax takes five times as long as max, which finds the same class.
    return RegionGraph(
        segments=segments.numpy().astype(np.int32),
        x=x.numpy(),
        probs=pool_regions(probs, segments).numpy(),
        edge_index=edge_index.numpy(),
        kept=kept_edges(x, edge_index).numpy(),
        counts=counts.numpy().astype(np.int32),
        clean_counts=clean_counts.numpy().astype(np.int32),
        loss=mean_loss.float().numpy(),
        label=label.numpy().astype(np.uint8),
        clean=clean.numpy(),
        prediction=probs.max(0).indices.numpy().astype(np.uint8),
    )


def pool_padded(features: Tensor, segments: Tensor, stride: int) -> Tensor:
    """Mean features of regions, where the map covers the image and its padding.

    Args:
        features: Feature map of the padded image, (D, h, w).
        segments: Region of each pixel of the image itself, (H, W).
        stride: The image is padded on its right and lower side up to a multiple of so many pixels.

    Returns:
        (V, D) float32.
    """
    height, width = segments.shape
    below, right = -height % stride, -width % stride
    if not below and not right:
        return pool_regions(features, segments)
    # The padding is a region of its own, the last one.
    padded = F.pad(segments, (0, right, 0, below), value=int(segments.max()) + 1)
    return pool_regions(features, padded)[:-1]


def count_detection(
    label: NDArray[np.uint8], clean: NDArray[np.bool_], mask: NDArray[np.uint8], num_classes: int
) -> Tensor:
    """Labelled pixels of each class, and how many are clean, correct, and both, (C, 4) int64.

    Args:
        label: Given class per pixel, 255 = ignored, (H, W).
        clean: Pixels taken for clean, (H, W).
        mask: True class per pixel, 255 = unknown, (H, W).
        num_classes: C.
    """
    known = (label != IGNORE_INDEX) & (mask != IGNORE_INDEX)
    is_correct = label == mask
    chosen = (known, known & clean, known & is_correct, known & clean & is_correct)
    counts = [np.bincount(label[pixels], minlength=num_classes) for pixels in chosen]
    return torch.from_numpy(np.stack(counts, 1))
