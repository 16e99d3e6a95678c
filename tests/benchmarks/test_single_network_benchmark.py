"""Steps of the methods with one network and one view, and the metrics, against what is barest."""

from functools import partial
from time import process_time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_confusion_matrix

from tests.benchmarks.step_ratio import step_ratio
from tests.data.graph_folders import grid_graph
from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.functional import class_targets, confusion_matrix
from wsss_zoo.methods import CAM, GATCorrector, MaskFormer, Supervised
from wsss_zoo.methods.proposal_losses import match_layers

BACKBONE, CLASSES, CROP, BATCH = "tf_efficientnet_lite0", 7, 160, 8


def quiet(method):
    method.train().log = method.log_dict = lambda *_, **__: None
    return method


def images():
    return {
        "image": torch.rand(BATCH, 3, CROP, CROP),
        "mask": torch.randint(3, (BATCH, CROP // 32, CROP // 32))
        .repeat_interleave(32, 1)
        .repeat_interleave(32, 2),
        "image_labels": torch.randint(2, (BATCH, CLASSES - 1)).float(),
    }


def cam():
    method, batch = quiet(CAM(CLASSES, BACKBONE)), images()

    def bare():
        scores = method.classifier(method.backbone(batch["image"])[-1].mean((2, 3)))
        return F.binary_cross_entropy_with_logits(scores, batch["image_labels"])

    return method, batch, bare


def supervised(**options):
    method, batch = quiet(Supervised(CLASSES, BACKBONE, **options)), images()
    return method, batch, lambda: F.cross_entropy(method.network(batch["image"]), batch["mask"])


def mask_former():
    method = quiet(MaskFormer(CLASSES, "resnet18", queries=20))
    batch = images()

    def bare():
        proposals = method.model(batch["image"])
        match_layers(proposals, batch["mask"], class_targets(batch["mask"], CLASSES))
        return sum(value.square().mean() for value in proposals)

    return method, batch, bare


def gat_corrector():
    graph = grid_graph((256, 64), (64, 16), channels=512, classes=21)
    samples = [{"graph": graph_data(graph, torch.ones(20)), "image_id": name} for name in "abcd"]
    method, batch = quiet(GATCorrector(21, in_channels=512)), collate_graphs(samples)
    regions = batch["graph"]
    labels = regions.clean_counts.argmax(1)

    def bare():
        logits = method.corrector(regions.x, regions.edge_index, regions.kept)
        return F.cross_entropy(logits, labels)

    return method, batch, bare


METHODS = {
    "CAM": cam,
    "Supervised": supervised,
    # Fewer than the batch's 204,800 pixels, so that there is something to choose.
    "Supervised, OHEM": partial(supervised, loss="ohem", ohem_min_kept=50_000),
    "Supervised, LargeFOV": partial(supervised, architecture="largefov"),
    "Supervised, U-Net": partial(supervised, architecture="unet"),
    "MaskFormer, with matching": mask_former,
    "GATCorrector": gat_corrector,
}


@pytest.mark.benchmark
@pytest.mark.parametrize("name", METHODS)
def test_a_step_takes_at_most_a_tenth_more_than_its_pass(name, benchmark, measured):
    torch.manual_seed(0)
    method, batch, bare = METHODS[name]()
    ratio = step_ratio(benchmark, lambda: method.training_step(batch, 0), bare)
    measured("step / pass", ratio, at_most=1.1)


@pytest.mark.benchmark
def test_confusion_matrix_against_torchmetrics(measured):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    preds, target = torch.randint(21, (2, 375, 500))
    target[:20] = 255
    seconds = []
    for _ in range(9):
        start = process_time()
        ours = confusion_matrix(preds, target, 21)
        middle = process_time()
        theirs = multiclass_confusion_matrix(preds, target, 21, ignore_index=255)
        seconds.append((middle - start, process_time() - middle))
    torch.set_num_threads(threads)
    assert torch.equal(ours, theirs)
    ours, theirs = np.median(seconds, axis=0)
    measured("confusion matrix of an image / torchmetrics'", ours / theirs, at_most=1)
