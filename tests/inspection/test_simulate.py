"""``wsss-zoo simulate``: files that training reads, the same each time."""

import json

import numpy as np
import pytest
from skimage import measure

from tests.tiny import QUIET, tiny
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.data import Shapes
from wsss_zoo.files.decoding import read_index_mask
from wsss_zoo.functional import simulate_scribbles

DATA = ["--data", "Shapes", "--data.image_size", "64", "--data.num_train", "5"]


def simulate(out, kind, *options):
    return main(["simulate", *DATA, "--kind", kind, "--out", str(out), *options])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["scribbles", "points", "boxes", "blocks"])
def test_labels_are_those_of_the_masks(kind, tmp_path, capsys):
    assert simulate(tmp_path / "out", kind) == 0
    assert f"--data.sparse_dir {tmp_path / 'out'}" in capsys.readouterr().out
    first = content(tmp_path / "out")
    assert simulate(tmp_path / "out", kind) == 0
    assert content(tmp_path / "out") == first
    options = {"num_train": 5, "num_val": 2, "image_size": 64, "crop_size": 64, "batch_size": 2}
    data = Shapes(supervision="sparse", sparse_dir=str(tmp_path / "out"), num_workers=0, **options)
    data.setup("fit")
    train = data._train
    assert train.num_labeled == 5
    for image_id in train.ids:
        mask = data.read_mask(image_id)
        known = train.labels.read(image_id, (64, 64))
        drawn = known.mask != 255
        if kind == "boxes":
            assert len(known.boxes.inside) == len(np.unique(mask)) - 1
            assert (mask[drawn & (known.mask == 0)] == 0).all()
        else:
            assert (known.mask == mask)[drawn].all()
            assert set(np.unique(known.mask)) - {255} == set(np.unique(mask)) - {255}
    settings = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert settings["finished"]
    assert settings["shapes"] == count_shapes(tmp_path / "out")


def count_shapes(folder):
    """Boxes of at least 50 pixels, and pieces of each class, by another library."""
    if (folder / "boxes.csv").exists():
        lines = [line.split(",") for line in (folder / "boxes.csv").read_text().split()[1:]]
        sides = [[float(side) for side in line[2:]] for line in lines]
        return sum((x1 - x0) * (y1 - y0) >= 50 for x0, y0, x1, y1 in sides)
    maps = [read_index_mask(str(path)) for path in (folder / "sparse").glob("*.png")]
    return sum(
        measure.label(mask == index, connectivity=2).max()
        for mask in maps
        for index in set(np.unique(mask)) - {255}
    )


def test_the_seed_goes_with_the_id(tmp_path):
    simulate(tmp_path, "scribbles", "--seed", "7")
    import zlib

    mask = Shapes(image_size=64).read_mask("train_000003")
    drawn = read_index_mask(str(tmp_path / "sparse" / "train_000003.png"))
    wanted = simulate_scribbles(mask, [7, zlib.crc32(b"train_000003")])
    np.testing.assert_array_equal(drawn, wanted)


def test_a_folder_of_something_else_is_refused(tmp_path):
    simulate(tmp_path / "a", "points")
    with pytest.raises(ValueError, match="holds labels of another kind, seed; give another folder"):
        simulate(tmp_path / "a", "boxes", "--seed", "1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="b is not empty; give a folder that does not exist"):
        simulate(tmp_path / "b", "boxes")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["thesis.txt"]


def test_a_method_trains_on_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate(tmp_path / "out", "boxes", "--jitter", "0.1")
    options = [*tiny(train=5), "--data.sparse_dir", str(tmp_path / "out"), *QUIET]
    cli = ZooCLI(["fit", "--model", "Sparse", *options, "--trainer.max_steps", "2"])
    assert cli.trainer.global_step == 2
