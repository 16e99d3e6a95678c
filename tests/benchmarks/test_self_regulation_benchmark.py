"""A training step of SelfRegulation against one of the plain network."""

import pytest
import torch

from tests.benchmarks.step_ratio import step_ratio
from wsss_zoo.methods import SelfRegulation, Supervised

BACKBONE, CLASSES, CROP, BATCH, ROUNDS = "tf_efficientnet_lite0", 7, 160, 8, 8
# The released heads have no limit: what they cost is stated.
LIMITS = {"light": 1.35, "full": None}


@pytest.mark.benchmark
@pytest.mark.parametrize("head", LIMITS)
def test_a_step_costs_little_more_than_the_plain_networks(head, benchmark, measured):
    torch.manual_seed(0)
    plain = Supervised(CLASSES, BACKBONE, freeze_backbone_bn=True)
    taught = SelfRegulation(CLASSES, BACKBONE, freeze_backbone_bn=True, exit_head=head)
    for method in (plain, taught):
        method.train().log = lambda *_, **__: None
        method._trainer = type("Trainer", (), {"global_step": 0})()
    batch = {
        "image": torch.rand(BATCH, 3, CROP, CROP),
        "mask": torch.randint(CLASSES, (BATCH, CROP, CROP)),
    }
    ratio = step_ratio(
        benchmark,
        lambda: taught.training_step(batch, 0),
        lambda: plain.training_step(batch, 0),
        ROUNDS,
    )
    measured("step / plain step", ratio, at_most=LIMITS[head])
