"""Pixel-adaptive refinement against 48 copies of image and maps, and against the CRF."""

from time import process_time

import numpy as np
import pytest
import torch

from tests.benchmarks.memory import KNOWN, PeakMemory
from tests.benchmarks.test_crf_benchmark import photo, soft_segmentation
from tests.functional.crf.test_pixel_adaptive import naive
from wsss_zoo.functional import dense_crf, pixel_adaptive_refinement

ROUNDS = 3


@pytest.mark.benchmark
def test_time_and_memory(measured):
    """One thread, 500 x 375 pixels, four classes, ten iterations."""
    image = photo("coffee")
    probs = soft_segmentation(image)
    tensors = torch.from_numpy(image).permute(2, 0, 1)[None] / 255, torch.from_numpy(probs)[None]
    ways = {
        "PAR": lambda: pixel_adaptive_refinement(*tensors),
        "48 copies": lambda: naive(*tensors),
        "CRF": lambda: dense_crf(probs, image),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    megabytes = {}
    for _ in range(ROUNDS):  # in turns, so that other load slows all
        for name, way in ways.items():
            memory = PeakMemory() if KNOWN else None
            start = process_time()
            way()
            seconds[name].append(process_time() - start)
            megabytes[name] = memory.megabytes() if memory is not None else 0.0
    times = {name: float(np.median(values)) for name, values in seconds.items()}
    assert torch.allclose(ways["PAR"](), ways["48 copies"](), atol=1e-5)
    measured("seconds of PAR", times["PAR"])
    measured("48 copies / PAR", times["48 copies"] / times["PAR"], at_least=5)
    measured("PAR / CRF", times["PAR"] / times["CRF"])
    if KNOWN:
        measured("memory, PAR / 48 copies", megabytes["PAR"] / megabytes["48 copies"], at_most=0.5)
