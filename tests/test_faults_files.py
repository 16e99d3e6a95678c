"""Full disks and damaged files: nothing half-written is read, nothing wrong is taken for right."""

import random
import resource

import numpy as np
import pytest
import torch

from tests.data.graph_folders import grid_graph
from tests.resumed_runs import differences, in_child, train
from wsss_zoo import Supervised
from wsss_zoo.deploy.supervised_checkpoint import save_supervised
from wsss_zoo.files.manifests import Manifest, find_manifest, write_manifest
from wsss_zoo.files.pseudo_labels import read_cam, read_label, write_cam, write_label
from wsss_zoo.files.region_graphs import read_graph, write_graph
from wsss_zoo.modules.weights import read_state_dict
from wsss_zoo.runs.checkpoints.checkpoint import read_checkpoint
from wsss_zoo.runs.checkpoints.last_checkpoint import LastCheckpoint
from wsss_zoo.runs.folder import CHECKPOINT
from wsss_zoo.runs.metrics_csv import MetricsFile

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
]


def noise(*shape):
    return np.random.default_rng(0).integers(0, 7, shape)


def full_disk(function, log):
    """Call a function in a process for which no file can grow beyond 1000 bytes."""

    def call():
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        try:
            function(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard)))
        except OSError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            notes = getattr(error, "__notes__", [])
            log.write_text("\n".join([str(error), *notes]), encoding="utf-8")
            return 7
        return 0

    assert in_child(call) == 7, "the disk was not full"
    return log.read_text(encoding="utf-8")


def a_manifest():
    return Manifest("CAM", [f"class {n}" for n in range(200)], 1, "0" * 64, "1" * 64, {}, "train")


def checkpoint(path):
    if not path.exists():
        torch.save({"state_dict": {"a": torch.arange(500.0)}, "global_step": 3}, path)
    return path


def plain(folder):
    method = Supervised(7, backbone="test_resnet")
    save_supervised(str(checkpoint(folder.parent / "some.ckpt")), method, folder / "plain.ckpt")


def metrics(folder):
    file = MetricsFile(folder / "metrics.csv")
    file.log_metrics({f"name {n}": 0.5 for n in range(200)}, 1)
    file.save()


WRITERS = {
    "a.png": lambda d: write_label(d, "a", noise(90, 90).astype(np.uint8)),
    "cams/a.npz": lambda d: write_cam(d, "a", noise(2, 90, 90) / 7, np.arange(2)),
    "a.npz": lambda d: write_graph(d, "a", grid_graph(channels=200)),
    "manifest.json": lambda d: write_manifest(d, a_manifest()),
    "plain.ckpt": plain,
    "metrics.csv": metrics,
}


@pytest.mark.parametrize("name", WRITERS)
def test_full_disk_leaves_no_half_file(name, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    checkpoint(tmp_path / "some.ckpt")

    def fill(limit):
        limit()
        WRITERS[name](folder)

    message = full_disk(fill, tmp_path / "log")
    assert str(folder) in message
    assert name in message
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert left == []
    WRITERS[name](folder)


def test_full_disk_at_a_label_of_a_finished_folder_leaves_the_old_one(tmp_path):
    old = noise(20, 20).astype(np.uint8)
    write_label(tmp_path, "a", old)

    def fill(limit):
        limit()
        WRITERS["a.png"](tmp_path)

    full_disk(fill, tmp_path / "log")
    np.testing.assert_array_equal(read_label(tmp_path, "a"), old)


class FullAfter(LastCheckpoint):
    """No room is left once the first checkpoint is written."""

    limit = None

    def _publish(self, trainer):
        prepared = self._prepared_step
        super()._publish(trainer)
        if prepared is not None:
            self.limit()


def test_full_disk_at_a_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    folder = tmp_path / "cut"

    def fill(limit):
        FullAfter.limit = staticmethod(limit)
        monkeypatch.setattr("tests.resumed_runs.LastCheckpoint", FullAfter)
        train("Supervised", folder, trainer={"limit_val_batches": 0})

    message = full_disk(fill, tmp_path / "log")
    assert "checkpoint not written, it needs room there and in " in message
    assert f"{folder}/checkpoints/last.ckpt" in message
    assert "step 3 is saved; go on with: wsss-zoo fit --config " in message
    assert [path.name for path in folder.rglob("checkpoints/*")] == ["last.ckpt"]
    assert torch.load(folder / CHECKPOINT, weights_only=True)["global_step"] == 3
    monkeypatch.undo()
    options = {"trainer": {"limit_val_batches": 0}}
    resumed, whole = (train("Supervised", tmp_path / d, **options) for d in ("cut", "whole"))
    assert differences(whole, resumed) == []


# Writes a file and gives its path; and how it is read.
FILES = {
    "label": (
        lambda d: [write_label(d, "a", noise(40, 30).astype(np.uint8)), d / "a.png"][1],
        lambda path: read_label(path.parent, "a"),
    ),
    "cam": (
        lambda d: [write_cam(d, "a", noise(2, 20, 20) / 7, np.arange(2)), d / "cams/a.npz"][1],
        lambda path: read_cam(path.parent.parent, "a"),
    ),
    "graph": (
        lambda d: [write_graph(d, "a", grid_graph()), d / "a.npz"][1],
        lambda path: vars(read_graph(path.parent, "a")),
    ),
    "checkpoint": (
        lambda d: checkpoint(d / "last.ckpt"),
        lambda path: read_checkpoint(str(path))["state_dict"],
    ),
    "weights": (lambda d: checkpoint(d / "start.ckpt"), read_state_dict),
    "manifest": (
        lambda d: [write_manifest(d, a_manifest()), d / "manifest.json"][1],
        find_manifest,
    ),
}


def as_bytes(value):
    if isinstance(value, dict):
        return {name: as_bytes(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [as_bytes(inner) for inner in value]
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    return value.tobytes() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "manifest"])
def test_one_changed_bit_is_noticed_wherever_it_changes_something(kind, tmp_path):
    write, read = FILES[kind]
    path = write(tmp_path)
    whole, right = path.read_bytes(), as_bytes(read(path))
    rng, refused = random.Random(0), 0
    places = [rng.randrange(len(whole)) for _ in range(300)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = as_bytes(read(path))
        except (OSError, ValueError) as error:
            assert path.name in str(error)  # noqa: PT017
            refused += 1
        else:
            assert found == right, f"byte {place} of {len(whole)}"
    # What is between the parts of an archive says nothing.
    assert refused > 0.5 * len(places)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused_by_its_name(kind, share, tmp_path):
    write, read = FILES[kind]
    path = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    remedy = "delete|replace|predict again|init_from|give another|download|cannot be read"
    with pytest.raises((OSError, ValueError), match=remedy) as refused:
        read(path)
    assert path.name in str(refused.value)
