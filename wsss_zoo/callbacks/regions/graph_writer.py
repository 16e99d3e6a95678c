"""Region graphs of images and their given labels, built during ``predict``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.callbacks.regions.detection_quality import (
    MEASURES,
    count_detection,
    describe_detection,
)
from wsss_zoo.callbacks.regions.loss_thresholds import read_thresholds
from wsss_zoo.callbacks.regions.network_outputs import Features
from wsss_zoo.callbacks.regions.region_inputs import RegionWriter, SeenImage
from wsss_zoo.callbacks.writers.measured_writer import MeasuredWriter
from wsss_zoo.contract import DataModule
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.manifests import Manifest
from wsss_zoo.files.region_graphs import (
    GRAPHS,
    RegionGraph,
    begin_graphs,
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
from wsss_zoo.functional.regions.superpixels import SuperpixelBackend


class GraphWriter(RegionWriter, MeasuredWriter):
    """Builds a graph of regions of each predicted image, for `GATCorrector`.

    Nodes are superpixels with the mean features of the network that predicts; edges join regions
    with a common border. A pixel's given label is clean if its loss, ``-log p`` of its class among
    background and tagged classes, is at most a threshold. No second forward pass is needed. A graph
    is written before the image's label map, and the manifest last, so a killed prediction makes
    what is missing when started again.

    Where the data module reads masks, ``graphs/quality.json``, the loggers and a table say how well
    noise was found, over all pixels: ``graphs/precision``, ``graphs/coverage``, ``graphs/recall``
    and the same by class. The graphs do not depend on the masks.

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

    contents, group, columns = GRAPHS, "graphs", MEASURES
    title = "labels taken for clean, against masks not used for them"

    def __init__(
        self,
        pseudo_label_dir: str | None = None,
        threshold: float | str | None = None,
        num_segments: int = 1000,
        backend: SuperpixelBackend = "auto",
        features: Features = "decoder",
        out_dir: str | None = None,
    ) -> None:
        super().__init__(pseudo_label_dir)
        if num_segments < 1:
            raise ValueError(f"graphs.num_segments is {num_segments}; give at least 1")
        self.threshold, self.num_segments = threshold, num_segments
        self.backend, self.features, self.out_dir = backend, features, out_dir
        self._thresholds = torch.empty(0)
        self._backend_used = ""

    def _check_inputs(self, trainer: Trainer, data: DataModule) -> None:
        self._thresholds = read_thresholds(self.threshold, data.class_names)
        self._backend_used = superpixel_backend(self.backend)
        self._directory = Path(self.out_dir or Path(trainer.default_root_dir) / "graphs")

    def _options(self, module: LightningModule, data: DataModule) -> dict[str, Any]:
        assert self._labels is not None
        thresholds = [value if np.isfinite(value) else None for value in self._thresholds.tolist()]
        return {
            "labels": self._labels.identity,
            "thresholds": dict(zip(data.class_names, thresholds, strict=True)),
            "superpixels": self._backend_used,
            "num_segments": self.num_segments,
            "features": self.features,
        }

    def _claim(self, manifest: Manifest, image_ids: list[str]) -> set[str]:
        return begin_graphs(self._directory, manifest, image_ids)

    def _has_file(self, image_id: str) -> bool:
        return has_graph(self._directory, image_id)

    def _process_image(self, seen: SeenImage, *, write: bool) -> None:
        segments = superpixels(seen.image, self.num_segments, self.backend)
        graph = build_graph(seen, torch.from_numpy(segments), self._thresholds)
        if write:
            write_graph(self._directory, seen.image_id, graph)

    def _measure(self, trainer: Trainer, data: DataModule) -> dict[str, Any] | None:
        """Count this rank's share of the files; None where no image has a mask."""
        C = len(data.class_names)
        counts, images = torch.zeros(C, 4, dtype=torch.int64), 0
        for image_id in data.predict_ids()[trainer.global_rank :: trainer.world_size]:
            mask = data.read_mask(image_id)
            if mask is not None:
                counts += _count_graph(read_graph(self._directory, image_id), mask, C)
                images += 1
        total = sum_over_ranks(trainer, torch.cat([torch.tensor([images]), counts.flatten()]))
        if not total[0]:
            return None
        described = describe_detection(total[1:].view(C, 4), data.class_names, self.group)
        return described | {"images": int(total[0])}


def build_graph(seen: SeenImage, segments: Tensor, thresholds: Tensor) -> RegionGraph:
    """Build the graph of an image's regions, 0..V-1 in ``segments``, (H, W) int64.

    A label is clean up to the loss that is the threshold of its class, (C,).
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
    """Average a feature map (D, h, w) over regions of each pixel (H, W): (V, D) float32.

    The map covers the image padded right and below to a multiple of ``stride``.
    """
    height, width = segments.shape
    below, right = -height % stride, -width % stride
    if not below and not right:
        return pool_regions(features, segments)
    # The padding is a region of its own, the last one.
    padded = F.pad(segments, (0, right, 0, below), value=int(segments.max()) + 1)
    return pool_regions(features, padded)[:-1]


def _count_graph(graph: RegionGraph, mask: UInt8Array, num_classes: int) -> Tensor:
    """Count the pixels of a graph's image that have a label and a true class."""
    known = (graph.label != IGNORE_INDEX) & (mask != IGNORE_INDEX)
    label, clean = graph.label[known], graph.clean[known]
    return count_detection(
        torch.from_numpy(label).long(),
        torch.from_numpy(clean),
        torch.from_numpy(label == mask[known]),
        num_classes,
    )
