"""Recipes are found by name, from the repository and from a built wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.each import each
from tests.tiny import tiny
from tests.training.conftest import ShapesFolder
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.recipes import shipped
from wsss_zoo.recipes.shipped import find_recipe, shipped_recipes, with_shipped_configs

ROOT = Path(__file__).parents[2]
# One step of experiments/fixmatch.yaml on generated images.
SEMI = [
    *["--data.train_split", "train", "--data.labeled_split", "0.5", "--data.unlabeled_split"],
    *["null", "--model.weights", "null", "--model.init_from", "null", "--trainer.devices", "1"],
    *["--trainer.precision", "32", "--trainer.fast_dev_run", "true"],
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_recipe_has_a_name():
    written = {path for path in (ROOT / "experiments").rglob("*.yaml") if "sweeps" not in str(path)}
    assert {*shipped_recipes("fit").values(), *shipped_recipes("pipeline").values()} == written
    assert {"fixmatch", "voc_animals/fixmatch"} <= shipped_recipes("fit").keys()
    assert "tags_folder" in shipped_recipes("pipeline")


@each(
    ("given", "kind", "found"),
    [
        ("tags_folder", "pipeline", "pipelines/tags_folder.yaml"),
        ("cam", "pipeline", "pipelines/cam.yaml"),
        ("cam", "fit", "cam.yaml"),
        ("voc_animals/cps", "fit", "voc_animals/cps.yaml"),
        # As documentation writes it, where there is no repository.
        ("experiments/pipelines/cam.yaml", "pipeline", "pipelines/cam.yaml"),
        ("experiments/fixmatch.yaml", "fit", "fixmatch.yaml"),
    ],
)
def test_a_name_is_found(given, kind, found):
    assert find_recipe(given, kind) == ROOT / "experiments" / found


def test_a_file_comes_before_a_recipe(tmp_path):
    Path("cam").write_text("model: {class_path: CAM}")
    assert find_recipe("cam", "fit") == Path("cam")


@each(
    ("given", "kind", "message"),
    [
        ("tag_folder", "pipeline", "there is no file tag_folder, .*did you mean tags_folder"),
        ("nothing.yaml", "fit", "there is no file nothing.yaml"),
        ("../secret", "fit", "there is no file"),
        ("sweeps/fixmatch", "fit", "no recipe of that name"),
    ],
)
def test_an_unknown_name_is_refused(given, kind, message):
    with pytest.raises(FileNotFoundError, match=message):
        find_recipe(given, kind)


def test_only_names_of_recipes_are_replaced(tmp_path):
    own = tmp_path / "own.yaml"
    own.touch()
    text = "{trainer: {max_steps: 1}}"
    args = ["--config", "fixmatch", "--config", str(own), f"--config={text}", "--data.root", "cam"]
    cps = str(ROOT / "experiments" / "fixmatch.yaml")
    assert with_shipped_configs(args) == [
        *["--config", cps, "--config", str(own), "--config", text, "--data.root", "cam"]
    ]


def test_a_package_without_recipes_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path / "gone",))
    with pytest.raises(FileNotFoundError, match="install wsss_zoo again"):
        find_recipe("cam", "fit")


def test_the_command_lists_and_prints(capsys):
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert "tags_folder" in printed
    assert "FixMatch on your own folder" in printed
    assert main(["recipes", "tags_folder"]) == 0
    assert next(iter(yaml.safe_load(capsys.readouterr().out)["steps"])) == "cam"
    with pytest.raises(SystemExit):
        main(["recipes", "cam"])
    assert "add --kind pipeline" in capsys.readouterr().err
    assert main(["recipes", "cam", "--kind", "fit"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["class_path"] == "CAM"


def test_fit_and_pipeline_take_names(capsys, monkeypatch):
    cli = ZooCLI(["fit", "--config", "fixmatch", *tiny(), *SEMI])
    assert cli.trainer.global_step == 1
    with pytest.raises(SystemExit):
        ZooCLI(["fit", "--config", "fixmach"])
    assert "did you mean fixmatch?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["pipeline", "tag_folder"])
    assert "did you mean tags_folder?" in capsys.readouterr().err
    monkeypatch.setattr("wsss_zoo.pipeline.command._call", lambda *_: 1)
    assert main(["pipeline", "tags_folder", "--data.root", "none"]) == 1
    assert "wsss-zoo fit --config runs/pipelines/tags_folder/cam/step.yaml" in (
        capsys.readouterr().out
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What a build reads, where it may leave its files."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    unread = shutil.ignore_patterns("__pycache__", "*.zip")
    for name in ("wsss_zoo", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=unread)
    return folder


def installed(folder, *args):
    """Run the package that lies in a folder, where nothing else is, without network."""
    offline = {"HF_HUB_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": ""}
    environment = {**os.environ, "PYTHONPATH": str(folder), **offline}
    command = [sys.executable, "-m", "wsss_zoo", *args]
    empty = folder.parent / "elsewhere"
    empty.mkdir(exist_ok=True)
    return subprocess.run(
        command, cwd=empty, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_build_has_the_recipes(sources, tmp_path):
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(build, cwd=sources, check=True, capture_output=True, timeout=300)
    copied = tmp_path / "wsss_zoo" / "recipes" / "shipped"
    written = ROOT / "experiments"
    names = {path.relative_to(written) for path in written.rglob("*.yaml")}
    assert {path.relative_to(copied) for path in copied.rglob("*") if path.is_file()} == names
    assert all((copied / name).read_bytes() == (written / name).read_bytes() for name in names)


@pytest.mark.slow
def test_a_wheel_has_the_recipes(sources, tmp_path):
    wheels, package = tmp_path / "wheels", tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "-w", wheels, sources], check=True, capture_output=True, timeout=300)
    (wheel,) = wheels.glob("wsss_zoo-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(package)
    listed = installed(package, "recipes")
    assert listed.returncode == 0, listed.stderr
    assert "tags_folder" in listed.stdout
    trained = installed(package, "fit", "--config", "fixmatch", *tiny(), *SEMI)
    assert trained.returncode == 0, trained.stderr
    started = installed(package, "pipeline", "tags_folder", "--data.root", "nowhere")
    assert started.returncode == 1
    assert "data root nowhere does not exist" in started.stderr
    ShapesFolder(tmp_path / "elsewhere/photos", images=4, masks=4)
    options = ["--plan", "--weights", "none", "--backbone", "test_resnet"]
    planned = installed(package, "train", "photos", *options)
    assert planned.returncode == 0, planned.stderr
    assert "recipe:   masks_folder" in planned.stdout
    for command in ("pipeline", "next", "audit"):
        assert installed(package, command, "--help").returncode == 0
