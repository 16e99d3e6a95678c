"""A training step of PseudoSeg against the bare passes that its definition needs."""

from time import process_time

import numpy as np
import pytest
import torch

from wsss_zoo.functional import masked_cross_entropy
from wsss_zoo.methods import PseudoSeg

BACKBONE, CLASSES, CROP, BATCH, ROUNDS = "tf_efficientnet_lite0", 7, 160, 4, 12


def make_batch():
    valid = torch.ones(BATCH, CROP, CROP, dtype=torch.bool)
    labeled = {
        "image": torch.rand(BATCH, 3, CROP, CROP),
        "mask": torch.randint(CLASSES, (BATCH, CROP, CROP)),
        "image_labels": torch.ones(BATCH, CLASSES - 1),
    }
    unlabeled = {
        "weak": torch.rand(BATCH, 3, CROP, CROP),
        "strong": torch.rand(BATCH, 1, 3, CROP, CROP),
        "valid": valid,
        "strong_valid": valid[:, None],
        "image_labels": torch.ones(BATCH, CLASSES - 1),
        "has_image_labels": torch.ones(BATCH, dtype=torch.bool),
    }
    return {"labeled": labeled, "unlabeled": unlabeled}


@pytest.mark.benchmark
def test_a_step_takes_at_most_a_tenth_more_than_its_passes(benchmark, measured):
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    method = PseudoSeg(CLASSES, BACKBONE, freeze_backbone_bn=True)
    method.log_dict = lambda _: None
    network, batch = method.network, make_batch()
    # Processor time of the one thread, and the two take turns: other load then hardly counts.
    seconds = {"step": [], "passes": []}

    def timed(key, loss):
        method.zero_grad()
        start = process_time()
        loss().backward()
        seconds[key].append(process_time() - start)

    def passes():
        """Labelled and weak images in one batch, the strong ones in a second; one backward."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        features = network.features(torch.cat([labeled["image"], unlabeled["weak"]]))
        decoded = network.head(network.decoder(features))
        logits = torch.nn.functional.interpolate(decoded[:BATCH], (CROP, CROP), mode="bilinear")
        strong = network.head(network.decoder(network.features(unlabeled["strong"][:, 0])))
        return masked_cross_entropy(logits, labeled["mask"]) + strong.square().mean()

    def step():
        timed("step", lambda: method.training_step(batch, 0))

    try:
        benchmark.pedantic(
            step, setup=lambda: timed("passes", passes), rounds=ROUNDS, warmup_rounds=2
        )
    finally:
        torch.set_num_threads(threads)
    ratio = float(np.median(np.divide(seconds["step"], seconds["passes"])[2:]))
    measured("step / passes", ratio, at_most=1.1)
