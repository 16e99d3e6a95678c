"""Pictures of square regions with noisy labels, and what GATCorrector makes of them."""

import numpy as np
import torch

from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.files.region_graphs import RegionGraph
from wsss_zoo.functional import region_adjacency, vote_counts
from wsss_zoo.methods import GATCorrector

CLASSES, CHANNELS, SIZE, CELL = 4, 6, 24, 4


def sample(image_id="a", tags=(1, 2), dtype=np.float32, **changes):
    """A picture of square regions whose features tell their class; half of the label is wrong."""
    rng = np.random.default_rng(len(image_id))
    side = SIZE // CELL
    segments = np.arange(side**2).reshape(side, side).repeat(CELL, 0).repeat(CELL, 1)
    truth = np.zeros(side**2, np.int64)
    for label, rows in zip(tags, (slice(6, 14), slice(20, 30)), strict=False):
        truth[rows] = label
    regions = len(truth)
    label = truth[segments].astype(np.uint8)
    clean = rng.random(regions)[segments] < 0.5
    label[~clean] = rng.choice([0, *tags], (~clean).sum())
    label[0, :2], clean[0, :2] = 255, False
    x = np.eye(CHANNELS)[truth] * 3 + rng.normal(size=(regions, CHANNELS)) / 2
    edges = region_adjacency(torch.from_numpy(segments)).numpy()
    probs = rng.dirichlet(np.ones(CLASSES), regions) * np.isin(np.arange(CLASSES), [0, *tags])
    probs /= probs.sum(1, keepdims=True)
    arrays = {
        "segments": segments.astype(np.int32),
        "x": (x + 40).astype(dtype),
        "probs": probs.astype(np.float32),
        "edge_index": edges,
        "kept": np.abs(truth[edges[0]] - truth[edges[1]]) < 2,
        "loss": rng.random(regions).astype(np.float32),
        "label": label,
        "clean": clean,
        "prediction": probs.argmax(1)[segments].astype(np.uint8),
    } | changes
    counted = arrays["label"].astype(np.int64)
    seen = np.where(arrays["clean"], counted, 255)
    for name, values in (("counts", counted), ("clean_counts", seen)):
        maps = torch.from_numpy(values), torch.from_numpy(arrays["segments"]).long()
        arrays[name] = vote_counts(*maps, CLASSES).numpy().astype(np.int32)
    image_labels = torch.zeros(CLASSES - 1)
    image_labels[[tag - 1 for tag in tags]] = 1
    graph = RegionGraph(**arrays)
    return {
        "graph": graph_data(graph, image_labels),
        "image_id": image_id,
        "image": torch.from_numpy(rng.random((3, *label.shape))).float(),
        "image_labels": image_labels,
        "segments": torch.from_numpy(graph.segments).long(),
        "label": torch.from_numpy(graph.label).long(),
        "clean": torch.from_numpy(graph.clean),
        "prediction": torch.from_numpy(graph.prediction).long(),
        "truth": torch.from_numpy(truth[segments]),
    }


def corrector(**options):
    torch.manual_seed(0)
    result = GATCorrector(CLASSES, **({"in_channels": CHANNELS} | options))
    result.logged = {}
    result.log_dict = lambda values, **_: result.logged.update(values)
    return result


def predicted(method, *samples):
    """As Lightning predicts: without autograd, one image at a time."""
    method.eval()
    with torch.inference_mode():
        outputs = [method.predict_step(collate_graphs([one]), 0) for one in samples]
    for output, one in zip(outputs, samples, strict=True):
        assert output["preds"].shape == output["confidence"].shape == (1, *one["label"].shape)
        assert output["preds"].dtype == torch.int64
        assert output["confidence"].dtype == torch.float32
        assert ((output["confidence"] > 0) & (output["confidence"] <= 1)).all()
        shown = [0, *(one["image_labels"].nonzero().flatten() + 1).tolist()]
        assert torch.isin(output["preds"], torch.tensor(shown)).all()
    return outputs


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def accuracy(output, one):
    return (output["preds"][0] == one["truth"]).float().mean().item()


def nothing_clean(one, **changes):
    return sample(one, clean=np.zeros((SIZE, SIZE), bool), **changes)
