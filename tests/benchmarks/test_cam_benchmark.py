"""Multi-scale + flip CAM of one image against its bare forward passes."""

from time import perf_counter

import numpy as np
import pytest
import torch

from wsss_zoo.methods import CAM
from wsss_zoo.modules import rescale

SIZE, FG_CLASSES, ROUNDS = (375, 500), 20, 7


@pytest.mark.benchmark
@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet50"])
def test_cam_takes_at_most_a_tenth_more_than_its_forward_passes(benchmark, backbone):
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    method = CAM(FG_CLASSES + 1, backbone).eval()
    image_labels = torch.zeros(1, FG_CLASSES)
    image_labels[0, [3, 14]] = 1
    batch = {"image": torch.rand(1, 3, *SIZE), "image_labels": image_labels}
    pairs = []
    for scale in method.hparams["scales"]:
        prepared = method.backbone.prepare(rescale(batch["image"], scale))
        pairs.append(torch.cat([prepared, prepared.flip(-1)]))
    seconds = {"cam": [], "forwards": []}

    def cam():
        start = perf_counter()
        with torch.inference_mode():
            method.predict_step(batch, 0)
        seconds["cam"].append(perf_counter() - start)

    def forwards():
        start = perf_counter()
        with torch.inference_mode():
            for pair in pairs:
                method.backbone.extract(pair)
        seconds["forwards"].append(perf_counter() - start)

    rounds = ROUNDS if backbone != "resnet50" else 3
    try:
        # As the set-up of every round: the two take turns, so that other load slows both.
        benchmark.pedantic(cam, setup=forwards, rounds=rounds, warmup_rounds=1)
    finally:
        torch.set_num_threads(threads)
    ratio = np.median(seconds["cam"][1:]) / np.median(seconds["forwards"][1:])
    benchmark.extra_info["ratio"] = ratio
    print(f"\nCAM {np.median(seconds['cam']):.2f} s, {ratio:.3f} times its forward passes")
    assert ratio <= 1.1
