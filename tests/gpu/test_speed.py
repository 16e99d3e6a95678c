"""Time, images per second and peak memory of training steps, beside the passes that they need.

A step is the method's loss with its backward pass; so is what it is compared with. Both are timed
by events of the device, in turns, on data that is on the device.
"""

import itertools
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities import move_data_to_device

from tests.benchmarks.test_semi_benchmark import make_batch, passes
from wsss_zoo.functional import masked_cross_entropy
from wsss_zoo.methods import CAM, FixMatch, Supervised, UniMatch, UniMatchV2

CLASSES, BATCH = 7, 4
METHODS = {
    "Supervised": Supervised,
    "CAM": CAM,
    "FixMatch": FixMatch,
    "UniMatch": UniMatch,
    "UniMatchV2": UniMatchV2,
}
CNN = {"architecture": "deeplabv3plus", "output_stride": 16, "freeze_backbone_bn": True}
# Name in the table: options, and the side of a crop; then those of a trial on the CPU.
NETWORKS = {
    "ResNet-50, 320 px": (
        (CNN | {"backbone": "resnet50"}, 320),
        (CNN | {"backbone": "test_resnet"}, 48),
    ),
    "ViT-S/14, 518 px": (
        ({"backbone": "vit_small_patch14_dinov2", "output_stride": 14, "architecture": "dpt"}, 518),
        ({"backbone": "test_vit", "output_stride": 16, "architecture": "dpt"}, 48),
    ),
}
# Labelled, and unlabelled, images that a step learns from.
IMAGES = {"Supervised": BATCH, "CAM": BATCH}
GB = 1e9


class Clock:
    """Times calls by events of the device; on a CPU by its own clock."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"

    def milliseconds(self, call):
        if not self.cuda:
            start = time.perf_counter()
            call()
            return 1000 * (time.perf_counter() - start)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)

    def peak(self, call):
        """Bytes that a call takes beyond what was held; None on a CPU."""
        if not self.cuda:
            call()
            return None
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - held


def make_step(name, options, crop, device):
    """The loss of a method, and that of the passes that it needs, with its parameters."""
    torch.manual_seed(0)
    kind = METHODS[name]
    if name == "CAM":
        options = {key: value for key, value in options.items() if key != "architecture"}
    method = kind(CLASSES, **options).train().to(device)
    method.log_dict = method.log = lambda *_, **__: None
    method._trainer = type("Trainer", (), {"global_step": 0})()
    batch = move_data_to_device(make_batch(crop=crop), device)
    if name in ("Supervised", "CAM"):
        batch = batch["labeled"]
        tags = torch.randint(2, (BATCH, CLASSES - 1)).float()
        batch["image_labels"] = tags.to(device)
    return method, batch


def bare_loss(name, method, batch):
    if name == "Supervised":
        return masked_cross_entropy(method.network(batch["image"]), batch["mask"])
    if name == "CAM":
        scores = method.classifier(method.backbone(batch["image"])[-1].mean((2, 3))).float()
        return F.binary_cross_entropy_with_logits(scores, batch["image_labels"])
    return passes(name.lower().replace("v2", "_v2"), method, batch)


CASES = itertools.product(NETWORKS, ("32-true", "bf16-mixed"), METHODS)


@pytest.mark.parametrize(
    ("network", "precision", "name"), [pytest.param(*case, id=", ".join(case)) for case in CASES]
)
def test_steps(network, precision, name, device, measured):
    big, small = NETWORKS[network]
    options, crop = big if device.type == "cuda" else small
    method, batch = make_step(name, options, crop, device)
    clock, rounds = Clock(device), 10 if device.type == "cuda" else 2

    def run(loss):
        method.zero_grad(set_to_none=True)
        half = torch.autocast(device.type, torch.bfloat16)
        with half if precision == "bf16-mixed" else nullcontext():
            value = loss()
        value.backward()

    def step():
        run(lambda: method.training_step(batch, 0))

    def bare():
        run(lambda: bare_loss(name, method, batch))

    for call in (step, bare, step, bare):  # caches, and the choice of kernels
        call()
    times = np.array([[clock.milliseconds(call) for call in (step, bare)] for _ in range(rounds)])
    own = np.median(times[:, 0])
    measured("ms a step", own)
    measured("images/s", 1000 * IMAGES.get(name, 2 * BATCH) / own)
    method.zero_grad(set_to_none=True)
    held = clock.peak(step)
    if held is not None:
        measured("GB beyond the weights", held / GB)
    # Times of a CPU that others use say nothing.
    bound = 1.1 if device.type == "cuda" else None
    measured("step / passes", float(np.median(times[:, 0] / times[:, 1])), at_most=bound)
