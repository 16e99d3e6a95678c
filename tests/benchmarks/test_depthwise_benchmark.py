"""A training step of a network of depthwise convolutions, with their faster backward pass."""

import copy
from time import process_time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.methods import Supervised
from wsss_zoo.modules.depthwise import speed_up_depthwise

ROUNDS = 4


@pytest.mark.benchmark
def test_step_on_a_cpu(measured):
    """One thread, DeepLabV3+ on EfficientNet-Lite0, 8 crops of 160 pixels, channels last."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain = Supervised(7, "tf_efficientnet_lite0", freeze_backbone_bn=True).network
    plain = plain.train().to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    image = torch.rand(8, 3, 160, 160).contiguous(memory_format=torch.channels_last)
    mask = torch.randint(0, 7, (8, 160, 160))

    def seconds(network, mixed):
        start = process_time()
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = network(image)
        F.cross_entropy(logits.float(), mask).backward()
        return process_time() - start

    times = {(mixed, way): [] for mixed in (False, True) for way in (plain, fast)}
    try:
        for _ in range(ROUNDS):  # in turns, so that other load slows all
            for (mixed, way), found in times.items():
                found.append(seconds(way, mixed))
    finally:
        torch.set_num_threads(threads)
    median = {key: float(np.median(found[1:])) for key, found in times.items()}
    measured("bfloat16, fast / plain", median[True, fast] / median[True, plain], at_most=0.8)
    measured("float32, fast / plain", median[False, fast] / median[False, plain], at_most=1.05)
    measured("fast bfloat16 / fast float32", median[True, fast] / median[False, fast])
