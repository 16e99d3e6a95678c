"""A training step of CPC against its bare passes: patches, context, linear maps and back."""

from time import process_time

import numpy as np
import pytest
import torch

from wsss_zoo.functional import image_patches
from wsss_zoo.methods import CPC

BACKBONE, CROP, BATCH, ROUNDS = "tf_efficientnet_lite0", 160, 4, 12


@pytest.mark.benchmark
def test_step_takes_at_most_a_tenth_more_than_its_passes(benchmark, measured):
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    method = CPC(BACKBONE).to(memory_format=torch.channels_last)
    method.log_dict = lambda values: None
    batch = {"image": torch.rand(BATCH, 3, CROP, CROP)}
    with torch.no_grad():
        patches = image_patches(batch["image"], 32, 16)
        prepared = method.backbone.prepare(patches.flatten(0, 2))
    # Processor time of the one thread, and the two take turns: other load then hardly counts.
    seconds = {"step": [], "passes": []}

    def step():
        start = process_time()
        method.training_step(batch, 0).backward()
        seconds["step"].append(process_time() - start)

    def bare():
        start = process_time()
        features = method.backbone.extract(prepared)[-1].mean((2, 3))
        latents = features.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)
        context, parts = method.context(latents), method.prediction
        passed = [parts.target(latents), *(linear(context) for linear in parts.maps)]
        sum(values.sum() for values in passed).backward()
        seconds["passes"].append(process_time() - start)

    try:
        benchmark.pedantic(step, setup=bare, rounds=ROUNDS, warmup_rounds=1)
    finally:
        torch.set_num_threads(threads)
    ratio = float(np.median(np.divide(seconds["step"], seconds["passes"])[1:]))
    measured("step / passes", ratio, at_most=1.1)
