"""The whole correction on made-up noise: each of its parts is worth something.

Scenes with known masks are corrupted as class activation maps are wrong (blown up, eroded, of the
wrong class, with spots), a network that knows a few true masks is simulated, ten images set the
threshold and the others are corrected.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.color import rgb2lab
from torch import Tensor

import wsss_zoo.methods.graphs.gat_corrector as module
from wsss_zoo.data.sets import SHAPES_CLASSES, shapes_scene
from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.files.region_graphs import RegionGraph
from wsss_zoo.functional import (
    clean_pixels,
    confusion_matrix,
    gate_by_tags,
    kept_edges,
    label_loss,
    mean_iou,
    noise_threshold,
    pool_regions,
    region_adjacency,
    superpixels,
    vote,
    vote_counts,
)
from wsss_zoo.methods import GATCorrector

CLASSES, SIZE, STRONG, WEAK = len(SHAPES_CLASSES), 128, 10, 8
PRECISION = 0.97
STRIDE = 8


class Picture(NamedTuple):
    """An image, its true and its noisy label, and what the clean network says of it."""

    image: np.ndarray
    mask: np.ndarray
    label: np.ndarray
    tags: Tensor
    logits: Tensor


def spots(rng, share):
    """Blobs that cover this share of the image."""
    field = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 6)
    return field > np.quantile(field, 1 - share)


def corrupted(mask, rng):
    present = np.unique(mask)
    label = mask.copy()
    for value in present[present > 0]:
        disk = np.hypot(*np.indices((17, 17)) - 8) <= rng.integers(3, 9)
        where = mask == value
        if rng.random() < 0.5:
            label[ndimage.binary_dilation(where, disk)] = value
        else:
            rim = where & ~ndimage.binary_erosion(where, disk)
            label[rim] = rng.choice(present[present != value])
        parts, count = ndimage.label(label == value)
        for part in range(1, count + 1):
            if rng.random() < 0.1:
                label[parts == part] = rng.choice(present)
    label[spots(rng, 0.12)] = rng.choice(present[present > 0])
    return label


def simulated_network(mask, rng):
    """Logits that are about right: coarse, with spots of their own, and noise."""
    seen = mask.copy()
    seen[spots(rng, 0.06)] = rng.choice(np.unique(mask))
    one_hot = F.one_hot(torch.from_numpy(seen).long(), CLASSES).permute(2, 0, 1).float()
    probs = F.avg_pool2d(one_hot[None], STRIDE)
    noise = torch.from_numpy(rng.standard_normal(probs.shape)).float()
    logits = (probs + 0.02).log() + 0.7 * noise
    return F.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=False)


@cache
def pictures():
    rng = np.random.default_rng(0)
    result = []
    for index in range(STRONG + WEAK):
        image, mask = shapes_scene(0, index, SIZE)
        tags = torch.tensor([float((mask == c).any()) for c in range(1, CLASSES)])
        logits = gate_by_tags(simulated_network(mask, rng), tags[None])
        result.append(Picture(image, mask, corrupted(mask, rng), tags, logits))
    return result[:STRONG], result[STRONG:]


def losses_of(picture, label):
    return label_loss(picture.logits, torch.from_numpy(label).long()[None])[0]


@cache
def threshold():
    strong, _ = pictures()
    losses = torch.cat([losses_of(p, p.label).flatten() for p in strong])
    right = np.concatenate([(p.label == p.mask).ravel() for p in strong])
    return noise_threshold(losses, torch.from_numpy(right), PRECISION)


def features(image):
    """Colour, texture and position of each pixel, (24, H, W)."""
    lab = rgb2lab(image).transpose(2, 0, 1) / 30
    maps = [*np.indices((SIZE, SIZE)) / SIZE * 2]
    for sigma in (1, 3):
        blurred = [ndimage.gaussian_filter(channel, sigma) for channel in lab]
        spread = [
            np.sqrt(np.maximum(ndimage.gaussian_filter(c**2, sigma) - b**2, 0))
            for c, b in zip(lab, blurred, strict=True)
        ]
        edges = [ndimage.gaussian_gradient_magnitude(c, sigma) for c in lab]
        maps += blurred + spread + edges
    maps += [*lab, np.ones((SIZE, SIZE))]
    return torch.from_numpy(np.stack(maps)).float()


@cache
def regions(index):
    """What does not depend on the labels: superpixels, features, edges."""
    image = pictures()[1][index].image
    segments = torch.from_numpy(superpixels(image, 250, backend="skimage"))
    x = pool_regions(features(image), segments)
    edges = region_adjacency(segments)
    return segments, x, edges, kept_edges(x, edges)


def batch_of(index, label, clean=None, shuffle=False):
    picture = pictures()[1][index]
    segments, x, edges, kept = regions(index)
    if shuffle:
        x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(index))]
    given = torch.from_numpy(label).long()
    losses = losses_of(picture, label)
    if clean is None:
        clean = clean_pixels(losses, given, threshold())
    seen = torch.where(clean, given, 255)
    probs = picture.logits[0].softmax(0)
    graph = RegionGraph(
        segments=segments.numpy().astype(np.int32),
        x=x.numpy(),
        probs=pool_regions(probs, segments).numpy(),
        edge_index=edges.numpy(),
        kept=kept.numpy(),
        counts=vote_counts(given, segments, CLASSES).numpy().astype(np.int32),
        clean_counts=vote_counts(seen, segments, CLASSES).numpy().astype(np.int32),
        loss=pool_regions(losses.clamp_max(50)[None], segments)[:, 0].numpy(),
        label=label,
        clean=clean.numpy(),
        prediction=probs.argmax(0).numpy().astype(np.uint8),
    )
    sample = {
        "graph": graph_data(graph, picture.tags),
        "image_id": f"image {index}",
        "image": torch.from_numpy(picture.image).permute(2, 0, 1).float() / 255,
        "segments": segments,
        "label": given,
        "clean": clean,
        "prediction": probs.argmax(0),
    }
    return collate_graphs([sample])


def quality(labels):
    """mIoU of label maps of the weak images."""
    confusion = sum(
        confusion_matrix(torch.as_tensor(label), torch.from_numpy(picture.mask), CLASSES)
        for label, picture in zip(labels, pictures()[1], strict=True)
    )
    return mean_iou(confusion)


def corrected(batches, **options):
    defaults = {"mode": "per_image", "dropout": 0.3, "lr": 0.01, "steps": 60, "heads": 4}
    method = GATCorrector(CLASSES, 24, **(defaults | options)).eval()
    with torch.inference_mode():
        return [method.predict_step(batch, 0)["preds"][0] for batch in batches]


@pytest.fixture(scope="module", autouse=True)
def networks():
    """Labels of the same regions are learnt once, whatever is done with them afterwards."""
    kept, fit = {}, module.fit_to_image

    def remembered(make, optimizer, x, edges, labels, *options):
        key = (x.sum().item(), edges.shape[1], labels.numpy().tobytes(), options)
        if key not in kept:
            kept[key] = fit(make, optimizer, x, edges, labels, *options)
        return kept[key]

    module.fit_to_image = remembered
    yield
    module.fit_to_image = fit


@cache
def noisy():
    return [batch_of(index, picture.label) for index, picture in enumerate(pictures()[1])]


@cache
def corrected_quality(**options):
    """mIoU of the noisy labels after correction with these options."""
    return quality(corrected(noisy(), **options))


@cache
def noisy_quality():
    return quality([picture.label for picture in pictures()[1]])


def majorities(labels):
    """Every region with the most frequent of its labels: of true ones, what regions can reach."""
    segments = [regions(index)[0] for index in range(WEAK)]
    return [
        vote(torch.from_numpy(label).long(), where, CLASSES, quorum=0.0)[where]
        for label, where in zip(labels, segments, strict=True)
    ]


def test_what_is_called_clean_is_right():
    right = clean = every = 0
    for batch, picture in zip(noisy(), pictures()[1], strict=True):
        is_correct = batch["label"][0] == torch.from_numpy(picture.mask)
        right += (is_correct & batch["clean"][0]).sum()
        clean += batch["clean"].sum()
        every += is_correct.numel()
    assert right / clean >= PRECISION - 0.03
    assert clean / every > 0.5


def test_correction_gains_more_than_regions_alone():
    gained = corrected_quality() - noisy_quality()
    assert gained > 0.1
    smoothed = quality(majorities([picture.label for picture in pictures()[1]]))
    assert corrected_quality() > smoothed + 0.1
    assert corrected_quality(layer="gcn") > noisy_quality() + 0.1


@pytest.mark.slow
def test_detection_is_worth_something():
    assert corrected_quality() > corrected_quality(detection=False) + 0.05
    # Not only because clean labels are kept.
    assert corrected_quality(write_back="all") > corrected_quality(detection=False) + 0.03


def test_keeping_what_is_clean_is_worth_something():
    replaced = corrected_quality(write_back="all")
    assert corrected_quality() > replaced + 0.01
    # Over draws of the noise the two are equal within a point.
    assert corrected_quality(write_back="keep_nodes") > replaced - 0.01


def test_true_labels_stay_as_far_as_regions_allow():
    masks = [picture.mask for picture in pictures()[1]]
    batches = [batch_of(index, mask) for index, mask in enumerate(masks)]
    best = majorities(masks)
    assert quality(corrected(batches)) >= quality(best)
    nodes = corrected(batches, write_back="keep_nodes")
    changed = np.mean([(a != b).float().mean().item() for a, b in zip(nodes, best, strict=True)])
    assert changed < 0.03


def test_features_of_other_regions_lose_the_gain():
    labels = [picture.label for picture in pictures()[1]]
    batches = [batch_of(index, label, shuffle=True) for index, label in enumerate(labels)]
    shuffled = quality(corrected(batches, write_back="all"))
    assert shuffled < corrected_quality(write_back="all") - 0.03


@pytest.mark.slow
def test_pixels_called_clean_at_random_lose_the_gain():
    batches = []
    for index, picture in enumerate(pictures()[1]):
        share = noisy()[index]["clean"].float().mean()
        generator = torch.Generator().manual_seed(index)
        clean = torch.rand(SIZE, SIZE, generator=generator) < share
        batches.append(batch_of(index, picture.label, clean))
    gained = quality(corrected(batches)) - noisy_quality()
    assert gained < 0.3 * (corrected_quality() - noisy_quality())
