"""Sparse labels: simulated, drawn, and a whole step of `Sparse` against a plain one."""

from time import process_time

import numpy as np
import pytest
import torch

from tests.benchmarks.step_ratio import step_ratio
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.shape_files import Shape
from wsss_zoo.data.reading.sparse_files import SparseFiles
from wsss_zoo.data.sets import shapes_scene
from wsss_zoo.functional import simulate_blocks, simulate_points, simulate_scribbles
from wsss_zoo.methods import Sparse, Supervised

BACKBONE, C, SIZE, N = "tf_efficientnet_lite0", 7, 160, 4
SIMULATIONS = {
    "scribbles": (simulate_scribbles, 50),
    "points": (simulate_points, 50),
    "blocks": (lambda mask, seed: simulate_blocks(mask, seed, 0.2), 5),
}


def milliseconds(call, rounds):
    start = process_time()
    for number in range(rounds):
        call(number)
    return 1000 * (process_time() - start) / rounds


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", SIMULATIONS)
def test_simulation_of_an_image(kind, measured):
    masks = [shapes_scene(0, number, 320).mask for number in range(12)]
    simulate, bound = SIMULATIONS[kind]
    simulate(masks[0], 0)
    measured("ms", milliseconds(lambda n: simulate(masks[n], n), 12), at_most=bound)


@pytest.mark.benchmark
def test_drawing_the_shapes_of_an_image(measured):
    rng = np.random.default_rng(0)
    shapes = []
    for number in range(8):
        walk = np.cumsum(rng.normal(0, 4, (20, 2)), 0) + rng.uniform(40, 200, 2)
        rings = (tuple(map(tuple, walk.tolist())),)
        shapes.append(Shape("stroke", "ab"[number % 2], rings, ""))
    shapes.append(Shape("point", "a", (((100.0, 100.0),),), ""))
    files = SparseFiles(ImageFiles({}, {}, []), {"i": shapes}, {"a": 0, "b": 1})
    measured("ms", milliseconds(lambda _: files.read("i", (240, 320)), 50), at_most=2)


@pytest.mark.benchmark
def test_a_step_with_teacher_against_a_plain_one(benchmark, measured):
    torch.manual_seed(0)
    method, plain = Sparse(C, BACKBONE), Supervised(C, BACKBONE)
    for each in (method, plain):
        each.train().log = each.log_dict = lambda *_, **__: None
    mask = torch.full((N, SIZE, SIZE), 255)
    mask[:, 40:44, 10:150] = 3
    batch = {
        "image": torch.rand(N, 3, SIZE, SIZE),
        "mask": mask,
        "valid": torch.ones(N, SIZE, SIZE, dtype=torch.bool),
        "possible": torch.ones(N, C, 1, 1, dtype=torch.bool),
        "strong": torch.rand(N, 1, 3, SIZE, SIZE),
        "strong_valid": torch.ones(N, 1, SIZE, SIZE, dtype=torch.bool),
        "image_id": list("abcd"),
    }
    full = {"image": batch["image"], "mask": mask.fmod(C)}
    ratio = step_ratio(
        benchmark, lambda: method.training_step(batch, 0), lambda: plain.training_step(full, 0)
    )
    cause = "the pass of the average takes 0.2 of a step, the sets of possible classes 0.02"
    measured("step / plain step", ratio, at_most=1.3, promised=1.25, cause=cause)
