"""One image's way from a photograph to its graph on the disk and back to a corrected label."""

import numpy as np
import torch
from skimage import data, transform

from wsss_zoo.callbacks.regions.graph_writer import build_graph
from wsss_zoo.callbacks.regions.region_inputs import SeenImage
from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.files.region_graphs import read_graph, write_graph
from wsss_zoo.functional import superpixels
from wsss_zoo.methods import GATCorrector

C, D, H, W, REGIONS, PRESENT = 21, 512, 375, 500, 1000, 3


def photo(name: str = "astronaut") -> np.ndarray:
    """A photograph that ships with scikit-image, (H, W, 3) uint8."""
    resized = transform.resize(getattr(data, name)(), (H, W), anti_aliasing=True)
    return (255 * resized).round().astype(np.uint8)


def seen_image():
    """What a network of stride 16 gave of a photograph with two tagged classes."""
    torch.manual_seed(0)
    logits = torch.full((1, C, H, W), -torch.inf)
    logits[:, :PRESENT] = torch.randn(1, PRESENT, H, W)
    label = torch.randint(PRESENT, (1, H, W))
    return SeenImage("a", photo(), logits, torch.randn(D, 24, 32), 16, label, None)


def photo_to_graph(seen, folder):
    segments = torch.from_numpy(superpixels(seen.image, REGIONS))
    write_graph(folder, "a", build_graph(seen, segments, torch.ones(C)))


def corrected(folder):
    graph = read_graph(folder, "a")
    tags = torch.zeros(C - 1)
    tags[: PRESENT - 1] = 1
    sample = {
        "graph": graph_data(graph, tags),
        "image_id": "a",
        "image": torch.from_numpy(photo()).permute(2, 0, 1).float() / 255,
        "image_labels": tags,
        "segments": torch.from_numpy(graph.segments).long(),
        "label": torch.from_numpy(graph.label).long(),
        "clean": torch.from_numpy(graph.clean),
        "prediction": torch.from_numpy(graph.prediction).long(),
    }
    method = GATCorrector(C, in_channels=D, crf=True).eval()
    with torch.inference_mode():
        return method.predict_step(collate_graphs([sample]), 0)
