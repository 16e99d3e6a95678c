import os
from dataclasses import replace

import numpy as np
import pytest

from tests.data.graph_folders import assert_same, grid_graph, manifest_for, votes, write_graphs
from tests.each import each
from wsss_zoo.files.manifests import HEADER, MANIFEST
from wsss_zoo.files.region_graphs import (
    begin_graphs,
    check_graphs,
    finish_graphs,
    graph_path,
    has_graph,
    open_graphs,
    read_graph,
    read_graph_manifest,
    write_graph,
)

NAMES = ["background", "cat", "dog"]


def damage(path, how):
    data = path.read_bytes()
    middle = len(data) // 2
    if how == "cut":
        path.write_bytes(data[:middle])
    elif how == "flipped":
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(b"" if how == "empty" else b"not a graph")


@each(
    "shape",
    [
        {},
        {"size": (1, 1), "grid": (1, 1)},
        {"size": (1, 30), "grid": (1, 30)},
        {"size": (13, 11), "grid": (2, 3), "channels": 64, "classes": 21},
    ],
)
def test_graph_is_read_as_written(tmp_path, shape):
    graph = grid_graph(**shape)
    write_graph(tmp_path, "sub/a", graph)
    assert_same(read_graph(tmp_path, "sub/a"), graph)
    assert [path.name for path in tmp_path.rglob("*.npz")] == ["a.npz"]
    assert graph_path(tmp_path, "sub/a") == tmp_path / "sub" / "a.npz"


def test_more_regions_than_16_bits_name(tmp_path):
    graph = grid_graph(size=(260, 256), grid=(260, 256), channels=1, classes=2)
    assert len(graph.x) > 1 << 16
    write_graph(tmp_path, "a", graph)
    assert_same(read_graph(tmp_path, "a"), graph)
    graph = grid_graph(size=(256, 256), grid=(256, 256), channels=1, classes=2)
    write_graph(tmp_path, "b", graph)
    assert_same(read_graph(tmp_path, "b"), graph)
    with np.load(graph_path(tmp_path, "b")) as stored:
        assert stored["segments"].dtype == stored["edge_index"].dtype == np.uint16


def test_file_is_small_needs_no_pickle_and_is_the_same_each_time(tmp_path):
    graph = grid_graph(size=(375, 500), grid=(30, 30), channels=64)
    plain = np.zeros_like(graph.label)
    graph = replace(graph, label=plain, prediction=plain, clean=plain == 0)
    write_graph(tmp_path, "a", graph)
    first = graph_path(tmp_path, "a").read_bytes()
    write_graph(tmp_path, "a", graph)
    assert graph_path(tmp_path, "a").read_bytes() == first
    features = graph.x.nbytes + graph.probs.nbytes + graph.counts.nbytes * 2
    # Four pixel maps in 8 bytes per pixel, and edges, take next to nothing.
    assert len(first) < features + graph.label.size * 0.3
    with np.load(graph_path(tmp_path, "a"), allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored)


def test_views_and_other_memory_orders_are_written_as_they_are(tmp_path):
    graph = grid_graph()
    odd = replace(graph, x=np.asfortranarray(graph.x), label=graph.label[::-1][::-1])
    write_graph(tmp_path, "a", odd)
    assert_same(read_graph(tmp_path, "a"), graph)


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_graph(tmp_path, "a", grid_graph(seed=0))

    def fail(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        write_graph(tmp_path, "a", grid_graph(seed=1))
    assert_same(read_graph(tmp_path, "a"), grid_graph(seed=0))
    assert len(list(tmp_path.iterdir())) == 1


@each(
    ("changes", "problem"),
    [
        ({"x": np.zeros((12, 5))}, "x is float64, expected float32"),
        ({"x": np.zeros((12, 5), np.float16)}, "x is float16, expected float32"),
        ({"x": np.zeros((11, 5), np.float32)}, r"probs has shape \(12, 7\), expected \(11, 7\)"),
        ({"x": np.full((12, 5), np.nan, np.float32)}, "x has values that are not finite"),
        ({"probs": np.full((12, 7), np.inf, np.float32)}, "probs has values that are not finite"),
        ({"segments": np.zeros((12, 16), np.int64)}, "segments is int64, expected int32"),
        ({"segments": np.zeros((12, 16), np.int32)}, r"ids 0\.\.0 for 12 rows of x"),
        ({"segments": np.zeros(12, np.int32)}, r"segments has shape \(12,\)"),
        ({"segments": np.zeros((0, 16), np.int32)}, "expected"),
        ({"label": np.zeros((16, 12), np.uint8)}, r"label has shape \(16, 12\), expected \(12, 16"),
        ({"label": np.full((12, 16), 7, np.uint8)}, "label holds a class index beyond the 7"),
        ({"prediction": np.full((12, 16), 254, np.uint8)}, "prediction holds a class index beyond"),
        ({"kept": np.ones(3, bool)}, r"kept has shape \(3,\), expected \(34,\)"),
        ({"edge_index": np.full((2, 34), 12)}, r"regions outside 0\.\.11"),
        ({"edge_index": np.full((2, 34), -1)}, r"regions outside 0\.\.11"),
        ({"clean_counts": np.zeros((12, 3), np.int32)}, "clean_counts has shape"),
        ({"counts": np.zeros(12, np.int32)}, "has shape"),
        ({"x": np.zeros(12, np.float32)}, "x has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, problem):
    with pytest.raises(ValueError, match=f"graph of a cannot be written: .*{problem}"):
        write_graph(tmp_path, "a", replace(grid_graph(), **changes))
    assert not list(tmp_path.iterdir())


def test_ids_that_lead_out_are_refused(tmp_path):
    for image_id in ("../a", "/a", "a//b", ""):
        with pytest.raises(ValueError, match="would lead out of its folder"):
            write_graph(tmp_path / "graphs", image_id, grid_graph())
        with pytest.raises(ValueError, match="would lead out of its folder"):
            read_graph(tmp_path / "graphs", image_id)


def test_missing_graph_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sub.b\.npz is missing; .*--graphs\.pseudo_label"):
        read_graph(tmp_path, "sub/b")


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "other"])
def test_damaged_graph_is_named_with_the_remedy(tmp_path, how):
    write_graph(tmp_path, "a", grid_graph(channels=400))
    damage(graph_path(tmp_path, "a"), how)
    with pytest.raises(OSError, match=r"a\.npz is no region graph \(.+\); delete it and run the"):
        read_graph(tmp_path, "a")


def test_graph_whose_arrays_do_not_fit_is_named(tmp_path):
    write_graph(tmp_path, "a", grid_graph())
    path = graph_path(tmp_path, "a")
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | {"kept": arrays["kept"][:-1]}))
    with pytest.raises(OSError, match=r"a\.npz is no region graph \(kept has shape"):
        read_graph(tmp_path, "a")
    np.savez(path, **(arrays | {"clean": arrays["clean"][:3]}))
    with pytest.raises(OSError, match=r"a\.npz is no region graph"):
        read_graph(tmp_path, "a")
    del arrays["loss"]
    np.savez(path, **arrays)
    assert not has_graph(tmp_path, "a")
    with pytest.raises(OSError, match=r"a\.npz is no region graph \(.*loss"):
        read_graph(tmp_path, "a")


@pytest.mark.parametrize("how", ["cut", "empty", "other"])
def test_begun_folder_gives_what_is_done_and_whole(tmp_path, how):
    manifest = manifest_for(NAMES, 3)
    assert begin_graphs(tmp_path, manifest, ["a", "b", "c/d"]) == set()
    for image_id in ("a", "b", "c/d"):
        write_graph(tmp_path, image_id, grid_graph(classes=3))
    damage(graph_path(tmp_path, "b"), how)
    (tmp_path / ".a.npz.1.tmp").write_bytes(b"half")
    assert begin_graphs(tmp_path, manifest, ["a", "b", "c/d"]) == {"a", "c/d"}
    assert not (tmp_path / ".a.npz.1.tmp").exists()
    assert (tmp_path / HEADER).exists()
    with pytest.raises(FileNotFoundError, match="finishes it"):
        read_graph_manifest(tmp_path, NAMES)
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images have no whole graph.*first: b;"):
        finish_graphs(tmp_path, manifest, ["a", "b", "c/d"])
    write_graph(tmp_path, "b", grid_graph(classes=3))
    finish_graphs(tmp_path, manifest, ["a", "b", "c/d"])
    assert read_graph_manifest(tmp_path, NAMES) == manifest
    assert begin_graphs(tmp_path, manifest, ["a", "b", "c/d"]) == {"a", "b", "c/d"}
    assert (tmp_path / MANIFEST).exists()
    assert not (tmp_path / HEADER).exists()


def test_finished_folder_with_a_cut_file_is_begun_again(tmp_path):
    write_graphs(tmp_path, ["a", "b"], NAMES)
    damage(graph_path(tmp_path, "a"), "cut")
    assert begin_graphs(tmp_path, manifest_for(NAMES, 2), ["a", "b"]) == {"b"}
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoint_hash": "w1"}, r"\(checkpoint_hash differ\); choose"),
        (
            {"options": {"superpixels": "fast_slic 0.4.0", "num_segments": 12, "gamma": 1.5}},
            r"\(options differ\), with other options gamma, superpixels, threshold; choose",
        ),
    ],
)
def test_folder_of_another_run_is_refused_by_what_differs(tmp_path, changes, said):
    write_graphs(tmp_path, ["a", "b"], NAMES)
    with pytest.raises(ValueError, match=rf"region graphs of another run {said}.*graphs\.out_dir"):
        begin_graphs(tmp_path, manifest_for(NAMES, 2, **changes), ["a", "b"])
    assert read_graph_manifest(tmp_path).count == 2


def test_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"holiday")
    with pytest.raises(ValueError, match=r"no folder of region graphs; .*--graphs\.out_dir"):
        begin_graphs(tmp_path, manifest_for(NAMES, 2), ["a"])


def test_manifest_is_checked_against_the_data(tmp_path):
    write_graphs(tmp_path, ["a", "b"], NAMES)
    with pytest.raises(ValueError, match=r"region graphs in .* are for the classes"):
        read_graph_manifest(tmp_path, ["background", "cow"])
    graph_path(tmp_path, "a").unlink()
    with pytest.raises(ValueError, match=r"holds 1 graphs, its manifest\.json says 2"):
        read_graph_manifest(tmp_path, NAMES)


def test_folder_is_opened_for_the_images_of_a_split(tmp_path):
    directory = write_graphs(tmp_path, ["a", "b", "c"], NAMES)
    assert_same(open_graphs(directory, NAMES, ["b", "c"]), grid_graph(seed=1, classes=3))
    with pytest.raises(ValueError, match="supervision 'graphs' needs graph_dir"):
        open_graphs(None, NAMES, ["b"])
    with pytest.raises(FileNotFoundError, match=r"2 of 3 images .*first: e, f; build"):
        open_graphs(directory, NAMES, ["a", "e", "f"])
    check_graphs(tmp_path, ["a"])


def test_hand_made_graph_counts_what_it_says():
    graph = grid_graph()
    for region in range(12):
        inside = graph.segments == region
        for value in range(7):
            assert graph.counts[region, value] == (graph.label[inside] == value).sum()
            both = inside & graph.clean & (graph.label == value)
            assert graph.clean_counts[region, value] == both.sum()
    assert votes(graph.label, graph.segments, graph.label == 0, 7)[:, 1:].sum() == 0
