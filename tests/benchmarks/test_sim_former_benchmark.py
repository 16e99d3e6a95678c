"""A SimFormer step against its passes and matching, and its memory at crop 512."""

import subprocess
import sys
from pathlib import Path
from time import process_time

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.benchmarks.memory import KNOWN, PeakMemory
from tests.methods.weak_shot_batches import weak_shot_batch
from wsss_zoo.functional import class_targets
from wsss_zoo.methods import SimFormer
from wsss_zoo.methods.proposal_losses import match_layers
from wsss_zoo.methods.weak_shot.pair_losses import partners
from wsss_zoo.modules import SimNet

CROP, ROUNDS = 160, 6
OPTIONS = {"backbone": "resnet18", "queries": 20, "pair_points": 100, "freeze_backbone_bn": True}


def passes(method, batch):
    """All networks once and a plain loss of what they give, and the matching of all layers.

    The similarity network has two passes, one of them without gradient: of the pairs that teach it
    and of those that it teaches.
    """
    image, mask, tags = (
        torch.cat([side[key] for side in (batch, batch["reference"])])
        for key in ("image", "mask", "image_labels")
    )
    proposals = method.model(image)
    match_layers(proposals, mask, class_targets(mask, 5, F.pad(tags, (1, 0))))
    loss = sum(value.square().mean() for value in proposals)
    if method.sim_net is not None:
        points = proposals.pixel_embeddings.detach().flatten(2)[..., :100].transpose(1, 2)
        loss = loss + method.sim_net.all_pairs(points, partners(points)).mean()
        with torch.no_grad():
            method.sim_net.all_pairs(points, partners(points))
    return loss


CASES = {
    "masks alone": {"pair_weight": 0.0, "distill_weight": 0.0},
    "cross_image": {},
    "code": {"pairing": "code"},
}


@pytest.mark.benchmark
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_a_step_takes_at_most_a_tenth_more_than_passes_and_matching(options, benchmark, measured):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    method = SimFormer(5, **OPTIONS, **options).train()
    method.is_base = torch.tensor([True, True, True, False, False])
    method.log = method.log_dict = lambda *_, **__: None
    batch, seconds = weak_shot_batch(2, CROP), {"step": [], "bare": []}

    def timed(name, loss):
        start = process_time()
        loss().backward()
        seconds[name].append(process_time() - start)

    def both():
        timed("step", lambda: method.training_step(batch, 0))
        timed("bare", lambda: passes(method, batch))

    both()
    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    torch.set_num_threads(threads)
    # The least: what runs beside it on the same core takes cache and units from all rounds.
    step, bare = min(seconds["step"]), min(seconds["bare"])
    measured("step, s", step)
    measured("step / passes and matching", step / bare, at_most=1.1)


STEP = """
import torch
from tests.benchmarks.memory import PeakMemory
from tests.methods.weak_shot_batches import weak_shot_batch
from wsss_zoo.methods import SimFormer
torch.set_num_threads(1)
batch = weak_shot_batch(2, 512)
peak = PeakMemory()
method = SimFormer(5, freeze_backbone_bn=True).train()
method.log = method.log_dict = lambda *_, **__: None
method.is_base[3:] = False
method.training_step(batch, 0).backward()
print(peak.megabytes())
"""


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_memory_of_two_pairs_at_crop_512(benchmark, measured):
    """ResNet-50, 100 queries, 6 layers; weights and gradients, but no state of the optimiser."""

    def peak():
        command = [sys.executable, "-W", "ignore", "-c", STEP]
        folder = Path(__file__).parents[2]
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        return float(result.stdout.splitlines()[-1])

    measured("MB", benchmark.pedantic(peak, rounds=1, iterations=1), at_most=5500)


class Sizes(TorchDispatchMode):
    """Elements of every tensor that an operation makes anew, not as a view of its inputs."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {
            one.untyped_storage().data_ptr() for one in tree_leaves(args) if torch.is_tensor(one)
        }
        for one in tree_leaves(result):
            if torch.is_tensor(one) and one.untyped_storage().data_ptr() not in given:
                self.made.append(one.numel())
        return result


@pytest.mark.benchmark
def test_features_of_all_pairs_are_never_made(measured):
    """The embeddings of all pairs, 2 E channels each, and the plain way as proof that it counts."""
    images, points, channels = 2, 100, 256
    net = SimNet(channels).train()
    first, second = torch.randn(2, images, points, channels)
    of_pairs = images * points**2 * 2 * channels

    def copies(work):
        with Sizes() as sizes:
            loss = work().mean()
            loss.backward()
        return sum(numel >= of_pairs for numel in sizes.made), loss

    def plainly():
        pairs = [first[:, :, None].expand(-1, -1, points, -1)]
        pairs += [second[:, None].expand(-1, points, -1, -1)]
        return net(torch.cat(pairs, -1).flatten(0, 2))

    ours, loss = copies(lambda: net.all_pairs(first, second))
    plain, expected = copies(plainly)
    torch.testing.assert_close(loss, expected)
    measured("copies of all pairs' features, concatenated", plain, at_least=1)
    measured("copies of all pairs' features", ours, at_most=0)


@pytest.mark.benchmark
@pytest.mark.skipif(not KNOWN, reason="reads Linux's /proc")
def test_memory_of_all_pairs(measured):
    """In a step's backward pass: hidden layers of E channels by pair, and their gradients."""
    points, channels = 200, 256
    net = SimNet(channels).train()
    embeddings = torch.randn(2, 2, points, channels)
    net.all_pairs(*embeddings[:, :, :2]).mean().backward()
    peak = PeakMemory()
    net.all_pairs(*embeddings).mean().backward()
    one_copy = 2 * points**2 * 2 * channels * 4 / 1e6
    measured("MB of one copy of all pairs' features, computed", one_copy)
    # Each of three blocks keeps five maps of half a copy for the backward pass, and it takes one
    # or two more: the layers' own, none of which is made twice.
    measured("peak of SimNet's step / that", peak.megabytes() / one_copy, at_most=10)
