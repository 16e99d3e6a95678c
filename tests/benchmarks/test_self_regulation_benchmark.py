"""A training step of SelfRegulation against one of the plain network, and its bare passes."""

import pytest
import torch
import torch.nn.functional as F

from tests.benchmarks.step_ratio import step_ratio
from wsss_zoo.methods import SelfRegulation, Supervised
from wsss_zoo.modules.multi_exit import inner_features, mask_of_cells, to_cells

BACKBONE, CLASSES, CROP, BATCH, ROUNDS = "tf_efficientnet_lite0", 7, 160, 8, 8
# The released heads have no limit: what they cost is stated.
LIMITS = {"light": 1.35, "full": None}


def quiet(method):
    method.train().log = lambda *_, **__: None
    method._trainer = type("Trainer", (), {"global_step": 0})()
    return method


def make_batch():
    return {
        "image": torch.rand(BATCH, 3, CROP, CROP),
        "mask": torch.randint(CLASSES, (BATCH, CROP, CROP)),
    }


@pytest.mark.benchmark
@pytest.mark.parametrize("head", LIMITS)
def test_a_step_costs_little_more_than_the_plain_networks(head, benchmark, measured):
    torch.manual_seed(0)
    plain = quiet(Supervised(CLASSES, BACKBONE, freeze_backbone_bn=True))
    taught = quiet(SelfRegulation(CLASSES, BACKBONE, freeze_backbone_bn=True, exit_head=head))
    batch = make_batch()
    ratio = step_ratio(
        benchmark,
        lambda: taught.training_step(batch, 0),
        lambda: plain.training_step(batch, 0),
        ROUNDS,
    )
    measured("step / plain step", ratio, at_most=LIMITS[head])


def passes(method, batch):
    """The network and its exits once, and one plain loss of each of their outputs."""
    network, exits, image = method.network, method.exits, batch["image"]
    inner, decoded = inner_features(network, image)
    maps, scores = exits(inner, network.head(decoded))
    size = image.shape[-2:]
    cells = mask_of_cells(batch["mask"], size, exits.cell)
    tags = torch.ones(BATCH, CLASSES)
    loss = sum(F.binary_cross_entropy_with_logits(score, tags) for score in scores)
    for logits in to_cells(maps, size, exits.cell):
        loss = loss + F.cross_entropy(logits, cells)
    if exits.projections:
        students, _ = exits.project(inner, decoded)
        loss = loss + sum(part.square().mean() for part in to_cells(students, size, 4))
    return loss


@pytest.mark.benchmark
@pytest.mark.parametrize("variant", ["soft", "code", "features"])
def test_a_step_takes_little_more_than_its_passes(variant, benchmark, measured):
    torch.manual_seed(0)
    options = {"freeze_backbone_bn": True, "variant": variant}
    method, batch = quiet(SelfRegulation(CLASSES, BACKBONE, **options)), make_batch()
    ratio = step_ratio(
        benchmark, lambda: method.training_step(batch, 0), lambda: passes(method, batch), ROUNDS
    )
    measured("step / passes", ratio, at_most=1.1)
