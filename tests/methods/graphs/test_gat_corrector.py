"""GATCorrector: what it learns, one image like another, options, a (fake) GPU."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.each import each
from tests.methods.region_samples import (
    CHANNELS,
    CLASSES,
    SIZE,
    accuracy,
    corrector,
    predicted,
    same,
    sample,
)
from wsss_zoo.data.supervision.graphs import collate_graphs
from wsss_zoo.functional import majority, write_back
from wsss_zoo.methods import GATCorrector
from wsss_zoo.modules import Evaluation

# Lightning's hints on loaders and on what has no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


@pytest.mark.parametrize("layer", ["gat", "gcn"])
def test_shared_learns_to_correct_and_predicts_the_same_after_reload(layer, trainer, tmp_path):
    samples = [sample("a"), sample("bb", (1, 3)), sample("ccc", (2,)), sample("dddd", (3, 2))]
    torch.manual_seed(0)
    options = {"in_channels": CHANNELS, "layer": layer, "dropout": 0.2, "lr": 0.02}
    learner = GATCorrector(CLASSES, **options)
    batches = [collate_graphs(samples[:3])] * 60
    # An image never seen, with classes that were.
    unseen = [collate_graphs([one]) for one in samples]
    fit = trainer(max_steps=60)
    fit.fit(learner, torch.utils.data.DataLoader(batches, batch_size=None))
    assert fit.callback_metrics["train/node_acc"] > 0.9
    assert 0.2 < fit.callback_metrics["train/clean_nodes"] < 0.8
    outputs = fit.predict(learner, torch.utils.data.DataLoader(unseen, batch_size=None))
    for output, one in zip(outputs, samples, strict=True):
        noisy = (one["label"] == one["truth"]).float().mean()
        assert accuracy(output, one) > max(0.9, noisy + 0.1)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    again = GATCorrector.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.hparams == learner.hparams
    for output, one in zip(outputs, predicted(again, *samples), strict=True):
        assert same(output, one)
    started = GATCorrector(CLASSES, **options, init_from=str(tmp_path / "last.ckpt"))
    assert same(predicted(started, samples[0])[0], outputs[0])


@pytest.mark.parametrize("layer", ["gat", "gcn"])
def test_per_image_corrects_whatever_the_order_and_the_generator(layer):
    samples = [sample("a"), sample("bb", (1, 3)), sample("ccc", (2,))]
    options = {"mode": "per_image", "layer": layer, "dropout": 0.2, "lr": 0.02, "steps": 40}
    outputs = predicted(corrector(**options), *samples)
    for output, one in zip(outputs, samples, strict=True):
        assert accuracy(output, one) > 0.9
    method = corrector(**options)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    backwards = predicted(method, *samples[::-1])[::-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(same(one, other) for one, other in zip(outputs, backwards, strict=True))
    assert same(predicted(corrector(**options), samples[1])[0], outputs[1])


def test_per_image_follows_the_seed(monkeypatch):
    one = sample()
    options = {"mode": "per_image", "steps": 3, "write_back": "all"}
    (first,) = predicted(corrector(**options), one)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert not same(first, predicted(corrector(**options), one)[0])
    renamed = one | {"image_id": "b"}
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert not same(first, predicted(corrector(**options), renamed)[0])


@each("prune", [True, False])
@each("use_probs", [True, False])
@each("balance", [True, False])
def test_loss_is_what_it_says(prune, use_probs, balance):
    method = corrector(prune=prune, use_probs=use_probs, balance=balance, dropout=0.0)
    samples = [sample("a"), sample("bb", (3,))]
    terms = []
    method.train()
    loss = method.training_step(collate_graphs(samples), 0)
    rights = regions = 0
    method.eval()
    for one in samples:
        graph = one["graph"]
        edges = graph.edge_index[:, graph.kept] if prune else graph.edge_index
        x = torch.cat([graph.x, graph.probs], 1) if use_probs else graph.x
        logits = method.corrector(x, edges)
        labels = majority(graph.clean_counts, graph.sizes, 0.5)
        present = [0, *(one["image_labels"].nonzero().flatten() + 1).tolist()]
        for i in (labels != 255).nonzero().flatten().tolist():
            scores = logits[i, present]
            target = present.index(labels[i].item())
            terms.append((labels[i].item(), -scores.log_softmax(0)[target]))
            rights += scores.argmax().item() == target
        regions += len(labels)
    values = torch.stack([term for _, term in terms])
    expected = values.mean()
    if balance:
        by_class = [torch.stack([v for c, v in terms if c == k]) for k, _ in dict(terms).items()]
        expected = torch.stack([one.mean() for one in by_class]).mean()
    torch.testing.assert_close(loss, expected)
    assert method.logged["train/loss"] == loss
    assert method.logged["train/node_acc"] == pytest.approx(rights / len(terms))
    assert method.logged["train/clean_nodes"] == pytest.approx(len(terms) / regions)


def test_without_detection_all_labels_teach_and_none_is_kept():
    one = sample()
    method = corrector(detection=False, write_back="keep_pixels")
    graph = collate_graphs([one])["graph"]
    expected = majority(graph.counts, graph.sizes, 0.5)
    assert torch.equal(method.node_labels(graph), expected)
    (output,) = predicted(method, one)
    nodes = method(graph).argmax(1)
    assert torch.equal(output["preds"][0], nodes[one["segments"]])


@pytest.mark.parametrize("rule", ["all", "keep_nodes", "keep_pixels"])
def test_write_back_and_confidence(rule):
    one = sample()
    method = corrector(write_back=rule)
    (output,) = predicted(method, one)
    graph = collate_graphs([one])["graph"]
    with torch.no_grad():
        probs = method(graph).softmax(1)
    votes, nodes = method.node_labels(graph), probs.argmax(1)
    maps = one["segments"], one["label"], one["clean"]
    assert torch.equal(output["preds"][0], write_back(nodes, votes, *maps, rule))
    kept = torch.zeros_like(one["clean"])
    if rule != "all":
        kept = (votes != 255)[one["segments"]]
    if rule == "keep_pixels":
        kept = kept | one["clean"]
    expected = torch.where(kept, 1.0, probs.amax(1)[one["segments"]])
    torch.testing.assert_close(output["confidence"][0], expected)
    # Over-ruled regions have the same pixels as before.
    assert kept.any() == (rule != "all")


@pytest.mark.parametrize("fill", ["nearest", "clean_net"])
@each("detection", [True, False])
def test_baselines_learn_nothing(fill, detection):
    one = sample()
    method = corrector(fill=fill, detection=detection)
    assert list(method.parameters()) == []
    (output,) = predicted(method, one)
    if fill == "nearest":
        assert accuracy(output, one) > 0.5
        return
    expected = one["prediction"]
    if detection:
        votes = method.node_labels(collate_graphs([one])["graph"])[one["segments"]]
        expected = torch.where(votes == 255, expected, votes)
        expected = torch.where(one["clean"], one["label"], expected)
    assert torch.equal(output["preds"][0], expected)


def test_crf_starts_from_what_is_capped(monkeypatch):
    one = sample("a", (1, 3))
    given = []

    def crf(probs, image, **options):
        given.append((probs, image, options))
        return probs[::-1].copy()

    monkeypatch.setattr("wsss_zoo.methods.graphs.region_painting.dense_crf", crf)
    (plain,) = predicted(corrector(), one)
    (output,) = predicted(corrector(crf=True, crf_cap=0.8, crf_weight=2.5), one)
    ((probs, image, options),) = given
    assert options["bilateral_weight"] == 2.5
    assert probs.shape == (3, SIZE, SIZE)
    assert probs.max() == pytest.approx(0.8)
    np.testing.assert_allclose(probs.sum(0), 1, atol=1e-6)
    present = torch.tensor([0, 1, 3])
    assert torch.equal(present[torch.from_numpy(probs.argmax(0))], plain["preds"][0])
    expected = (one["image"].permute(1, 2, 0) * 255).round().to(torch.uint8)
    assert np.array_equal(image, expected.numpy())
    assert torch.equal(output["preds"][0], present[torch.from_numpy(probs[::-1].argmax(0).copy())])


def test_crf_moves_labels_to_the_edges_of_the_image():
    one = sample("a", (1,))
    one["image"] = (one["truth"] == 1).float().expand(3, -1, -1).contiguous()
    (plain,) = predicted(corrector(fill="nearest"), one)
    (refined,) = predicted(corrector(fill="nearest", crf=True), one)
    assert accuracy(refined, one) >= accuracy(plain, one)
    assert refined["confidence"].max() <= 1


@pytest.mark.parametrize("layer", ["gat", "gcn"])
def test_autocast_changes_nothing(layer):
    batch = collate_graphs([sample("a"), sample("bb")])
    method = corrector(layer=layer, dropout=0.0)
    expected = method.training_step(batch, 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.training_step(batch, 0)
        (one,) = predicted(corrector(mode="per_image", layer=layer, steps=3), sample("a"))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    assert same(one, predicted(corrector(mode="per_image", layer=layer, steps=3), sample("a"))[0])


@each(
    ("options", "message"),
    [
        ({"mode": "each"}, "mode is 'each'; give 'per_image' or 'shared'"),
        ({"fill": "far"}, "fill is 'far'"),
        ({"write_back": "some"}, "write_back is 'some'"),
        ({"layer": "gin"}, "layer is 'gin'"),
        ({"layer": "gin", "mode": "per_image"}, "layer is 'gin'"),
        ({"steps": 0}, "steps is 0"),
        ({"quorum": 1.5}, "quorum is 1.5"),
        ({"crf_cap": 0.5}, "crf_cap is 0.5"),
        ({"mode": "per_image", "init_from": "x.ckpt"}, "there is no network to start"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        corrector(**options)


def stage(method, name, **data):
    method._trainer = SimpleNamespace(datamodule=SimpleNamespace(**data))
    method.setup(name)


def test_what_there_is_to_run(monkeypatch):
    for options in ({"mode": "per_image"}, {"fill": "nearest"}, {"fill": "clean_net"}):
        with pytest.raises(ValueError, match="has nothing to fit; run predict straight away"):
            stage(corrector(**options), "fit")
        stage(corrector(**options), "predict", graph_channels=9)
    for name in ("validate", "test"):
        with pytest.raises(ValueError, match=f"there is nothing to {name}; run predict"):
            stage(corrector(), name)
    stage(corrector(), "fit", graph_channels=CHANNELS)
    message = (
        "in_channels 6, but the features of the graphs have length 9; give model.in_channels 9"
    )
    with pytest.raises(ValueError, match=message):
        stage(corrector(), "fit", graph_channels=9)
    with pytest.raises(ValueError, match="num_classes 4, but SimpleNamespace has 5"):
        stage(corrector(), "predict", num_classes=5)
    other = corrector()
    other.evaluation = Evaluation(crf=True)
    with pytest.raises(ValueError, match=r"GATCorrector reads graphs; leave it out .*model\.crf"):
        stage(other, "predict")


def test_labels_of_other_graphs_or_another_seed_are_others(tmp_path, monkeypatch):
    def settings(**options):
        method = corrector(**options)
        stage(method, "predict", graph_dir=str(tmp_path))
        return method.label_settings()

    assert settings() == {}
    (tmp_path / "manifest.json").write_text("1")
    first = settings()
    assert list(first) == ["graphs"]
    (tmp_path / "manifest.json").write_text("2")
    assert settings()["graphs"] != first["graphs"]
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert settings(mode="per_image") == settings() | {"seed": 5}
    assert settings(mode="per_image", fill="nearest") == settings()


def test_groups_and_padding_colour():
    method = corrector(lr=0.3)
    (group,) = method.parameter_groups()
    assert group["lr"] == 0.3
    assert len(group["params"]) == len(list(method.parameters()))
    assert method.image_mean == (0.5, 0.5, 0.5)
