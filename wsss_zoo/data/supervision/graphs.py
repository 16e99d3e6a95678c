"""Supervision ``graphs``: region graphs, and whole images with their graphs.

Imports torch_geometric, which takes seconds: only supervision ``graphs`` imports this file.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from wsss_zoo.contract import GraphBatch, GraphEvaluationBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.evaluation import EvaluationImages
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import Labels, Position, Sample, index_and_visit
from wsss_zoo.files.region_graphs import RegionGraph, graph_path, open_graphs, read_graph

with warnings.catch_warnings():
    # It uses torch.jit.script, which torch has begun to call deprecated.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.data import Batch, Data


def collate_graphs(samples: Sequence[Sample]) -> dict[str, Any]:
    """Collate samples: graphs as one torch_geometric ``Batch``, the rest stacked.

    The batch concatenates regions and edges and shifts ``edge_index``; ``batch`` has the graph of
    each region, and ``tags`` is (graphs, K).
    """
    others = [{key: value for key, value in sample.items() if key != "graph"} for sample in samples]
    graphs = Batch.from_data_list([sample["graph"] for sample in samples])
    return {**default_collate(others), "graph": graphs}


@dataclass(eq=False)
class RegionGraphs(Dataset[GraphBatch]):
    """Region graphs of a folder with the tags of their images and the ids.

    ``graph_channels`` is the number of features of a region, D.
    """

    collate: ClassVar = staticmethod(collate_graphs)
    ids: Sequence[str]
    directory: Path
    tags: Labels
    graph_channels: int

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> GraphBatch:
        image_id = self.ids[index_and_visit(position)[0]]
        graph = read_graph(self.directory, image_id)
        tags = torch.from_numpy(self.tags[image_id]).float()
        return {"graph": graph_data(graph, tags), "image_id": image_id}


@dataclass(eq=False)
class GraphImages(Dataset[GraphEvaluationBatch]):
    """Whole images, as `EvaluationImages` gives them, with their tags and graphs."""

    collate: ClassVar = staticmethod(collate_graphs)
    images: EvaluationImages
    directory: Path

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Position) -> GraphEvaluationBatch:
        sample = self.images[position]
        image_id = str(sample["image_id"])
        graph = read_graph(self.directory, image_id)
        size = tuple(sample["image"].shape[1:])
        if graph.segments.shape != size:
            path = graph_path(self.directory, image_id)
            raise ValueError(
                f"{path} has regions of an image of {graph.segments.shape} pixels (height, width), "
                f"but image {image_id} has {size}; delete it and run the predict that wrote it "
                "again"
            )
        return {
            **sample,
            "segments": torch.from_numpy(graph.segments).long(),
            "label": torch.from_numpy(graph.label).long(),
            "clean": torch.from_numpy(graph.clean),
            "prediction": torch.from_numpy(graph.prediction).long(),
            "graph": graph_data(graph, sample["image_labels"]),
        }


def make_region_graphs(images: Catalog, options: TrainingOptions) -> RegionGraphs:
    """Check the graphs of ``train_split`` and make the training set of them."""
    ids = images.train_ids()
    first = open_graphs(options.graph_dir, images.class_names, ids)
    directory = Path(str(options.graph_dir))
    return RegionGraphs(ids, directory, images.complete_labels(ids), first.x.shape[1])


def graph_data(graph: RegionGraph, tags: Tensor) -> Data:
    """Convert what a network needs of a region graph to torch_geometric's ``Data``.

    ``x``, ``probs``, ``loss``, ``edge_index`` and ``kept`` as in `RegionGraph`; ``counts`` and
    ``clean_counts`` (V, C) and ``sizes``, the pixels of each region, (V,), int64; ``tags`` (1, K).
    """
    return Data(
        x=torch.from_numpy(graph.x),
        probs=torch.from_numpy(graph.probs),
        edge_index=torch.from_numpy(graph.edge_index),
        kept=torch.from_numpy(graph.kept),
        counts=torch.from_numpy(graph.counts).long(),
        clean_counts=torch.from_numpy(graph.clean_counts).long(),
        loss=torch.from_numpy(graph.loss),
        sizes=torch.from_numpy(np.bincount(graph.segments.ravel())),
        tags=tags[None],
    )
