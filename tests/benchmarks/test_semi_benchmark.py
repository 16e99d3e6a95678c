"""A training step of each semi-supervised method against the bare passes that it needs."""

import subprocess
import sys
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import torch

from tests.benchmarks.memory import KNOWN
from tests.benchmarks.step_ratio import step_ratio
from tests.benchmarks.test_pseudoseg_benchmark import make_batch as pseudoseg_batch
from wsss_zoo.functional import cutmix, draw_cutmix_boxes, masked_cross_entropy
from wsss_zoo.methods import (
    CPC,
    CPS,
    FixMatch,
    MeanTeacher,
    PiModel,
    PseudoSeg,
    Supervised,
    TemporalEnsembling,
    UniMatch,
    UniMatchV2,
)

BACKBONE, CLASSES, CROP, BATCH, ROUNDS = "tf_efficientnet_lite0", 7, 160, 4, 12
DILATED = {"architecture": "deeplabv3plus", "output_stride": 16}
METHODS = {
    "fixmatch": (FixMatch, {}),
    "fixmatch_average": (FixMatch, {"labels_from": "average"}),
    "unimatch": (UniMatch, {}),
    "unimatch_average": (UniMatch, {"labels_from": "average"}),
    "unimatch_v2": (UniMatchV2, DILATED),
    "cps": (CPS, {"cutmix": False}),
    "cps_cutmix": (CPS, {}),
    "mean_teacher": (MeanTeacher, {}),
    "pi_model": (PiModel, {}),
    "temporal_ensembling": (TemporalEnsembling, {}),
}


def make_batch(views=2, crop=CROP):
    valid = torch.ones(BATCH, crop, crop, dtype=torch.bool)
    labeled = {
        "image": torch.rand(BATCH, 3, crop, crop),
        "mask": torch.randint(CLASSES, (BATCH, crop, crop)),
    }
    unlabeled = {
        "weak": torch.rand(BATCH, 3, crop, crop),
        "strong": torch.rand(BATCH, views, 3, crop, crop),
        "valid": valid,
        "strong_valid": valid[:, None].repeat(1, views, 1, 1),
        "geometry": torch.tensor([[60.0, 90.0, 0.8, 0.8, 1.0]]).repeat(BATCH, 1),
        "image_size": torch.tensor([[375, 500]]).repeat(BATCH, 1),
        "image_id": [str(number) for number in range(BATCH)],
    }
    return {"labeled": labeled, "unlabeled": unlabeled}


def passes(name, method, batch):
    """The network's passes that the definition asks for, with the plainest loss; a scalar.

    Each trained output costs one cross-entropy, as in any training; nothing else is counted.
    """
    network, weak = method.network, batch["unlabeled"]["weak"]
    image, mask = batch["labeled"]["image"], batch["labeled"]["mask"]
    strong = batch["unlabeled"]["strong"]

    def loss(logits):
        return masked_cross_entropy(logits, mask.repeat(len(logits) // BATCH, 1, 1))

    if name.endswith("average") or name == "mean_teacher":
        average = method.average
        average(weak)
    if name == "unimatch_v2":
        method.average(weak)
        return loss(network(torch.cat([image, strong.flatten(0, 1)])))
    if name == "pi_model":
        return loss(network(torch.cat([image, weak, strong[:, 0]])))
    if name in ("fixmatch_average", "mean_teacher", "temporal_ensembling"):
        return loss(network(torch.cat([image, strong[:, 0]])))
    if name == "fixmatch":
        logits = network(torch.cat([image, weak]))
        return loss(logits[:BATCH]) + loss(network(strong[:, 0]))
    if name.startswith("unimatch"):
        features = network.features(torch.cat([image, weak]))
        size = image.shape[-2:]
        logits = network.decode(features, size)[:BATCH]
        perturbed = network.decode([level[BATCH:] for level in features], size)
        return loss(logits) + loss(perturbed) + loss(network(strong.flatten(0, 1)))
    total = 0
    for net in (network, method.partner):
        if name == "cps_cutmix":
            with torch.no_grad():
                net(weak)
        logits = net(torch.cat([image, weak]))
        # Plain CPS has two terms on labelled images: the truth and the other network.
        total = total + loss(logits) + (loss(logits[:BATCH]) if name == "cps" else 0)
    return total


def make_method(name):
    torch.manual_seed(0)
    kind, options = METHODS[name]
    method = kind(CLASSES, BACKBONE, freeze_backbone_bn=True, **options).train()
    method.log_dict = method.log = lambda *_, **__: None
    method._trainer = type("Trainer", (), {"global_step": 0})()
    return method


@pytest.mark.benchmark
@pytest.mark.parametrize("name", METHODS)
def test_a_step_takes_at_most_a_tenth_more_than_its_passes(name, benchmark, measured):
    method, batch = make_method(name), make_batch()
    ratio = step_ratio(
        benchmark,
        lambda: method.training_step(batch, 0),
        lambda: passes(name, method, batch),
        ROUNDS,
    )
    measured("step / passes", ratio, at_most=1.1)


@pytest.mark.benchmark
@pytest.mark.parametrize("other", ["fixmatch_average", "unimatch", "unimatch_average"])
def test_a_step_of_unimatch_v2_beside_others(other, benchmark, measured):
    steps = [make_method(name).training_step for name in ("unimatch_v2", other)]
    batch = make_batch()
    own, others = (lambda step=step: step(batch, 0) for step in steps)
    bound = 0.85 if other.startswith("unimatch") else None
    measured(f"step / step of {other}", step_ratio(benchmark, own, others, ROUNDS), at_most=bound)


@pytest.mark.benchmark
def test_mixing_a_batch_costs_little(benchmark, measured):
    """CutMix of images, labels, confidences and validity, per copy of the images."""
    images = torch.rand(8, 3, 512, 512)
    label = torch.randint(21, (8, 512, 512))

    def mix():
        box = draw_cutmix_boxes(8, (512, 512), 1.0)
        return [cutmix(value, value.roll(1, 0), box) for value in (images, label)]

    benchmark.pedantic(mix, rounds=5, iterations=1, warmup_rounds=1)
    times = []
    for _ in range(5):
        start = process_time()
        images.clone(), label.clone()
        times.append(process_time() - start)
    ratio = benchmark.stats.stats.median / np.median(times)
    measured("mix / copy", ratio, at_most=20)


STEPS = """
import sys, torch
torch.set_num_threads(1)
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.test_semi_benchmark import memory_case

method, batch = memory_case(sys.argv[1])
peak = PeakMemory()
for _ in range(2):
    method.training_step(batch, 0).backward()
print(peak.megabytes())
"""
# Crops that a step holds for the backward pass, as multiples of the labelled ones; UniMatch decodes
# two of its four twice, plain CPS has both networks see everything. CPC's patches are 3.2 times the
# pixels of their images, but are not decoded.
HELD = {
    "fixmatch": 3,
    "fixmatch_average": 2,
    "unimatch": 5,
    "unimatch_average": 5,
    "unimatch_v2": 3,
    "cps": 4,
    "cps_cutmix": 4,
    "mean_teacher": 2,
    "pi_model": 3,
    "temporal_ensembling": 2,
    "pseudoseg": 3,
    "cpc": 3.24,
}


def memory_case(name):
    """A method in training and a batch of its own, all of the same number of labelled crops."""
    kind, options = METHODS.get(name, (Supervised, {}))
    batch = make_batch()
    if name == "pseudoseg":
        kind, batch = PseudoSeg, pseudoseg_batch()
    if name == "cpc":
        method, batch = CPC(BACKBONE), batch["labeled"]
    else:
        method = kind(CLASSES, BACKBONE, freeze_backbone_bn=True, **options)
    if name == "supervised":
        batch = batch["labeled"]
    method.train().log = method.log_dict = lambda *_, **__: None
    method._trainer = type("Trainer", (), {"global_step": 0})()
    return method, batch


def peak(name):
    """Of two steps in a process of its own, above what it held before them."""
    command = [sys.executable, "-W", "ignore", "-c", STEPS, name]
    run = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True}
    return float(subprocess.run(command, check=True, **run).stdout.split()[-1])


@pytest.fixture(scope="module")
def supervised():
    return peak("supervised")


@pytest.mark.benchmark
@pytest.mark.skipif(not KNOWN, reason="reads Linux's /proc")
@pytest.mark.parametrize("name", HELD)
def test_memory_over_supervised_is_that_of_the_images_it_holds(
    name, supervised, benchmark, measured
):
    own = benchmark.pedantic(peak, args=(name,), rounds=1, iterations=1)
    measured("MB over Supervised", own - supervised)
    measured("memory / Supervised", own / supervised, at_most=1.3 * HELD[name])
