import csv
import json
import shutil

import numpy as np
import pytest
import torch

from tests.label_folders import NAMES, write_labels
from wsss_zoo.cli import main
from wsss_zoo.data.reading.splits import read_split
from wsss_zoo.files.pseudo_labels import read_label, write_label
from wsss_zoo.functional import image_reliability
from wsss_zoo.inspection import reliability
from wsss_zoo.inspection.reliability import rank_images

IDS = [f"img {number}" for number in range(9)] + ["sub/x,y"]


@pytest.fixture
def folders(tmp_path):
    """Label maps of two earlier checkpoints and the last one."""
    paths = [tmp_path / name for name in ("early", "middle", "late")]
    for seed, path in enumerate(paths):
        write_labels(path, seed, IDS)
    return paths


def rank(folders, out, **options):
    *earlier, last = map(str, folders)
    return rank_images(earlier, last, str(out), **options)


def table(folder):
    with (folder / "reliability.csv").open(newline="") as file:
        return [(row["image_id"], float(row["reliability"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("share", "count"), [(0.5, 5), (0.25, 2), (0.99, 9)])
def test_lists_part_the_images_by_rank(folders, tmp_path, share, count):
    metrics = rank(folders, tmp_path / "out", reliable_share=share)
    reliable, unreliable = (
        read_split(tmp_path / "out" / name) for name in ("reliable.txt", "unreliable.txt")
    )
    assert len(reliable) == count
    assert sorted(reliable + unreliable) == sorted(IDS)
    rows = table(tmp_path / "out")
    assert [image_id for image_id, _ in rows] == reliable + unreliable
    values = [value for _, value in rows]
    assert values == sorted(values, reverse=True)
    for image_id, value in rows:
        early, middle, late = (torch.from_numpy(read_label(path, image_id)) for path in folders)
        expected = image_reliability(torch.stack([early, middle]), late, len(NAMES))
        assert value == pytest.approx(expected, abs=1e-6)
    written = json.loads((tmp_path / "out/reliability.json").read_text())
    assert written["metrics"] == metrics
    assert (written["images"], written["reliable"]) == (10, count)
    assert metrics["reliability/reliable"] == pytest.approx(np.mean(values[:count]), abs=1e-6)
    assert metrics["reliability/unreliable"] == pytest.approx(np.mean(values[count:]), abs=1e-6)
    assert metrics["reliability/threshold"] == pytest.approx(values[count - 1], abs=1e-6)


def test_equal_images_in_the_order_of_their_ids(tmp_path):
    paths = [tmp_path / name for name in ("early", "late")]
    for seed, path in enumerate(paths):
        write_labels(path, seed, IDS)
        for image_id in IDS:
            write_label(path, image_id, np.ones((4, 4), dtype=np.uint8))
    rank(paths, tmp_path)
    assert [image_id for image_id, _ in table(tmp_path)] == sorted(IDS)


def test_result_comes_last(folders, tmp_path, monkeypatch):
    rank(folders, tmp_path / "out")
    written = []
    monkeypatch.setattr(
        reliability, "write_atomic", lambda path, data: written.append(path.name) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        rank(folders, tmp_path / "out")
    assert written == ["reliability.csv"]
    assert not (tmp_path / "out/reliability.json").exists()


def test_command(folders, tmp_path, capsys):
    early, middle, late = folders
    config = tmp_path / "c.yaml"
    config.write_text(f"earlier: ['{early}', '{middle}']\nlast: '{late}'\n")
    args = ["reliability", "--config", str(config), "--out_dir", str(tmp_path / "a")]
    assert main(args) == 0
    printed = capsys.readouterr().out
    assert "reliability/reliable: 0." in printed
    assert str(tmp_path / "a/reliable.txt") in printed
    options = ["--earlier", f"[{early}, {middle}]", "--last", str(late)]
    options += ["--out_dir", str(tmp_path / "b"), "--reliable_share", "0.5"]
    assert main(["reliability", *options]) == 0
    for name in ("reliable.txt", "unreliable.txt", "reliability.csv", "reliability.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: shutil.rmtree(f[0]), FileNotFoundError, "early does not exist, or is no folder"),
        (lambda f: (f[2] / "manifest.json").unlink(), FileNotFoundError, "late has no manifest"),
        (
            lambda f: write_labels(f[1], 1, IDS, class_names=["background", "cat"]),
            ValueError,
            "for the classes",
        ),
        (
            lambda f: write_labels(f[1], 1, IDS, checkpoint_hash="2"),
            ValueError,
            r"middle is of the same checkpoint as .*late.*keep_parts",
        ),
        (
            lambda f: write_labels(f[1], 1, [*IDS, "more"]),
            ValueError,
            "label maps of different images, 1 are in one only, first: more",
        ),
        (
            lambda f: write_label(f[0], "img 3", np.zeros((5, 8), dtype=np.uint8)),
            ValueError,
            "label maps of img 3 have the sizes",
        ),
        (lambda f: f.pop(0) and f.pop(0), ValueError, "no folder of an earlier checkpoint"),
    ],
)
def test_refuses(folders, tmp_path, damage, error, message):
    damage(folders)
    with pytest.raises(error, match=message):
        rank(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0, -1.0])
def test_neither_list_may_be_empty(folders, tmp_path, share):
    with pytest.raises(ValueError, match=f"reliable_share {share} of 10 images"):
        rank(folders, tmp_path / "out", reliable_share=share)
