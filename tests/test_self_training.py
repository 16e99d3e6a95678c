"""ST++ from its recipe, end to end on generated images."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from wsss_zoo import Shapes
from wsss_zoo.cli import main
from wsss_zoo.data.reading.splits import read_split, write_split
from wsss_zoo.files.pseudo_labels import read_label
from wsss_zoo.pipeline import command as pipeline

RECIPE = (
    Path(__file__).parent.parent / "experiments" / "pipelines" / "st_plus_plus_voc_animals.yaml"
)
# The recipe with generated images, a tiny network and few steps in place of its own.
TINY = {
    "class_path": "Shapes",
    "init_args": {
        "num_train": 13,
        "num_val": 2,
        "image_size": 64,
        "crop_size": 48,
        "batch_size": 2,
        "num_workers": 0,
        "repeat_labeled": True,
        "photometric": "pseudo",
    },
}


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """Three images with masks and ten without."""
    folder = tmp_path_factory.mktemp("lists")
    ids = Shapes(num_train=13).split_ids("train")
    write_split(folder / "labeled.txt", ids[:3])
    write_split(folder / "unlabeled.txt", ids[3:])
    return folder


@pytest.fixture(scope="module")
def recipe(lists, tmp_path_factory):
    content = yaml.safe_load(RECIPE.read_text())
    unlabeled = str(lists / "unlabeled.txt")
    data = json.loads(json.dumps(TINY))
    data["init_args"] |= {"labeled_split": str(lists / "labeled.txt")}
    data["init_args"] |= {"train_split": unlabeled, "predict_split": unlabeled}
    content["common"] = {
        "model": {"class_path": "Supervised", "init_args": {"backbone": "test_resnet"}},
        "data": data,
        "trainer": {"accelerator": "cpu", "max_steps": 7}
        | {"enable_progress_bar": False, "enable_model_summary": False},
    }
    for step in content["steps"].values():
        step.pop("trainer", None)
        step.pop("evaluation", None)
    path = tmp_path_factory.mktemp("recipe") / "st.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch, calls):
    """Importing torch anew for each step would take longer than the step."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")

    def call(command, recipe, step, lock):
        calls.append(step.name)
        return main(command[3:])

    monkeypatch.setattr(pipeline, "_call", call)


@pytest.fixture
def calls():
    return []


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Filled by the first test, read by the others."""
    return tmp_path_factory.mktemp("pipeline") / "r"


def test_runs(recipe, root, calls):
    assert main(["pipeline", str(recipe), "--root", str(root)]) == 0
    names = list(yaml.safe_load(recipe.read_text())["steps"])
    assert calls == names
    report = json.loads((root / "summary.json").read_text())["report"]
    assert all(isinstance(value, float) for value in report.values())
    kept = sorted(path.name for path in (root / "warm/checkpoints").iterdir())
    assert kept == ["last.ckpt", "part_1.ckpt", "part_2.ckpt"]


def test_lists_part_the_unlabelled_images(root, lists):
    reliable, unreliable = (
        read_split(root / "rank" / name) for name in ("reliable.txt", "unreliable.txt")
    )
    assert sorted(reliable + unreliable) == read_split(lists / "unlabeled.txt")
    assert len(reliable) == 5
    manifest = json.loads((root / "reliable/pseudo_labels/manifest.json").read_text())
    assert (manifest["split"], manifest["count"]) == ("reliable.txt", 5)


def test_final_stage_trains_on_both_halves_and_the_repeated_list(root, lists):
    data = training_data(root / "final")
    labeled = read_split(lists / "labeled.txt")
    assert list(data.ids) == labeled * 4 + read_split(lists / "unlabeled.txt")
    for step, name in (("reliable", "reliable.txt"), ("unreliable", "unreliable.txt")):
        for image_id in read_split(root / "rank" / name):
            expected = read_label(root / step / "pseudo_labels", image_id)
            np.testing.assert_array_equal(data.read_mask(image_id), expected)
    for image_id in labeled:
        np.testing.assert_array_equal(data.read_mask(image_id), data.source.read_mask(image_id))


def test_middle_stage_trains_on_the_reliable_half(root, lists):
    data = training_data(root / "student")
    reliable = read_split(root / "rank/reliable.txt")
    assert sorted(set(data.ids)) == sorted(read_split(lists / "labeled.txt") + reliable)
    assert data.pseudo_ids == frozenset(reliable)


def training_data(folder):
    """Training images of a step, from the configuration it saved."""
    from wsss_zoo.cli.training import make_data

    data = make_data(yaml.safe_load((folder / "config.yaml").read_text())["data"])
    data.setup("fit")
    return data._train


def test_second_run_does_nothing(recipe, root, calls):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != ".lock"}
    assert main(["pipeline", str(recipe), "--root", str(root)]) == 0
    assert calls == []
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != ".lock"}
    assert before == after


@pytest.mark.slow
def test_warm_run_of_another_place(recipe, root, calls, tmp_path, capsys):
    args = [str(recipe), "--root", str(tmp_path / "r"), "--use", f"warm={root / 'warm'}"]
    for step in ("student", "final"):
        args += [f"--{step}.trainer.max_steps", "2"]
    untouched = {path: path.stat().st_mtime_ns for path in (root / "warm").rglob("*")}
    assert main(["pipeline", *args]) == 0
    assert calls[:2] == ["early", "middle"]
    assert f"taken from {root / 'warm'}" in capsys.readouterr().out
    # The same checkpoints rank the same.
    for name in ("reliable.txt", "reliability.csv"):
        assert (tmp_path / "r/rank" / name).read_bytes() == (root / "rank" / name).read_bytes()
    calls.clear()
    assert main(["pipeline", *args]) == 0
    assert calls == []
    assert untouched == {path: path.stat().st_mtime_ns for path in (root / "warm").rglob("*")}
    summary = json.loads((tmp_path / "r/summary.json").read_text())["steps"]["warm"]
    assert summary["taken"]
    assert summary["seconds"] is None


def test_another_share_keeps_the_predictions(recipe, root, calls):
    assert main(["pipeline", str(recipe), "--root", str(root), "--rank.reliable_share", "0.3"]) == 0
    # So few steps may come to the same final network, which then is not measured again.
    assert calls[:5] == ["rank", "reliable", "student", "unreliable", "final"]
    assert len(read_split(root / "rank/reliable.txt")) == 3


def test_lost_list_is_made_again(recipe, root, calls):
    args = [str(recipe), "--root", str(root), "--rank.reliable_share", "0.3"]
    (root / "rank/unreliable.txt").unlink()
    assert main(["pipeline", *args]) == 0
    assert calls == ["rank"]


def test_missing_checkpoint_is_named(recipe, root, tmp_path, capsys):
    args = [str(recipe), "--root", str(tmp_path / "r"), "--use", f"warm={root / 'warm'}"]
    with pytest.raises(SystemExit):
        main(["pipeline", *args, "--early.ckpt_path", "no.ckpt"])
    assert "checkpoint no.ckpt: there is no such file" in capsys.readouterr().err


def test_one_split_for_all_steps_is_refused(recipe, tmp_path, capsys):
    args = [str(recipe), "--root", str(tmp_path / "r"), "--data.train_split", "train"]
    with pytest.raises(SystemExit):
        main(["pipeline", *args])
    message = "--data.train_split cannot be the same for all steps; give --STEP.data.train_split"
    assert message in capsys.readouterr().err
