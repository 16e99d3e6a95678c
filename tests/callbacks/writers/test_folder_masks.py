import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from wsss_zoo.callbacks.writers.folder_masks import FolderMaskWriter, LabelProgress
from wsss_zoo.drawing.overlay import draw_overlay
from wsss_zoo.files.label_folder import LabelFolder


class Trainer:
    """What the callbacks ask of one, on a rank; ``sent`` is what each rank broadcasts."""

    def __init__(self, rank=0, ranks=1, sent=()):
        self.global_rank, self.world_size = rank, ranks
        self.is_global_zero, self.received_sigterm = rank == 0, False
        self.strategy = SimpleNamespace(broadcast=lambda value, source: sent[source])
        self.datamodule = SimpleNamespace(files=list("abcde"), left=list("cde"), resumed_by=[])


class Folder(LabelFolder):
    """Keeps what it is given."""

    def write(self, image_id, mask, overlay):
        self.written = (image_id, mask, overlay)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path, {})


def outputs():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return {"image": image, "preds": generator.integers(0, 3, (6, 5), dtype=np.uint8)}


@pytest.mark.parametrize("opacity", [0.0, 0.4])
def test_what_is_written(folder, opacity):
    given, expected = outputs(), outputs()
    draw_overlay(expected["image"], expected["preds"], opacity=0.4, background=True)
    writer = FolderMaskWriter(folder, ["background"], opacity=opacity)
    writer.on_predict_batch_end(Trainer(), None, given, {"image_id": "a", "path": "a.png"}, 0)
    image_id, mask, overlay = folder.written
    assert image_id == "a"
    np.testing.assert_array_equal(mask, expected["preds"])
    if opacity:
        np.testing.assert_array_equal(overlay, expected["image"])
    else:
        assert overlay is None


def test_problems_of_all_ranks(folder):
    writer = FolderMaskWriter(folder, ["background"])
    folder.begin({}, overwrite=False)
    writer.on_predict_batch_end(Trainer(), None, {"problem": "z"}, {}, 0)
    assert writer.problems == ["z"]
    data = SimpleNamespace(problems=["w"], relative_paths=dict)
    sent = [(writer.problems, ["d.gif"]), ([], []), (["x", "a"], ["b.tif"])]
    writer._finish_folder(Trainer(ranks=3, sent=sent), data)
    assert writer.problems == ["w", "a", "x", "z"]
    assert writer.several_frames == ["b.tif", "d.gif"]
    written = json.loads((folder.directory / "manifest.json").read_text())
    assert written["problems"] == writer.problems


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_raises(folder, rank):
    """A rank that raised alone would leave the others waiting."""
    (folder.directory / "notes.txt").touch()
    trainer = Trainer(rank, 2)
    said = ValueError(f"{folder.directory} is not empty")
    trainer.strategy.broadcast = lambda value: value if rank == 0 else said
    trainer.datamodule.files = {}
    writer = FolderMaskWriter(folder, ["background"])
    writer.setup(trainer, None, "predict")
    with pytest.raises(ValueError, match="is not empty"):
        writer.on_predict_start(trainer, None)


def test_progress(capsys):
    bars = LabelProgress(Console(width=100))
    trainer = Trainer(ranks=2)
    bars.on_predict_start(trainer, None)
    bars.draw_tile("big [1]", 3, 8)
    bars.on_predict_batch_end(trainer, None, {}, {}, 0)
    bars.on_predict_batch_end(trainer, None, {}, {}, 1)
    bars.teardown(trainer, None, "predict")
    bars.on_exception(trainer, None, ValueError())
    assert "5/5" in capsys.readouterr().out


def test_no_bar_on_other_ranks(capsys):
    bars = LabelProgress(Console(width=100))
    bars.on_predict_start(Trainer(1, 2), None)
    bars.on_predict_batch_end(Trainer(1, 2), None, {}, {}, 0)
    bars.teardown(Trainer(1, 2), None, "predict")
    assert capsys.readouterr().out == ""
