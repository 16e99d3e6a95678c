import io

import pytest
import torch
import yaml
from rich.console import Console

from wsss_zoo.pipeline.linked_runs import link_finished_runs
from wsss_zoo.pipeline.recipe import Recipe, Step

MODEL = {"class_path": "Supervised", "init_args": {"backbone": "test_resnet", "lr": 0.001}}
SETTINGS = {"seed_everything": 0, "model": MODEL, "trainer": {"max_steps": 4}}
RECIPE = Recipe(
    "st",
    (
        Step("warm", "fit", SETTINGS),
        Step("maps", "predict", SETTINGS),
        Step("rank", "reliability", {"last": "{maps}/pseudo_labels"}),
    ),
)


def run(folder, step=4, epoch=1, **trainer):
    """A run folder as fit leaves it."""
    model = {**MODEL, "class_path": "wsss_zoo.methods.masks.supervised.Supervised"}
    config = {"seed_everything": 0, "model": model, "trainer": {"max_steps": 4} | trainer}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    checkpoint = {"state_dict": {}, "global_step": step, "epoch": epoch, "hyper_parameters": {}}
    torch.save(checkpoint, folder / "checkpoints/last.ckpt")
    return folder


def take(root, *given):
    root.mkdir(exist_ok=True)
    console = Console(file=io.StringIO(), soft_wrap=True)
    changed = link_finished_runs(RECIPE, root, given, console)
    return changed, console.file.getvalue()


def test_links_to_a_finished_run(tmp_path):
    folder = run(tmp_path / "mine")
    assert take(tmp_path / "r", f"warm={folder}") == (True, "")
    assert (tmp_path / "r/warm").resolve() == folder
    assert take(tmp_path / "r", f"warm={folder}") == (False, "")


def test_another_run_and_none(tmp_path):
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    take(tmp_path / "r", f"warm={first}")
    assert take(tmp_path / "r", f"warm={second}")[0]
    assert (tmp_path / "r/warm").resolve() == second
    assert take(tmp_path / "r")[0]
    assert not (tmp_path / "r/warm").exists()
    assert not take(tmp_path / "r")[0]
    # Only links went.
    assert (first / "checkpoints/last.ckpt").exists()
    assert (second / "checkpoints/last.ckpt").exists()


def test_differences_are_said(tmp_path):
    folder = run(tmp_path / "mine")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["seed_everything"] = 7
    config["model"]["init_args"]["lr"] = 0.1
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    printed = take(tmp_path / "r", f"warm={folder}")[1]
    assert "differs from step warm: seed_everything is 7, not 0" in printed
    assert "model.lr is 0.1, not 0.001" in printed
    assert "backbone" not in printed
    assert "model is" not in printed


@pytest.mark.parametrize(
    ("reached", "trainer"),
    [
        ({"step": 4}, {}),
        ({"step": 9}, {}),
        ({"step": 9, "epoch": 3}, {"max_steps": -1, "max_epochs": 3}),
        ({"step": 4, "epoch": 1}, {"max_epochs": 3}),
    ],
)
def test_finished(tmp_path, reached, trainer):
    folder = run(tmp_path / "mine", **reached, **trainer)
    assert take(tmp_path / "r", f"warm={folder}")[0]


@pytest.mark.parametrize(
    ("reached", "trainer", "end"),
    [
        ({"step": 3}, {}, "end at step 4"),
        ({"step": 9, "epoch": 2}, {"max_steps": -1, "max_epochs": 3}, "end at epoch 3"),
        ({"step": 9, "epoch": 2}, {"max_steps": -1, "max_epochs": None}, "end at epoch 1000"),
    ],
)
def test_unfinished(tmp_path, reached, trainer, end):
    folder = run(tmp_path / "mine", **reached, **trainer)
    with pytest.raises(ValueError, match=rf"before its {end}; finish it: wsss-zoo fit --config"):
        take(tmp_path / "r", f"warm={folder}")
    assert not (tmp_path / "r/warm").exists()


def test_step_of_a_pipeline(tmp_path):
    folder = run(tmp_path / "mine", step=2)
    (folder / "started.json").write_text("{}")
    with pytest.raises(ValueError, match="a pipeline began it and did not finish"):
        take(tmp_path / "r", f"warm={folder}")
    (folder / "done.json").write_text("{}")
    assert take(tmp_path / "r", f"warm={folder}")[0]


def test_other_commands(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no pseudo_labels/manifest.json, so it is no finished"):
        take(tmp_path / "r", f"maps={folder}")
    (folder / "pseudo_labels").mkdir()
    (folder / "pseudo_labels/manifest.json").touch()
    (folder / "reliability.json").touch()
    assert take(tmp_path / "r", f"maps={folder}", f"rank={folder}") == (True, "")


@pytest.mark.parametrize("given", ["wram=x", "warm", "warm=", "=x"])
def test_bad_option(tmp_path, given):
    with pytest.raises(ValueError, match=r"give STEP=FOLDER, .* steps are warm, maps, rank"):
        take(tmp_path / "r", given)


def test_missing_folder_and_missing_config(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        take(tmp_path / "r", f"warm={tmp_path / 'no'}")
    folder = run(tmp_path / "mine")
    (folder / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"no config\.yaml of a run"):
        take(tmp_path / "r", f"warm={folder}")


def test_own_folder_of_the_step_stays(tmp_path):
    own = run(tmp_path / "r/warm")
    with pytest.raises(ValueError, match="already the step's own folder"):
        take(tmp_path / "r", f"warm={run(tmp_path / 'mine')}")
    assert (own / "config.yaml").exists()


def test_a_drawing_that_has_not_ended_is_refused(tmp_path):
    labels = tmp_path / "drawn" / "labels"
    labels.mkdir(parents=True)
    drawn = Recipe("sparse", (Step("drawn", "simulate", {"kind": "points"}),))
    (tmp_path / "r").mkdir()
    given, console = [f"drawn={labels.parent}"], Console(file=io.StringIO())
    (labels / "simulation.json").write_text('{"finished": false}')
    with pytest.raises(ValueError, match="did not come to its end"):
        link_finished_runs(drawn, tmp_path / "r", given, console)
    (labels / "simulation.json").write_text('{"finished": true}')
    assert link_finished_runs(drawn, tmp_path / "r", given, console)
