"""Graphs of a prediction that was interrupted, and of another one."""

import numpy as np
import pytest

from tests.callbacks.fakes import IDS
from tests.callbacks.region_fakes import (
    RegionData,
    RegionMethod,
    files_in,
    predict,
    write_given,
)
from wsss_zoo.callbacks import GraphWriter
from wsss_zoo.files.pseudo_labels import write_label
from wsss_zoo.files.region_graphs import graph_path, read_graph_manifest


@pytest.fixture
def options(tmp_path):
    given = write_given(tmp_path / "given", RegionData())
    return {"pseudo_label_dir": given, "threshold": 0.7, "num_segments": 20}


@pytest.mark.parametrize("place", ["step", "label", "measure"])
def test_killed_prediction_is_finished_by_the_same_command(tmp_path, options, monkeypatch, place):
    predict(tmp_path / "whole", RegionData(), graphs=options)
    whole = files_in(tmp_path / "whole")
    killed = RegionMethod()

    def fails(*args, **kwargs):
        raise RuntimeError("killed")

    def write(directory, image_id, *label):
        return fails() if image_id == IDS[3] else write_label(directory, image_id, *label)

    with monkeypatch.context() as patch:
        if place == "step":
            killed.fail_at = IDS[3]
        elif place == "label":  # after the graph is written
            patch.setattr("wsss_zoo.callbacks.writers.pseudo_label_writer.write_label", write)
        else:
            patch.setattr(GraphWriter, "_measure", fails)
        with pytest.raises(RuntimeError, match="killed"):
            predict(tmp_path / "run", RegionData(), graphs=options, method=killed)
    assert not (tmp_path / "run" / "graphs" / "manifest.json").exists()
    has_graph = graph_path(tmp_path / "run" / "graphs", IDS[3]).exists()
    assert has_graph == (place != "step")
    resumed = predict(tmp_path / "run", RegionData(), graphs=options)
    assert resumed.seen == ([] if place == "measure" else IDS[3:])
    assert files_in(tmp_path / "run") == whole


def test_an_image_with_a_label_map_has_a_graph(tmp_path, options, monkeypatch):
    def fails(*args):
        raise RuntimeError("killed")

    monkeypatch.setattr("wsss_zoo.callbacks.regions.graph_writer.write_graph", fails)
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path, RegionData(), graphs=options)
    assert not list((tmp_path / "pseudo_labels").glob("*.png"))


def test_graphs_are_added_to_finished_label_maps(tmp_path, options):
    predict(tmp_path, RegionData())
    before = files_in(tmp_path / "pseudo_labels")
    assert predict(tmp_path, RegionData(), graphs=options).seen == IDS
    assert files_in(tmp_path / "pseudo_labels") == before
    read_graph_manifest(tmp_path / "graphs")


def test_lost_files_are_made_again(tmp_path, options):
    predict(tmp_path, RegionData(), graphs=options)
    before = files_in(tmp_path)
    graph_path(tmp_path / "graphs", IDS[1]).write_bytes(b"cut")
    (tmp_path / "pseudo_labels" / f"{IDS[4]}.png").unlink()
    assert predict(tmp_path, RegionData(), graphs=options).seen == [IDS[1], IDS[4]]
    assert files_in(tmp_path) == before


def test_finished_run_has_nothing_left_to_do_but_prints(tmp_path, options, capsys):
    predict(tmp_path, RegionData(), graphs=options)
    before = files_in(tmp_path)
    capsys.readouterr()
    assert predict(tmp_path, RegionData(), graphs=options).seen == []
    assert files_in(tmp_path) == before
    assert "graphs/recall" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"threshold": 0.5}, "thresholds"),
        ({"num_segments": 4}, "num_segments"),
        ({"features": "backbone"}, "features"),
        ("labels", "labels"),
        ("weights", "checkpoint_hash"),
    ],
)
def test_another_run_does_not_mix_into_a_folder(tmp_path, options, change, named):
    options["out_dir"] = str(tmp_path / "graphs")
    predict(tmp_path / "one", RegionData(), graphs=options)
    method = RegionMethod(seed=int(change == "weights"))
    if change == "labels":
        write_label(tmp_path / "given", IDS[0], np.full((36, 54), 255, np.uint8))
        (tmp_path / "given" / "manifest.json").unlink()
    options |= change if isinstance(change, dict) else {}
    with pytest.raises(ValueError, match=rf"graphs of another run .*{named}.*graphs.out_dir"):
        predict(tmp_path / "two", RegionData(), graphs=options, method=method)
    assert method.seen == []


def test_limited_prediction_is_not_finished(tmp_path, options):
    predict(tmp_path, RegionData(), graphs=options, limit_predict_batches=2)
    with pytest.raises(FileNotFoundError, match="a run began it"):
        read_graph_manifest(tmp_path / "graphs")
    assert predict(tmp_path, RegionData(), graphs=options).seen == IDS[2:]
    assert read_graph_manifest(tmp_path / "graphs").count == len(IDS)
