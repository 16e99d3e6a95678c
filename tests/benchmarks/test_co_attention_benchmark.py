"""A co-attention step against its bare passes, and the memory of attention at 512 pixels."""

import subprocess
import sys
from pathlib import Path

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
def test_a_step_takes_at_most_a_tenth_more_than_its_passes(variant, benchmark, measured):
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
    measured("step / passes", ratio, at_most=1.1)


ATTEND = """
import sys, torch
from contextlib import nullcontext
from torch.nn.attention import SDPBackend, sdpa_kernel
from tests.benchmarks.memory import PeakMemory
from wsss_zoo.functional import co_attend, co_attention

torch.set_num_threads(1)
kind, channels, side = sys.argv[1], *map(int, sys.argv[2:])
training = kind != "prediction"
w_p = torch.eye(channels, requires_grad=training)

def features(side):
    return [torch.rand(1, channels, side, side, requires_grad=training) for _ in range(2)]

def attend(feat, other):
    with sdpa_kernel(SDPBackend.MATH) if kind == "unfused" else nullcontext():
        if training:
            sum(part.square().mean() for part in co_attention(feat, other, w_p)).backward()
        else:
            with torch.inference_mode():
                co_attend(feat, other, w_p, other[:, :1])

attend(*features(4))  # loads what the first call of each kind loads
pair = features(side)
peak = PeakMemory()
attend(*pair)
print(peak.megabytes())
"""
# Matrices of all positions against all that are held at once: with a fused kernel none; else two
# halves of two in a backward pass (softmax and its gradient); in prediction one half of two.
MATRICES = {"fused": 0, "unfused": 4, "prediction": 2}


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("kind", MATRICES)
def test_memory_of_a_pair_of_512_pixels(kind, stride, benchmark, measured):
    """Peak of one attention in a process of its own, above what it held before; VGG-16's 512."""
    channels, side = 512, 512 // stride
    matrix, feature = 4e-6 * side**4, 4e-6 * channels * side**2

    def peak():
        command = [sys.executable, "-W", "ignore", "-c", ATTEND, kind, str(channels), str(side)]
        run = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True}
        return float(subprocess.run(command, check=True, **run).stdout.split()[-1])

    needed = benchmark.pedantic(peak, rounds=1, iterations=1)
    computed = MATRICES[kind] * matrix
    measured("MB of affinity, computed", computed)
    # The rest is feature maps: results, projections, gradients and copies of them.
    measured("MB", needed, at_most=computed + 24 * feature)
    assert computed <= needed
