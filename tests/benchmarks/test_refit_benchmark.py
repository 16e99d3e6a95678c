"""Refitting the class layer to an image's scribbles against the network's pass of its two views."""

from time import process_time

import pytest
import torch

from wsss_zoo.data.sets import shapes_scene
from wsss_zoo.functional import simulate_scribbles
from wsss_zoo.modules import Segmenter
from wsss_zoo.modules.label_fit import LabelFit

BACKBONE, SIZE, ROUNDS = "tf_efficientnet_lite0", 320, 8


@pytest.mark.benchmark
@pytest.mark.parametrize("scale", [1, 2])
def test_share_of_a_pass(scale, measured):
    """The image and its mirror, 1,300 labelled pixels of two classes."""
    torch.manual_seed(0)
    labels = torch.from_numpy(simulate_scribbles(shapes_scene(0, 1, SIZE).mask, 0)).long()
    classes = int(labels[labels != 255].max()) + 1
    possible = torch.stack([(labels == k) | (labels == 255) for k in range(classes)])[None]
    network = Segmenter(classes, BACKBONE).eval()
    ways = {"plain": network, "refit": LabelFit(network, possible)}
    views = torch.rand(2, 3, scale * SIZE, scale * SIZE)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(ROUNDS):  # in turns, so that other load slows both
            for name, way in ways.items():
                start = process_time()
                way(views)
                seconds[name].append(process_time() - start)
    measured("refit / pass", min(seconds["refit"]) / min(seconds["plain"]), at_most=1.4)
