"""Multi-scale + flip CAM of one image against its bare forward passes."""

from time import process_time

import numpy as np
import pytest
import torch

from wsss_zoo.methods import CAM
from wsss_zoo.modules import rescale

BACKBONE, SIZE, FG_CLASSES, ROUNDS = "tf_efficientnet_lite0", (240, 320), 20, 15


@pytest.mark.benchmark
def test_cam_takes_at_most_a_tenth_more_than_its_forward_passes(benchmark, measured):
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    method = CAM(FG_CLASSES + 1, BACKBONE).eval()
    image_labels = torch.zeros(1, FG_CLASSES)
    image_labels[0, [3, 14]] = 1
    image = torch.rand(1, 3, *SIZE)
    batch = {"image": image, "image_labels": image_labels, "image_id": ["a"]}
    pairs = []
    for scale in method.hparams["scales"]:
        prepared = method.backbone.prepare(rescale(batch["image"], scale))
        pairs.append(torch.cat([prepared, prepared.flip(-1)]))
    # Processor time of the one thread, and the two take turns: other load then hardly counts.
    seconds = {"cam": [], "forwards": []}

    def cam():
        start = process_time()
        with torch.inference_mode():
            method.predict_step(batch, 0)
        seconds["cam"].append(process_time() - start)

    def forwards():
        start = process_time()
        with torch.inference_mode():
            for pair in pairs:
                method.backbone.extract(pair)
        seconds["forwards"].append(process_time() - start)

    try:
        benchmark.pedantic(cam, setup=forwards, rounds=ROUNDS, warmup_rounds=1)
    finally:
        torch.set_num_threads(threads)
    ratio = float(np.median(np.divide(seconds["cam"], seconds["forwards"])[1:]))
    measured("prediction / its forward passes", ratio, at_most=1.1)
