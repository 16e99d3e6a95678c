"""A co-attention step against its bare passes, and multi-round maps against their passes."""

import pytest
import torch
import torch.nn.functional as F

from tests.benchmarks.step_ratio import step_ratio
from wsss_zoo.functional import co_attention
from wsss_zoo.methods import CoAttention
from wsss_zoo.modules import rescale

BACKBONE, CLASSES, CROP, BATCH, ROUNDS = "tf_efficientnet_lite0", 7, 160, 4, 8


def make_batch():
    def side():
        return {
            "image": torch.rand(BATCH, 3, CROP, CROP),
            "image_labels": torch.randint(2, (BATCH, CLASSES - 1)).float(),
        }

    return {**side(), "other": side()}


def passes(method, batch, variant):
    """Every distinct view once, co-attention of every pair, and a plain classification loss."""
    image, tags = batch["image"], batch["image_labels"]
    views = [torch.cat([image, batch["other"]["image"]])]
    if variant == "code":
        views[0] = torch.cat([views[0], image.flip(-1)])
        views += [rescale(image, 0.75), rescale(image, 2.0)]
    maps = [part for view in views for part in method.model.features(view).split(BATCH)]
    own = method.model.own

    def loss(features):
        return F.binary_cross_entropy_with_logits(own(features.mean((2, 3))), tags)

    total = sum(map(loss, maps))
    for other in maps[1:]:
        total = total + sum(map(loss, co_attention(maps[0], other, method.model.attention.w_p[0])))
    return total


@pytest.mark.benchmark
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_a_step_takes_at_most_a_tenth_more_than_its_passes(variant, benchmark):
    torch.manual_seed(0)
    method = CoAttention(
        CLASSES, BACKBONE, output_stride=16, freeze_backbone_bn=True, convs=0, variant=variant
    ).train()
    method.log = lambda *_, **__: None
    batch = make_batch()
    ratio = step_ratio(
        benchmark,
        lambda: method.training_step(batch, 0),
        lambda: passes(method, batch, variant),
        ROUNDS,
    )
    benchmark.extra_info["step / passes"] = round(ratio, 3)
    assert ratio <= 1.10, ratio
