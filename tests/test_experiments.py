"""Every configuration in experiments runs: what does not run cannot land."""

from pathlib import Path

import pytest
import yaml

from wsss_zoo.recipe import read_recipe
from wsss_zoo.zoo_cli import ZooCLI

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
CONFIGS = sorted(EXPERIMENTS.glob("*.yaml"))
RECIPES = sorted(EXPERIMENTS.glob("pipelines/*.yaml"))

# Generated images, a tiny network and one batch in place of what the configuration says.
TINY = [
    *["--data", "Shapes", "--data.image_size", "64", "--data.crop_size", "64"],
    *["--data.num_train", "8", "--data.num_val", "2", "--data.batch_size", "2"],
    *["--data.num_workers", "0", "--data.classes", "null", "--data.pseudo_label_dir", "null"],
    *["--data.train_split", "train", "--data.predict_split", "train"],
    *["--model.backbone", "test_resnet", "--model.weights", "null", "--trainer.devices", "1"],
    *["--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"],
    *["--trainer.precision", "32", "--trainer.enable_progress_bar", "false"],
    *["--trainer.enable_model_summary", "false"],
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)
    # seed_everything leaves its seed for the processes that it starts.
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


def name(path: Path) -> str:
    return path.stem


def test_there_are_some():
    assert {"cam", "supervised"} <= set(map(name, CONFIGS))
    assert "cam" in map(name, RECIPES)


@pytest.mark.parametrize("path", [*CONFIGS, *RECIPES], ids=name)
def test_first_line_says_what_it_is_and_what_it_gave(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert "measured" in first or "not run" in first
    assert len(path.read_text().splitlines()) <= 50


@pytest.mark.parametrize("command", ["fit", "validate", "predict"])
@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_config_runs(path, command):
    ZooCLI([command, "--config", str(path), *TINY])


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_every_step_of_a_recipe_runs(path, tmp_path):
    for step in read_recipe(path).steps:
        config = tmp_path / f"{step.name}.yaml"
        config.write_text(yaml.safe_dump(step.resolved(tmp_path)))
        ZooCLI([step.command, "--config", str(config), *TINY, "--ckpt_path", "null"])
