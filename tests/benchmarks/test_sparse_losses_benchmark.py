"""Losses of sparse labels against a plain training step, and against their plain forms.

4 crops of 160, 7 classes, scores and 256 channels of features at stride 4.
"""

import pytest
import torch
import torch.nn.functional as F

from tests.benchmarks.step_ratio import step_ratio
from wsss_zoo.functional import (
    absent_class_loss,
    box_projection_loss,
    candidate_cross_entropy,
    color_pair_loss,
    dense_energy_loss,
    gated_crf_loss,
    gaussian_mixture_loss,
    partial_cross_entropy,
    tree_energy_loss,
)
from wsss_zoo.methods import Supervised

N, C, SIZE, GRID, D = 4, 7, 160, 40, 256
ROUNDS = 8


def smooth(*shape, size=SIZE):
    """Maps that change slowly, as those of photographs do."""
    coarse = torch.rand(N, *shape, size // 8, size // 8)
    return F.interpolate(coarse, (size, size), mode="bilinear").clamp(0, 1)


@pytest.fixture(scope="module")
def given():
    torch.manual_seed(0)
    mask = torch.randint(C, (N, SIZE, SIZE))
    mask[torch.rand(mask.shape) > 0.03] = 255
    possible = torch.rand(N, C, 1, 1) > 0.5
    possible[:, 0] = True
    return {
        "image": smooth(3),
        "mask": mask,
        "possible": possible,
        "logits": torch.randn(N, C, SIZE, SIZE, requires_grad=True),
        "small": torch.randn(N, C, GRID, GRID, requires_grad=True),
        "features": torch.rand(N, D, GRID, GRID, requires_grad=True),
        "embedding": torch.randn(N, D, GRID, GRID, requires_grad=True),
    }


def partial_and_candidates(x):
    partial = partial_cross_entropy(x["logits"], x["mask"])
    return partial + candidate_cross_entropy(x["logits"], x["possible"])


def absent(x):
    return absent_class_loss(x["logits"], x["possible"][..., 0, 0])


def mixture(x):
    return gaussian_mixture_loss(x["logits"], x["features"], x["mask"])


def gated_crf(x):
    return gated_crf_loss(x["small"].softmax(1), x["image"])


def gated_crf_at_full_size(x):
    return gated_crf_loss(x["logits"].softmax(1), x["image"])


def tree_energy(x):
    probs, unlabeled = x["small"].softmax(1), x["mask"] == 255
    return tree_energy_loss(probs, x["image"], x["embedding"], unlabeled)


def dense_energy(x, cells=20):
    probs = F.adaptive_avg_pool2d(x["small"].softmax(1), cells)
    image = F.adaptive_avg_pool2d(x["image"], cells)
    return dense_energy_loss(probs, image, sigma_rgb=15 / 255, sigma_xy=100 * cells / SIZE)


def dense_energy_at_40(x):
    return dense_energy(x, GRID)


def boxes(x):
    probs, lab = x["small"].softmax(1), 100 * F.adaptive_avg_pool2d(x["image"], GRID)
    inside = torch.zeros(N, GRID, GRID, dtype=torch.bool)
    inside[:, 10:30, 10:30] = True
    return color_pair_loss(probs, lab, inside) + box_projection_loss(probs[:, 1], inside)


# The bounds are what the losses may cost; forms that are too slow for training have none.
BOUNDS = {
    partial_and_candidates: 0.05,
    absent: 0.05,
    mixture: 0.3,
    gated_crf: 0.08,
    gated_crf_at_full_size: None,
    tree_energy: 0.2,
    dense_energy: 0.1,
    dense_energy_at_40: None,
    boxes: 0.05,
}


@pytest.mark.benchmark
@pytest.mark.parametrize("loss", BOUNDS, ids=lambda loss: loss.__name__)
def test_share_of_a_plain_step(loss, given, benchmark, measured):
    torch.manual_seed(0)
    plain = Supervised(C, "tf_efficientnet_lite0", freeze_backbone_bn=True).train()
    plain.log = lambda *_, **__: None
    batch = {"image": given["image"], "mask": torch.randint(C, (N, SIZE, SIZE))}
    ratio = step_ratio(
        benchmark, lambda: loss(given), lambda: plain.training_step(batch, 0), ROUNDS
    )
    measured("loss / plain step", ratio, at_most=BOUNDS[loss])


def resized_mixture(x):
    """The mixture with features resized to the mask and one difference per class."""
    mask, features = x["mask"], x["features"]
    full = F.interpolate(features, (SIZE, SIZE), mode="bilinear")
    planes = F.one_hot(mask.clamp_max(C), C + 1)[..., :C].permute(0, 3, 1, 2).float()
    count = planes.sum((2, 3))
    centers = torch.einsum("nkhw,ndhw->nkd", planes, full) / count.clamp_min(1)[..., None]
    distance = (features[:, None] - centers[..., None, None]).abs().mean(2)
    response = F.interpolate((-(distance**2)).exp(), (SIZE, SIZE), mode="bilinear")
    probs, share = x["logits"].softmax(1), 1 / (C + 1e-6)

    def entropy(t, p):
        return -(t * (p + 1e-6).log() + (1 - t) * (1 - p + 1e-6).log()).sum(1) * share / 2

    fit = entropy(planes, response)[mask != 255].mean()
    sums = centers.sum(0)
    apart = (sums[:, None] - sums).abs().mean(2)[tuple(torch.triu_indices(C, C, 1))]
    return entropy(response, probs).mean() + fit + (-(apart**2)).exp().mean()


def unfolded_crf(x, radius=5):
    """The gated CRF with unfolded windows of the whole neighbourhood."""
    probs, side = x["small"].softmax(1), 2 * radius + 1
    image = F.avg_pool2d(x["image"], SIZE // GRID)
    places = torch.stack(torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij"))
    vectors = torch.cat([image / 0.0225, places.expand(N, 2, GRID, GRID) / 6.0], 1)
    window = {"kernel_size": side, "padding": radius}

    def windows(maps):
        return F.unfold(maps, **window).view(N, maps.shape[1], side**2, GRID, GRID)

    kernel = (-(windows(vectors) - vectors[:, :, None]).square().sum(1) / 2).exp()
    kernel = kernel * windows(torch.ones(N, 1, GRID, GRID))[:, 0]
    kernel[:, side**2 // 2] = 0
    disagreement = 1 - (windows(probs) * probs[:, :, None]).sum(1)
    return (kernel * disagreement).sum() / (N * GRID**2)


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("loss", "plain", "bound"),
    [(mixture, resized_mixture, 0.5), (gated_crf, unfolded_crf, 0.25)],
    ids=["mixture", "gated_crf"],
)
def test_share_of_the_plain_form(loss, plain, bound, given, benchmark, measured):
    torch.testing.assert_close(loss(given), plain(given), rtol=1e-4, atol=0)
    ratio = step_ratio(benchmark, lambda: loss(given), lambda: plain(given), rounds=5)
    measured("loss / plain form", ratio, at_most=bound)
