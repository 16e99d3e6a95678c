"""What all losses of sparse labels share: memory, padding, precision, the device."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsss_zoo.functional import (
    absent_class_loss,
    candidate_cross_entropy,
    color_pair_loss,
    dense_energy_loss,
    gated_crf_loss,
    gaussian_mixture_loss,
    partial_cross_entropy,
    tree_energy_loss,
)
from wsss_zoo.functional.losses import tree_energy

N, C, D, SIZE, GRID = 2, 4, 16, 32, 8


def batch():
    """Scores at full size and at stride 4, features, and what is known of the pixels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(N, *shape, generator=generator)

    mask = torch.randint(C, (N, SIZE, SIZE), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) > 0.1] = 255
    valid = torch.ones_like(mask, dtype=torch.bool)
    valid[0, :, 20:] = False
    possible = normal(C, SIZE, SIZE) > -1
    possible[:, 0] = True
    return {
        "logits": normal(C, SIZE, SIZE),
        "small": normal(C, GRID, GRID),
        "features": normal(D, GRID, GRID).relu(),
        "image": normal(3, SIZE, SIZE).sigmoid(),
        "mask": mask.masked_fill(~valid, 255),
        "valid": valid,
        "possible": possible,
        "classes": torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1]]),
    }


def pooled(maps):
    return F.avg_pool2d(maps, SIZE // GRID)


def dense(x):
    image, valid = pooled(x["image"]), x["valid"][:, ::4, ::4]
    return dense_energy_loss(x["small"].softmax(1), image, valid, sigma_rgb=0.1, sigma_xy=3)


LOSSES = {
    "partial": lambda x: partial_cross_entropy(x["logits"], x["mask"]),
    "candidate": lambda x: candidate_cross_entropy(x["logits"], x["possible"], x["valid"]),
    "absent": lambda x: absent_class_loss(x["logits"], x["classes"], x["valid"]),
    "mixture": lambda x: gaussian_mixture_loss(x["logits"], x["features"], x["mask"], x["valid"]),
    "gated CRF": lambda x: gated_crf_loss(x["small"].softmax(1), x["image"], x["valid"]),
    "tree": lambda x: tree_energy_loss(
        x["small"].softmax(1), x["image"], x["features"], (x["mask"] == 255) & x["valid"]
    ),
    "dense": dense,
    "color pairs": lambda x: color_pair_loss(
        x["small"].softmax(1), 100 * pooled(x["image"].float()), x["valid"][:, ::4, ::4]
    ),
}
LEARNT = ("logits", "small", "features")


class Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *(x.numel() for x in made)])
        return result


@pytest.mark.parametrize("name", LOSSES)
def test_no_tensor_is_larger_than_twice_the_scores_or_features(name):
    given = batch()
    for part in LEARNT:
        given[part].requires_grad_()
    with Largest() as largest:
        LOSSES[name](given).backward()
    assert 0 < largest.elements <= 2 * max(N * C * SIZE**2, N * D * GRID**2)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_float32(name):
    given = batch()
    half = {part: x.bfloat16() if x.is_floating_point() else x for part, x in given.items()}
    for part in LEARNT:
        half[part].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # The softmax of the losses of probabilities is float32 under autocast.
        loss = LOSSES[name](half)
    loss.backward()
    assert loss.dtype == torch.float32
    rounded = {part: x.detach().float() if x.is_floating_point() else x for part, x in half.items()}
    torch.testing.assert_close(loss, LOSSES[name](rounded), rtol=0.02, atol=0)
    assert all(half[part].grad is None or half[part].grad.isfinite().all() for part in LEARNT)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_reads_the_device(name, monkeypatch):
    # All that waits for the device is the one function that docs/hardware.md lists.
    ancestors = torch.zeros(5, N * GRID**2, dtype=torch.int64)
    with FakeTensorMode(allow_non_fake_inputs=True):
        given = {part: x.to("cuda") for part, x in batch().items()}
        on_device = ancestors.to("cuda")
        monkeypatch.setattr(tree_energy, "tree_ancestors", lambda _: on_device)
        assert LOSSES[name](given).is_cuda


@pytest.mark.parametrize("name", ["partial", "candidate", "absent"])
def test_padding_changes_nothing(name):
    given = batch()
    given["logits"].requires_grad_()

    def frame(x):
        value = 255 if x is given["mask"] else 0
        return F.pad(x, (7, 7, 7, 7), value=value) if x.shape[-1] == SIZE else x

    padded = {part: frame(x) for part, x in given.items()}
    losses = [LOSSES[name](x) for x in (given, padded)]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, given["logits"])[0] for loss in losses]
    torch.testing.assert_close(*gradients)


# Dynamo itself asks tensors for it where a graph ends.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_compiled_losses_are_the_same(name):
    torch.compiler.reset()
    compiled = torch.compile(LOSSES[name], backend="aot_eager", fullgraph=name != "tree")
    results = []
    for loss_of in (LOSSES[name], compiled):
        given = batch()
        learnt = [given[part].requires_grad_() for part in LEARNT]
        loss = loss_of(given)
        gradients = torch.autograd.grad(loss, learnt, allow_unused=True, materialize_grads=True)
        results.append([loss.detach(), *gradients])
    torch.testing.assert_close(*results)
