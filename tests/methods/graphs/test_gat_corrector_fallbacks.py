"""GATCorrector where there is little or nothing to learn from, one case after the other."""

import logging

import numpy as np
import pytest
import torch

import wsss_zoo.methods.graphs.gat_corrector as module
from tests.each import each
from tests.methods.region_samples import (
    CELL,
    CHANNELS,
    SIZE,
    corrector,
    nothing_clean,
    predicted,
    same,
    sample,
)
from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.files.region_graphs import RegionGraph


@each("options", [{}, {"balance": True}, {"use_probs": True, "layer": "gcn"}])
def test_a_batch_without_clean_regions_has_loss_zero(options):
    method = corrector(**options)
    loss = method.training_step(collate_graphs([nothing_clean("a"), nothing_clean("bb")]), 0)
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in method.parameters())
    assert method.logged["train/node_acc"] == method.logged["train/clean_nodes"] == 0


@pytest.mark.parametrize("options", [{"mode": "per_image"}, {"fill": "nearest"}])
def test_without_clean_regions_an_image_gets_the_clean_networks_prediction(options, caplog):
    one = nothing_clean("a")
    with caplog.at_level(logging.INFO):
        (output,) = predicted(corrector(**options), one)
    assert torch.equal(output["preds"][0], one["prediction"])
    assert "a: no clean region" in caplog.text
    # Few clean pixels, in no region enough of them: these stay.
    clean = one["clean"].numpy().copy()
    clean[::CELL, ::CELL] = True
    few = sample("a", clean=clean & (one["label"].numpy() != 255))
    (output,) = predicted(corrector(**options), few)
    expected = torch.where(few["clean"], few["label"], few["prediction"])
    assert torch.equal(output["preds"][0], expected)


def test_without_clean_regions_the_shared_network_labels_an_image():
    one, method = nothing_clean("a"), corrector()
    (output,) = predicted(method, one)
    nodes = method(collate_graphs([one])["graph"]).argmax(1)
    assert torch.equal(output["preds"][0], nodes[one["segments"]])


def test_one_clean_class_and_nothing_to_seed(caplog):
    # The label nowhere says what is tagged.
    label = np.zeros((SIZE, SIZE), np.uint8)
    clean = np.zeros((SIZE, SIZE), bool)
    clean[:CELL] = True
    one = sample("a", (1, 2), label=label, clean=clean)
    with caplog.at_level(logging.INFO):
        (output,) = predicted(corrector(mode="per_image"), one)
    assert (output["preds"] == 0).all()
    assert (output["confidence"] == 1).all()
    assert "a: its clean regions have one class" in caplog.text


def test_a_tagged_class_without_clean_region_is_seeded(monkeypatch):
    label = np.zeros((SIZE, SIZE), np.uint8)
    label[4:8], label[12:20] = 1, 2
    clean = label != 2
    loss = np.ones(36, np.float32)
    loss[23], loss[0] = 0.1, 0.0
    one = sample("a", (1, 2), label=label, clean=clean, loss=loss)
    seen = []
    original = module.fit_to_image

    def spy(*args):
        seen.append(args[4].clone())
        return original(*args)

    monkeypatch.setattr(module, "fit_to_image", spy)
    (output,) = predicted(corrector(mode="per_image", steps=60, dropout=0.0, lr=0.05), one)
    assert seen[0][18:30].tolist() == [255] * 5 + [2] + [255] * 6
    assert (output["preds"][0][one["segments"] == 23] == 2).all()
    (nearest,) = predicted(corrector(fill="nearest"), one)
    assert (nearest["preds"][0][one["segments"] == 23] == 2).all()


@each("options", [{}, {"mode": "per_image"}, {"fill": "nearest"}])
def test_labels_of_255_alone(options):
    unknown = np.full((SIZE, SIZE), 255, np.uint8)
    clean, loss = np.zeros(unknown.shape, bool), np.full(36, np.inf, np.float32)
    one = sample("a", label=unknown, clean=clean, loss=loss)
    (output,) = predicted(corrector(**options), one)
    if options:
        assert torch.equal(output["preds"][0], one["prediction"])
    method = corrector()
    assert method.training_step(collate_graphs([one]), 0) == 0
    assert method.training_step(collate_graphs([one, sample("bb")]), 0) > 0


def test_labels_that_the_tags_exclude_do_not_count():
    label = np.full((SIZE, SIZE), 3, np.uint8)
    label[:8] = 1
    one = sample("a", (1,), label=label, clean=np.ones((SIZE, SIZE), bool))
    for options in ({}, {"mode": "per_image", "steps": 3}, {"fill": "nearest"}):
        predicted(corrector(**options), one)
    method = corrector()
    loss = method.training_step(collate_graphs([one]), 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
    assert method.logged["train/clean_nodes"] == pytest.approx(1 / 3)


def test_an_image_without_tags_is_background():
    one = sample("a", ())
    for options in ({}, {"mode": "per_image"}, {"crf": True}):
        (output,) = predicted(corrector(**options), one)
        assert (output["preds"] == 0).all()
        assert (output["confidence"] == 1).all()


@each("options", [{}, {"mode": "per_image", "steps": 3}, {"fill": "nearest"}])
@each("clean", [True, False])
def test_images_of_one_region(options, clean):
    one = nothing_clean("a")
    graph = RegionGraph(
        segments=np.zeros((1, 3), np.int32),
        x=np.ones((1, CHANNELS), np.float32),
        probs=np.array([[0.4, 0.6, 0, 0]], np.float32),
        edge_index=np.zeros((2, 0), np.int64),
        kept=np.zeros(0, bool),
        counts=np.array([[1, 2, 0, 0]], np.int32),
        clean_counts=np.array([[0, 2 * clean, 0, 0]], np.int32),
        loss=np.ones(1, np.float32),
        label=np.array([[0, 1, 1]], np.uint8),
        clean=np.array([[False, clean, clean]]),
        prediction=np.ones((1, 3), np.uint8),
    )
    maps = {n: torch.from_numpy(getattr(graph, n)).long() for n in ("segments", "label")}
    maps |= {"prediction": torch.from_numpy(graph.prediction).long()}
    one |= maps | {"graph": graph_data(graph, one["image_labels"]), "image": torch.rand(3, 1, 3)}
    one |= {"clean": torch.from_numpy(graph.clean)}
    for crf in (False, True):
        predicted(corrector(**options, crf=crf), one)
    loss = corrector().training_step(collate_graphs([one]), 0)
    assert torch.isfinite(loss)
    assert (loss > 0) == clean


def test_half_precision_features():
    half = sample("a")
    single = sample("a")
    half["graph"].x = half["graph"].x.half()
    single["graph"].x = half["graph"].x.float()
    for options in ({}, {"mode": "per_image", "steps": 3}, {"fill": "nearest"}):
        first, second = predicted(corrector(**options), half, single)
        assert same(first, second)
    batches = [collate_graphs([one]) for one in (half, single)]
    losses = [corrector(dropout=0.0).training_step(batch, 0) for batch in batches]
    assert losses[0] == losses[1]
    assert losses[0].dtype == torch.float32
