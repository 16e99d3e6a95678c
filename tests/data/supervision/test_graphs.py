"""Supervision ``graphs``: batches, order, and what is said where something does not fit."""

import importlib
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch_geometric.data import Batch

from tests.data.graph_folders import grid_graph, manifest_for, write_graphs
from wsss_zoo.data import Shapes
from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.files.manifests import write_manifest
from wsss_zoo.files.region_graphs import graph_path, write_graph

NAMES = list(Shapes().class_names)
IDS = [f"train_{number:06d}" for number in range(12)]
GRAPH = {"size": (64, 64), "grid": (4, 5)}
SILENT = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Recorder(LightningModule):
    """Notes which images it is given and learns one number."""

    supervision = "graphs"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["image_id"])
        return (self.weight * batch["graph"].x.mean()).sum()

    def validation_step(self, batch, batch_idx):
        raise AssertionError("there is nothing to validate")

    def predict_step(self, batch, batch_idx):
        return batch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def folder(tmp_path):
    return write_graphs(tmp_path / "graphs", IDS, NAMES, **GRAPH)


def shapes(folder, **options):
    settings = {"num_train": 12, "num_val": 2, "image_size": 64, "num_workers": 0, "batch_size": 4}
    return Shapes(supervision="graphs", graph_dir=folder, **(settings | options))


def trained_ids(data):
    data.setup("fit")
    return [batch["image_id"] for batch in data.train_dataloader()]


def test_training_batch(folder):
    data = shapes(folder)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"graph", "image_id"}
    graph, ids = batch["graph"], batch["image_id"]
    assert isinstance(graph, Batch)
    assert len(ids) == graph.num_graphs == 4
    kinds = {
        "x": (torch.float32, (80, 5)),
        "probs": (torch.float32, (80, 7)),
        "edge_index": (torch.int64, (2, 4 * 62)),
        "kept": (torch.bool, (4 * 62,)),
        "counts": (torch.int64, (80, 7)),
        "clean_counts": (torch.int64, (80, 7)),
        "loss": (torch.float32, (80,)),
        "sizes": (torch.int64, (80,)),
        "tags": (torch.float32, (4, 6)),
        "batch": (torch.int64, (80,)),
    }
    assert {name: (graph[name].dtype, tuple(graph[name].shape)) for name in kinds} == kinds
    for place, image_id in enumerate(ids):
        single = grid_graph(**GRAPH, seed=IDS.index(image_id))
        nodes, edges = slice(20 * place, 20 * place + 20), slice(62 * place, 62 * place + 62)
        for name in ("x", "probs", "counts", "clean_counts", "loss"):
            np.testing.assert_array_equal(graph[name][nodes], getattr(single, name))
        np.testing.assert_array_equal(graph.edge_index[:, edges] - 20 * place, single.edge_index)
        np.testing.assert_array_equal(graph.kept[edges], single.kept)
        sizes = [(single.segments == region).sum() for region in range(20)]
        assert graph.sizes[nodes].tolist() == sizes
        np.testing.assert_array_equal(graph.tags[place], data.complete_labels([image_id])[image_id])
        assert (graph.batch[nodes] == place).all()
    assert data.graph_channels == 5
    assert data.val_dataloader() == []


def test_an_epoch_is_each_graph_once_in_an_order_of_the_seed(folder):
    epochs = [trained_ids(shapes(folder, seed=seed)) for seed in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert sorted(chain.from_iterable(epochs[0])) == IDS
    assert trained_ids(shapes(folder, seed=1, num_workers=1)) == epochs[0]


def test_ranks_share_the_graphs(folder, monkeypatch):
    parts = []
    for rank in range(2):
        monkeypatch.setattr(Shapes, "_ranks", lambda self, rank=rank: (2, rank))
        parts.append(list(chain.from_iterable(trained_ids(shapes(folder, batch_size=2)))))
        data = shapes(folder, predict_split="train")
        data.setup("predict")
        predicted = [batch["image_id"][0] for batch in data.predict_dataloader()]
        assert predicted == IDS[rank::2]
    assert sorted(parts[0] + parts[1]) == IDS
    assert len(parts[0]) == len(parts[1])


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_training_resumes_within_an_epoch(folder, tmp_path):
    class Saver(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def run(path=None):
        method = Recorder()
        trainer = Trainer(**SILENT, max_steps=9, callbacks=Saver())
        data = shapes(folder, batch_size=2)
        trainer.fit(method, datamodule=data, ckpt_path=path, weights_only=True)
        return method

    whole = run()
    rest = run(tmp_path / "middle.ckpt")
    assert len(whole.seen) == 9
    assert rest.seen == whole.seen[4:]
    assert torch.equal(rest.weight, whole.weight)


def test_predict_batch(folder):
    method, data = Recorder(), shapes(folder, predict_limit=3)
    data.resumed_by = [lambda: {IDS[1]}]
    batches = Trainer(**SILENT).predict(method, datamodule=data)
    assert [batch["image_id"] for batch in batches] == [[IDS[0]], [IDS[2]]]
    usual = {"image", "mask", "image_labels", "image_id"}
    for batch, number in zip(batches, (0, 2), strict=True):
        assert set(batch) == usual | {"graph", "segments", "label", "clean", "prediction"}
        assert batch["image"].shape == (1, 3, 64, 64)
        single = grid_graph(**GRAPH, seed=number)
        for name in ("segments", "label", "prediction", "clean"):
            assert batch[name].dtype == (torch.bool if name == "clean" else torch.int64)
            np.testing.assert_array_equal(batch[name][0], getattr(single, name))
        graph = batch["graph"]
        assert isinstance(graph, Batch)
        assert graph.num_graphs == 1
        np.testing.assert_array_equal(graph.x, single.x)
        np.testing.assert_array_equal(graph.edge_index, single.edge_index)
        assert torch.equal(graph.tags, batch["image_labels"])
    assert data.graph_channels == 5


def test_graphs_move_with_the_batch():
    graph = collate_graphs([{"graph": graph_data(grid_graph(), torch.ones(6)), "image_id": "a"}])
    moved = Recorder().transfer_batch_to_device(graph, torch.device("meta"), 0)
    assert {value.device.type for _, value in moved["graph"] if torch.is_tensor(value)} == {"meta"}


def test_graphs_without_edges_make_a_batch():
    lone = grid_graph(size=(1, 1), grid=(1, 1))
    samples = [
        {"graph": graph_data(graph, torch.zeros(6)), "image_id": name}
        for name, graph in (("a", lone), ("b", grid_graph()), ("c", lone))
    ]
    graph = collate_graphs(samples)["graph"]
    assert graph.batch.tolist() == [0] + [1] * 12 + [2]
    np.testing.assert_array_equal(graph.edge_index - 1, grid_graph().edge_index)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_nothing_is_validated(folder, stage):
    with pytest.raises(ValueError, match=f"'graphs' has nothing to .*{stage}.*run predict"):
        shapes(folder).setup(stage)


@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_folder_must_fit_the_data(folder, tmp_path, stage):
    with pytest.raises(ValueError, match="needs graph_dir"):
        shapes(None).setup(stage)
    with pytest.raises(FileNotFoundError, match=r"1 of 13 images .*first: train_000012; build"):
        shapes(folder, num_train=13).setup(stage)
    with pytest.raises(ValueError, match=r"for the classes .*predict them again"):
        shapes(folder, classes=NAMES[1:3]).setup(stage)
    with pytest.raises(FileNotFoundError, match="nowhere is no folder; give"):
        shapes(str(tmp_path / "nowhere")).setup(stage)
    path = graph_path(tmp_path / "graphs", IDS[5])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FileNotFoundError, match=r"1 of 12 images .*first: train_000005; build"):
        shapes(folder).setup(stage)


def test_graph_damaged_inside_is_named_when_it_is_read(folder, tmp_path):
    path = graph_path(tmp_path / "graphs", IDS[5])
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(OSError, match=r"train_000005\.npz is no region graph .*delete it"):
        trained_ids(shapes(folder))


def test_graph_of_another_image_is_named(folder, tmp_path):
    write_graph(tmp_path / "graphs", IDS[0], grid_graph((64, 60), (4, 5)))
    data = shapes(folder)
    data.setup("predict")
    with pytest.raises(ValueError, match=r"train_000000\.npz has regions .*\(64, 60\).*\(64, 64\)"):
        next(iter(data.predict_dataloader()))


def test_images_need_tags(folder, monkeypatch):
    data = shapes(folder)
    monkeypatch.setattr(Shapes, "labels_of", lambda self, ids, *, from_masks: {})
    for stage in ("fit", "predict"):
        with pytest.raises(ValueError, match=r"12 of 12 .* have no image-level labels"):
            data.setup(stage)


def test_other_settings_that_cannot_apply_are_refused(folder):
    with pytest.raises(ValueError, match="extra_roots"):
        shapes(folder, extra_roots={"web": "x"}).setup("fit")
    data = shapes(folder)
    data.trainer = SimpleNamespace(
        lightning_module=SimpleNamespace(supervision="mask"), world_size=1, global_rank=0
    )
    with pytest.raises(ValueError, match=r"learns from supervision 'mask', but Shapes .*graphs"):
        data.setup("fit")


def test_fewer_graphs_than_a_batch_fill_one(tmp_path):
    write_graph(tmp_path, IDS[0], grid_graph(**GRAPH))
    write_manifest(tmp_path, manifest_for(NAMES, 1))
    batches = trained_ids(shapes(str(tmp_path), num_train=1))
    assert batches == [[IDS[0]] * 4]


def test_other_supervision_does_not_import_torch_geometric(monkeypatch):
    # The package is imported once more; `None` makes an import of torch_geometric fail.
    for name in [name for name in sys.modules if name.split(".")[0] == "wsss_zoo"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_geometric"]:
        monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module("wsss_zoo.methods")
    shapes = importlib.import_module("wsss_zoo.data").Shapes
    assert shapes is not Shapes
    sizes = {"num_train": 8, "num_val": 2, "image_size": 48, "crop_size": 32, "batch_size": 2}
    for supervision, labeled_split in (("mask", None), ("semi", 0.5)):
        regime = {"supervision": supervision, "labeled_split": labeled_split}
        data = shapes(**sizes, **regime, num_workers=0)
        data.setup("fit")
        next(iter(data.train_dataloader()))
        data.setup("predict")
        next(iter(data.predict_dataloader()))
    with pytest.raises(ImportError):
        importlib.import_module("torch_geometric")
