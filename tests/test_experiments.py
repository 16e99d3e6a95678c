"""Every configuration in experiments runs: what does not run cannot land."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import wsss_zoo
from tests.data.graph_folders import write_graphs
from tests.label_folders import write_labels
from tests.saliency_networks import save_network
from tests.tiny import images, tiny
from wsss_zoo import Shapes
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label
from wsss_zoo.files.saliency_maps import write_saliency_map
from wsss_zoo.pipeline.recipe import read_recipe

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
CONFIGS = sorted([*EXPERIMENTS.glob("*.yaml"), *EXPERIMENTS.glob("voc_animals/*.yaml")])
RECIPES = sorted(EXPERIMENTS.glob("pipelines/*.yaml"))

WHOLE = ["--data.classes", "null", "--data.train_split", "train"]
# Generated images, a tiny network and one batch in place of what the configuration says.
TINY = [
    *tiny(),
    *[*WHOLE, "--data.pseudo_label_dir", "null"],
    *["--data.labeled_split", "null", "--data.unlabeled_split", "null"],
    *["--data.novel_classes", "null", "--data.sparse_dir", "null"],
    *["--model.init_from", "null"],
    *["--data.predict_split", "train"],
    *["--model.weights", "null", "--trainer.devices", "1"],
    *["--trainer.fast_dev_run", "true", "--trainer.precision", "32"],
]
# Names of what these options replace, and of what the runs get from elsewhere.
REPLACED = {option.rpartition(".")[2] for option in TINY[::2] if "." in option}
REPLACED |= {"class_path", "root", "graph_dir", "val_split", "ckpt_path", "seed_everything"}
REPLACED |= {"max_steps", "max_epochs", "channels", "decoder_layers", "feedforward"}
# Of these, what a method without a network for images does not take.
NO_NETWORK = {"--model.backbone", "--model.weights"}
# What a method needs besides to fit the tiny images.
OWN = {
    "cpc": ["--model.patch_size", "16", "--model.patch_stride", "8", "--model.val_size", "64"],
}
# What weak-shot methods need besides.
NOVEL = ["--data.novel_classes", "[daisy]"]
# A decoder of proposals that is as small as the network.
DECODER = {"channels": "32", "decoder_layers": "2", "feedforward": "64"}
# Pretext tasks make no labels.
WITHOUT_PREDICT = {"cpc"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)
    # seed_everything leaves its seed for the processes that it starts.
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


def name(path: Path) -> str:
    return path.stem


def place(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def own_options(path: Path) -> list[str]:
    """What a configuration needs besides; half of the images is labelled where the rest counts."""
    method = method_of(path)
    semi = getattr(wsss_zoo, method).supervision == "semi"
    own = [*of_method(method), *OWN.get(name(path), [])]
    return ["--data.labeled_split", "0.5" if semi else "null", *own]


def of_method(method: str) -> list[str]:
    """What a method needs besides, to train and to be quick."""
    if method == "UniMatchV2":
        return ["--model.architecture", "deeplabv3plus", "--model.output_stride", "16"]
    if method == "CoAttention":
        return ["--model.convs", "1"]
    if method not in ("MaskFormer", "SimFormer"):
        return []
    decoder = [token for key, size in DECODER.items() for token in (f"--model.{key}", size)]
    return [*decoder, *(NOVEL if method == "SimFormer" else [])]


def method_of(path: Path) -> str:
    return yaml.safe_load(path.read_text())["model"]["class_path"]


def test_there_are_some():
    assert {"cam", "supervised"} <= set(map(name, CONFIGS))
    assert "cam" in map(name, RECIPES)


@pytest.mark.parametrize(
    "path", [*CONFIGS, *RECIPES], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_first_line_says_what_it_is_and_what_it_gave(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert "measured" in first or "not run" in first
    assert len(path.read_text().splitlines()) <= 50


@pytest.mark.parametrize("path", RECIPES, ids=place)
def test_recipe_can_be_read(path):
    assert all(step.resolved(path.parent) for step in read_recipe(path).steps)


# Those of the measured rows train as their method's other one, and validate and predict below.
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.parent.name == "voc_animals" else [])
        for path in CONFIGS
    ],
    ids=map(place, CONFIGS),
)
def test_config_trains(path):
    cli = ZooCLI(["fit", "--config", str(path), *TINY, *own_options(path)])
    assert cli.trainer.global_step == 1


# Configurations of a method differ in how they train, and some methods in nothing else.
EVALUATED = {method_of(path): path for path in CONFIGS}
ALIKE = {"PiModel", "MeanTeacher", "TemporalEnsembling", "UniMatch", "UniMatchV2", "CPS"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if method in ALIKE else [])
        for method, path in EVALUATED.items()
    ],
    ids=map(place, EVALUATED.values()),
)
def test_method_of_a_config_validates_and_predicts(path):
    args = ["--config", str(path), *TINY, *own_options(path)]
    cli = ZooCLI(["validate", *args])
    assert any(metric.startswith("val/") for metric in cli.trainer.callback_metrics)
    if name(path) in WITHOUT_PREDICT:
        with pytest.raises(ValueError, match="there is nothing to predict"):
            ZooCLI(["predict", *args])
    else:
        ZooCLI(["predict", *args])


@pytest.fixture(scope="module")
def done():
    """What the steps that have run are told apart by."""
    return set()


def kept(settings):
    """Settings without what the tiny run replaces."""
    if not isinstance(settings, dict):
        return settings
    inner = {key: kept(value) for key, value in settings.items() if key not in REPLACED}
    return {key: value for key, value in inner.items() if value != {}}


def beyond(settings, others):
    """Settings that another step lacks or has otherwise."""
    if not isinstance(settings, dict) or not isinstance(others, dict):
        return settings
    return {
        key: beyond(value, others.get(key))
        for key, value in settings.items()
        if value != others.get(key)
    }


def identity(step, steps):
    """What makes a step another than those of other recipes.

    A training is known by all of its settings, what follows it by those that the training lacks.
    """
    settings = dict(step.settings)
    trained = re.fullmatch(r"\{(\w+)\}/checkpoints/last\.ckpt", settings.get("ckpt_path", ""))
    method = settings.get("model", {}).get("class_path")
    if trained:
        settings = beyond(settings, steps[trained[1]].settings)
    return json.dumps([step.command, method, kept(settings)], sort_keys=True)


# These take the steps of other recipes to one data set; what they read is replaced here.
TO_ANOTHER_DATA_SET = ("_voc_animals", "_folder")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, marks=[pytest.mark.slow] if path.stem.endswith(TO_ANOTHER_DATA_SET) else []
        )
        for path in RECIPES
    ],
    ids=map(place, RECIPES),
)
def test_every_step_of_a_recipe_runs(path, tmp_path, done):
    """Steps that are the same but for what the tiny run replaces run once."""
    steps = {step.name: step for step in read_recipe(path).steps}
    new = {identity(step, steps): step for step in reversed(steps.values())}
    for step in [step for key, step in new.items() if key not in done]:
        config = tmp_path / f"{step.name}.yaml"
        settings = step.resolved(tmp_path)
        config.write_text(yaml.safe_dump(settings))
        if step.ranks:
            for number, folder in enumerate([*settings["earlier"], settings["last"]]):
                write_labels(Path(folder), number)
            main([step.command, "--config", str(config), "--out_dir", str(tmp_path)])
            continue
        if step.command == "simulate":
            drawn = ["--data", "Shapes", *images(), *WHOLE, "--out", str(tmp_path / "drawn")]
            assert main([step.command, "--config", str(config), *drawn]) == 0
            continue
        if step.writes_files:
            maps = tmp_path / "written" / "maps"
            assert main([step.command, "--config", str(config), *map_options(maps)]) == 0
            continue
        options = step_options(settings, tmp_path)
        ZooCLI([step.command, "--config", str(config), *options, "--ckpt_path", "null"])
    done |= new.keys()


def map_options(out: Path) -> list[str]:
    """Tiny images, a tiny network for saliency, and the folder to write."""
    out.mkdir(parents=True)
    network = str(save_network(out.with_name("tiny.onnx")))
    data = ["--data", "Shapes", *images(), *WHOLE, "--data.predict_split", "train"]
    options = [*data, "--trainer.accelerator", "cpu"]
    return [*options, "--trainer.devices", "1", "--model_path", network, "--out", str(out)]


def step_options(settings, folder: Path) -> list[str]:
    """Tiny images and network, and folders of labels and graphs where the step reads some."""
    options = list(TINY)
    data = Shapes(image_size=64, num_train=8, num_val=2)
    ids, names = data.split_ids("train"), data.class_names
    if settings["model"]["class_path"] == "GATCorrector":
        graphs = write_graphs(folder / "graphs", ids, names, size=(64, 64), channels=256)
        pairs = zip(TINY[::2], TINY[1::2], strict=True)
        options = [token for pair in pairs if pair[0] not in NO_NETWORK for token in pair]
        options += ["--data.graph_dir", graphs]
    options += of_method(settings["model"]["class_path"])
    if getattr(wsss_zoo, settings["model"]["class_path"]).supervision == "semi":
        options += ["--data.labeled_split", "0.5"]
    if "saliency_dir" in settings.get("labels", {}):
        for image_id in ids:
            maps = Path(settings["labels"]["saliency_dir"])
            write_saliency_map(maps, image_id, np.full((64, 64), 200, np.uint8))
    for group in {"noise", "graphs"} & set(settings):
        labels = folder / "labels"
        for image_id in ids:
            write_label(labels, image_id, np.ones((64, 64), np.uint8))
        write_manifest(labels, Manifest("CAM", names, len(ids), "c", "w", {}, "train"))
        options += [f"--{group}.pseudo_label_dir", str(labels)]
    return [*options, *(["--graphs.threshold", "1.0"] if "graphs" in settings else [])]
