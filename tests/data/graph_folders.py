"""Region graphs made by hand: a grid of rectangles with random features."""

from dataclasses import fields

import numpy as np

from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.region_graphs import RegionGraph, write_graph


def grid_graph(size=(12, 16), grid=(3, 4), channels=5, classes=7, seed=0) -> RegionGraph:
    """Graph of a grid of equal rectangles, random in all but its regions and edges."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.arange(n) * k // n for n, k in zip(size, grid, strict=True))
    segments = (rows[:, None] * grid[1] + columns).astype(np.int32)
    ids = np.arange(grid[0] * grid[1]).reshape(grid)
    down = np.stack([ids[:-1].ravel(), ids[1:].ravel()])
    right = np.stack([ids[:, :-1].ravel(), ids[:, 1:].ravel()])
    edges = np.concatenate([down, right, down[::-1], right[::-1]], 1).astype(np.int64)
    label = rng.choice([0, 1, classes - 1, 255], size).astype(np.uint8)
    clean = (rng.random(size) < 0.5) & (label != 255)
    regions = ids.size
    loss = rng.random(regions).astype(np.float32)
    loss[0] = np.inf
    return RegionGraph(
        segments=segments,
        x=rng.standard_normal((regions, channels)).astype(np.float32),
        probs=rng.dirichlet(np.ones(classes), regions).astype(np.float32),
        edge_index=edges,
        kept=rng.random(edges.shape[1]) < 0.8,
        counts=votes(label, segments, label != 255, classes),
        clean_counts=votes(label, segments, clean, classes),
        loss=loss,
        label=label,
        clean=clean,
        prediction=rng.integers(0, classes, size).astype(np.uint8),
    )


def votes(label, segments, counted, classes) -> np.ndarray:
    counts = np.zeros((segments.max() + 1, classes), dtype=np.int32)
    np.add.at(counts, (segments[counted], label[counted]), 1)
    return counts


def assert_same(first: RegionGraph, second: RegionGraph) -> None:
    for field in fields(RegionGraph):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert one.dtype == other.dtype, field.name
        np.testing.assert_array_equal(one, other, err_msg=field.name)


def manifest_for(class_names, count, **changes) -> Manifest:
    values = {
        "method": "Supervised",
        "class_names": list(class_names),
        "count": count,
        "config_hash": "c0",
        "checkpoint_hash": "w0",
        "options": {"superpixels": "scikit-image 0.26.0", "num_segments": 12, "threshold": 1.5},
        "split": "train",
    }
    return Manifest(**(values | changes))


def write_graphs(directory, image_ids, class_names, **shape) -> str:
    """A finished folder; every graph has another seed."""
    for seed, image_id in enumerate(image_ids):
        write_graph(directory, image_id, grid_graph(seed=seed, classes=len(class_names), **shape))
    write_manifest(directory, manifest_for(class_names, len(image_ids)))
    return str(directory)
