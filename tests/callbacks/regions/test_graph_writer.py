import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.callbacks.fakes import IDS, NAMES, ToyCAM
from tests.callbacks.region_fakes import (
    STRIDE,
    RegionData,
    RegionMethod,
    files_in,
    given_label,
    predict,
    write_given,
)
from tests.each import each
from wsss_zoo.callbacks import GraphWriter, PseudoLabelWriter
from wsss_zoo.callbacks.regions.graph_writer import pool_padded
from wsss_zoo.files.pseudo_labels import read_label
from wsss_zoo.files.region_graphs import read_graph, read_graph_manifest
from wsss_zoo.functional import prune_edges, region_adjacency, superpixel_backend, superpixels

SEGMENTS = 20
THRESHOLD = 0.7


@pytest.fixture
def given(tmp_path):
    return write_given(tmp_path / "given", RegionData())


@pytest.fixture
def options(given):
    return {"pseudo_label_dir": given, "threshold": THRESHOLD, "num_segments": SEGMENTS}


@pytest.mark.parametrize("features", ["decoder", "backbone"])
def test_graph_against_loops(tmp_path, options, features):
    data, method = RegionData(), RegionMethod()
    options |= {"features": features, "backend": "skimage"}
    predict(tmp_path, data, graphs=options)
    for image_id in data.ids:
        graph = read_graph(tmp_path / "graphs", image_id)
        sample, label = data.sample(image_id), given_label(data, image_id)
        image = sample["image"][None]
        segments = superpixels(data.read_image(image_id), SEGMENTS, "skimage")
        np.testing.assert_array_equal(graph.segments, segments)
        assert segments.max() > 5
        np.testing.assert_array_equal(graph.label, label)
        with torch.no_grad():
            logits = method(image)[0].double()
            levels = method.network.backbone(image)
            maps = {"decoder": method.network.decoder(levels[0]), "backbone": levels[-1]}[features]
        height, width = label.shape
        padded = (height + -height % STRIDE, width + -width % STRIDE)
        full = F.interpolate(maps.double(), padded, mode="bilinear", align_corners=False)[0]
        kept = [0, *(sample["image_labels"].nonzero().flatten() + 1).tolist()]
        probs = torch.zeros_like(logits)
        probs[kept] = logits[kept].softmax(0)
        np.testing.assert_array_equal(graph.prediction, probs.argmax(0))
        loss = np.full(label.shape, np.nan)
        for y, x in np.argwhere(label != 255):
            loss[y, x] = -math.log(probs[label[y, x], y, x])
        clean = loss <= THRESHOLD
        np.testing.assert_array_equal(graph.clean, clean)
        for region in range(segments.max() + 1):
            inside = segments == region
            x = full[:, :height, :width][:, torch.from_numpy(inside)].mean(1)
            np.testing.assert_allclose(graph.x[region], x, rtol=1e-4, atol=1e-5)
            share = probs[:, torch.from_numpy(inside)].mean(1)
            np.testing.assert_allclose(graph.probs[region], share, rtol=1e-4, atol=1e-5)
            for votes, chosen in ((graph.counts, label != 255), (graph.clean_counts, clean)):
                expected = np.bincount(label[inside & chosen], minlength=len(NAMES))
                np.testing.assert_array_equal(votes[region], expected)
            own = loss[inside & (label != 255)]
            expected = own.mean() if own.size else np.inf
            np.testing.assert_allclose(graph.loss[region], expected, rtol=1e-5)
        edges = region_adjacency(torch.from_numpy(segments))
        np.testing.assert_array_equal(graph.edge_index, edges)
        pruned = prune_edges(torch.from_numpy(graph.x), edges)
        np.testing.assert_array_equal(graph.edge_index[:, graph.kept], pruned)


@each("size", [(16, 24), (13, 24), (16, 17), (1, 1), (5, 9)])
def test_pooling_over_a_padded_map(size):
    stride = 8
    padded = [side + -side % stride for side in size]
    features = torch.randn(3, *(side // 4 for side in padded))
    segments = torch.arange(size[0] * size[1]).view(size) // 7
    full = F.interpolate(features[None], padded, mode="bilinear", align_corners=False)[0]
    cut = full[:, : size[0], : size[1]]
    expected = torch.stack([cut[:, segments == v].mean(1) for v in range(int(segments.max()) + 1)])
    torch.testing.assert_close(pool_padded(features, segments, stride), expected)


def test_manifest_says_what_decides_the_graphs(tmp_path, options):
    predict(tmp_path, RegionData(), graphs=options)
    manifest = read_graph_manifest(tmp_path / "graphs", NAMES)
    assert (manifest.method, manifest.count, manifest.split) == ("RegionMethod", 6, "train")
    labels = manifest.options.pop("labels")
    assert len(labels) == 64
    assert manifest.options == {
        "thresholds": dict.fromkeys(NAMES, THRESHOLD),
        "superpixels": superpixel_backend("auto"),
        "num_segments": SEGMENTS,
        "features": "decoder",
    }


def test_thresholds_of_a_file(tmp_path, options):
    gammas = dict(zip(NAMES, [0.5, None, 3.0, 1.0], strict=True))
    content = {"gamma": 1.0, "gammas": gammas, "per_class": True, "class_names": NAMES}
    (tmp_path / "threshold.json").write_text(json.dumps(content))
    options["threshold"] = str(tmp_path / "threshold.json")
    predict(tmp_path, RegionData(), graphs=options)
    assert read_graph_manifest(tmp_path / "graphs").options["thresholds"] == gammas
    predict(tmp_path / "all", RegionData(), graphs=options | {"threshold": 1e9})
    for image_id in IDS:
        graph = read_graph(tmp_path / "graphs", image_id)
        assert not (graph.clean & (graph.label == 1)).any()
        other = read_graph(tmp_path / "all" / "graphs", image_id)
        np.testing.assert_array_equal(other.clean, other.label != 255)
        np.testing.assert_array_equal(other.counts, other.clean_counts)


def test_measured_against_masks(tmp_path, options, capsys):
    data = RegionData()
    predict(tmp_path, data, graphs=options)
    report = json.loads((tmp_path / "graphs" / "quality.json").read_text())
    found = []
    for image_id in IDS:
        graph, mask = read_graph(tmp_path / "graphs", image_id), data.read_mask(image_id)
        for y, x in np.argwhere((graph.label != 255) & (mask != 255)):
            found.append((graph.label[y, x], graph.clean[y, x], graph.label[y, x] == mask[y, x]))
    label, clean, is_correct = (np.array(column) for column in zip(*found, strict=True))
    assert report["overall"]["precision"] == pytest.approx(is_correct[clean].mean())
    assert report["overall"]["coverage"] == pytest.approx(clean.mean())
    assert report["overall"]["recall"] == pytest.approx(clean[is_correct].mean())
    assert report["metrics"]["graphs/coverage/dog"] == pytest.approx(clean[label == 3].mean())
    assert report["by_class"]["cat"]["pixels"] == (label == 1).sum()
    assert report["images"] == len(IDS)
    assert "graphs/precision" in capsys.readouterr().out


def test_without_masks_nothing_is_measured(tmp_path, options):
    predict(tmp_path, RegionData(masks=False), graphs=options)
    read_graph_manifest(tmp_path / "graphs", NAMES)
    assert not (tmp_path / "graphs" / "quality.json").exists()


def test_off_without_a_folder(tmp_path):
    predict(tmp_path, RegionData())
    assert not (tmp_path / "graphs").exists()


def test_fast_dev_run_writes_nothing(tmp_path, options):
    predict(tmp_path, RegionData(), graphs=options, fast_dev_run=True)
    assert not (tmp_path / "graphs").exists()


def test_noise_and_graphs_in_one_prediction(tmp_path, options):
    noise = {"pseudo_label_dir": options["pseudo_label_dir"], "precision": 0.8}
    method = predict(tmp_path, RegionData(), noise, options)
    assert method.seen == IDS
    threshold = json.loads((tmp_path / "noise" / "threshold.json").read_text())["gamma"]
    options["threshold"] = threshold
    predict(tmp_path / "again", RegionData(), noise, options)
    quality = json.loads((tmp_path / "again" / "graphs" / "quality.json").read_text())
    measured = json.loads((tmp_path / "again" / "noise" / "threshold.json").read_text())
    # On the same images, all of whose pixels are measured, both must say the same.
    assert quality["overall"] == pytest.approx(measured["overall"])
    assert read_label(tmp_path / "again" / "pseudo_labels", IDS[0]).shape[1] == 54


def test_images_without_tags(tmp_path, options):
    data = RegionData()
    sample = data.sample
    data.sample = lambda i: {k: v for k, v in sample(i).items() if k != "image_labels"}
    with pytest.raises(KeyError, match="no 'image_labels'; choose a split that has it"):
        predict(tmp_path, data, graphs=options)


def test_a_threshold_is_needed_before_any_image(tmp_path, options):
    method = RegionMethod()
    with pytest.raises(ValueError, match=r"needs graphs\.threshold"):
        predict(tmp_path, RegionData(), graphs=options | {"threshold": None}, method=method)
    assert method.seen == []


def test_method_without_a_network(tmp_path, options):
    with pytest.raises(ValueError, match=r"graphs\.pseudo_label_dir asks .* ToyCAM has no network"):
        predict(tmp_path, RegionData(), graphs=options, method=ToyCAM())


def test_number_of_superpixels_out_of_range():
    with pytest.raises(ValueError, match="num_segments is 0"):
        GraphWriter(num_segments=0)


def test_hooks_are_removed(tmp_path, options):
    method = predict(tmp_path, RegionData(), graphs=options)
    assert not any(part._forward_hooks for part in method.modules())
    killed = RegionMethod()
    killed.fail_at = IDS[1]
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path / "b", RegionData(), graphs=options, method=killed)
    assert not any(part._forward_hooks for part in killed.modules())


def test_label_maps_alone_are_written_as_before(tmp_path, options):
    predict(tmp_path / "with", RegionData(), graphs=options)
    predict(tmp_path / "without", RegionData())
    one, other = (files_in(tmp_path / n / "pseudo_labels") for n in ("with", "without"))
    assert one == other
    assert PseudoLabelWriter().out_dir is None
