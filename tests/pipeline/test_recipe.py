from pathlib import Path

import pytest
import yaml

from wsss_zoo.pipeline.recipe import merge, read_recipe

RECIPE = """
common:
  seed_everything: 0
  data: {class_path: Shapes, init_args: {crop_size: 64}}
steps:
  cam:
    command: fit
    model: {class_path: CAM, init_args: {backbone: test_resnet}}
    trainer: {max_steps: 5}
  maps:
    command: predict
    from: cam
    labels: {save_cams: true}
  segmenter:
    command: fit
    model: {class_path: Supervised}
    data: {init_args: {pseudo_label_dir: "{maps}/pseudo_labels"}}
"""


@pytest.fixture
def recipe(tmp_path):
    """Read the recipe above, with options of the user and changes of its text."""

    def read(*overrides, change=("", ""), more=""):
        path = tmp_path / "tags.yaml"
        path.write_text(RECIPE.replace(*change) + more)
        return read_recipe(path, overrides)

    return read


def test_steps_in_order_with_common_settings(recipe):
    read = recipe()
    assert read.name == "tags"
    assert [step.name for step in read.steps] == ["cam", "maps", "segmenter"]
    assert [step.command for step in read.steps] == ["fit", "predict", "fit"]
    assert all(step.settings["seed_everything"] == 0 for step in read.steps)
    assert read.steps[2].settings["data"]["init_args"] == {
        "crop_size": 64,
        "pseudo_label_dir": "{maps}/pseudo_labels",
    }


def test_from_takes_model_and_checkpoint(recipe):
    cam, maps, _ = recipe().steps
    assert maps.settings["model"] == cam.settings["model"]
    assert maps.settings["ckpt_path"] == "{cam}/checkpoints/last.ckpt"
    assert "trainer" not in maps.settings


def test_placeholders_are_folders(recipe):
    _, maps, segmenter = recipe().steps
    assert maps.inputs() == ["{cam}/checkpoints/last.ckpt"]
    assert maps.resolved(Path("r"))["ckpt_path"] == "r/cam/checkpoints/last.ckpt"
    assert segmenter.inputs() == ["{maps}/pseudo_labels"]
    data = segmenter.resolved(Path("r"))["data"]["init_args"]
    assert data == {"crop_size": 64, "pseudo_label_dir": "r/maps/pseudo_labels"}


def test_options_for_all_and_for_one(recipe):
    cam, maps, segmenter = recipe(
        *["--data", "VOC2012", "--data.root", "/v", "--cam.trainer.max_steps=9"],
        *[
            "--seed_everything",
            "3",
            "--cam.model.backbone",
            "resnet18",
            "--maps.labels.crf",
            "true",
        ],
    ).steps
    shared = ("--data", "VOC2012", "--data.root", "/v", "--seed_everything", "3")
    assert cam.overrides == (*shared, "--trainer.max_steps=9", "--model.backbone", "resnet18")
    # The model of cam is the one of maps too, also as far as the user changes it.
    assert maps.overrides == (*shared, "--model.backbone", "resnet18", "--labels.crf", "true")
    assert segmenter.overrides == shared


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--cma.trainer.max_steps=3", "is for no step: .* steps are cam, maps, segmenter"),
        ("stray", "is for no step"),
        ("--cam.max_steps=3", "'max_steps' is no option of a step's command"),
        ("--model=CAM", "cannot be the same for all steps; give --STEP.model"),
        ("--ckpt_path=x", "cannot be the same for all steps; give --STEP.ckpt_path"),
        ("--trainer.default_root_dir=x", "--root chooses the folder"),
        ("--config=x", "is for no step"),
    ],
)
def test_options_for_no_step(recipe, option, message):
    with pytest.raises(ValueError, match=message):
        recipe(option)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps:", "stages:"), "is no recipe: it needs 'steps'"),
        (("common:", "shared:"), "unknown key 'shared'; a recipe has common, steps, report, sheet"),
        (("seed_everything", "seed"), "common: unknown key 'seed'; there are channels_last,"),
        (("command: predict", "command: label"), "step 'maps' needs 'command', one of fit, val"),
        (("  maps:", "  labels:"), "step 'labels': a name is letters, digits and _, and none of"),
        (("  maps:", "  a/b:"), "step 'a/b': a name is letters"),
        (("from: cam", "from: segmenter"), "'from: segmenter' takes the model of an earlier fit"),
        (("{maps}", "{nothing}"), "refers to 'nothing', which is no earlier step; there are cam,"),
        (("labels: {", "label: {"), "step 'maps': unknown key 'label'"),
        (("max_steps: 5}", "max_steps: 5}]"), "is not YAML"),
        (
            ("\nsteps:", "\nreport: {mAP: maps}\nsteps:"),
            "report 'mAP' is 'maps', but must be step:",
        ),
        (("\nsteps:", "\nsheet: {images: nil}\nsteps:"), "sheet .images.: .nil.; it maps images"),
        (("\nsteps:", "\nsheet: {cam: maps}\nsteps:"), "sheet 'cam': 'maps'; it maps images"),
    ],
)
def test_bad_recipes(recipe, change, message):
    with pytest.raises(ValueError, match=message):
        recipe(change=change)


def test_missing_recipe():
    with pytest.raises(FileNotFoundError, match=r"there is no recipe no\.yaml"):
        read_recipe(Path("no.yaml"))


RANKING = """  early: {command: predict, from: cam, ckpt_path: "{cam}/checkpoints/part_1.ckpt"}
  rank: {command: reliability, earlier: ["{early}/pseudo_labels"], last: "{maps}/pseudo_labels"}
  student:
    command: fit
    model: {class_path: Supervised, init_args: {lr: 0.1, init_from: "{cam}/checkpoints/last.ckpt"}}
    data: {init_args: {train_split: "{rank}/reliable.txt"}}
  check: {command: validate, from: student}
"""


def test_ranking_step(recipe):
    options = ("--seed_everything", "3", "--rank.reliable_share", "0.3")
    steps = {step.name: step for step in recipe(*options, more=RANKING).steps}
    rank = steps["rank"]
    assert rank.ranks
    assert not steps["student"].ranks
    # Nothing of common, and only the options given for it.
    assert set(rank.settings) == {"earlier", "last"}
    assert rank.overrides == ("--reliable_share", "0.3")
    assert rank.inputs() == ["{early}/pseudo_labels", "{maps}/pseudo_labels"]
    assert rank.resolved(Path("r"))["earlier"] == ["r/early/pseudo_labels"]
    assert steps["early"].settings["ckpt_path"] == "{cam}/checkpoints/part_1.ckpt"


def test_from_leaves_start_weights_out(recipe):
    overrides = ["--student.model.init_from", "x", "--student.model.lr", "0.2"]
    student, check = recipe(*overrides, more=RANKING).steps[-2:]
    assert check.settings["model"] == {"class_path": "Supervised", "init_args": {"lr": 0.1}}
    assert student.overrides == tuple(token.replace("student.", "") for token in overrides)
    assert check.overrides == ("--model.lr", "0.2")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.train_split=val", "cannot be the same for all steps; give --STEP.data.train_sp"),
        ("--rank.trainer.max_steps=3", "'trainer.max_steps' is no option of a step's command"),
        ("--cam.earlier=x", "'earlier' is no option of a step's command"),
        ("--earlier=x", "is for no step"),
    ],
)
def test_options_of_a_ranking_recipe(recipe, option, message):
    with pytest.raises(ValueError, match=message):
        recipe(option, more=RANKING)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("last:", "latest:"), "step 'rank': unknown key 'latest'; there are command, earlier,"),
        (("reliability,", "reliability, from: cam,"), "'from: cam' takes the model"),
        (("{early}", "{late}"), "refers to 'late', which is no earlier step"),
    ],
)
def test_bad_ranking_steps(recipe, change, message):
    with pytest.raises(ValueError, match=message):
        recipe(more=RANKING.replace(*change))


MAPS = """  saliency: {command: saliency, model_path: net.onnx}
  regions: {command: superpixels, num_segments: 9}
  strokes: {command: simulate, kind: scribbles}
  tagged: {command: predict, from: cam, labels: {saliency_dir: "{saliency}/maps"}}
"""


def test_steps_that_write_maps(recipe):
    options = ["--seed_everything", "3", "--data.root", "there", "--trainer.devices", "2"]
    options += ["--trainer.limit_predict_batches", "3", "--model.weights", "w.pth"]
    own = ["--saliency.num_threads", "1"]
    steps = {step.name: step for step in recipe(*options, *own, more=MAPS).steps}
    saliency, regions, strokes = steps["saliency"], steps["regions"], steps["strokes"]
    assert saliency.writes_files
    assert not steps["tagged"].writes_files
    # Of what all steps share, the data set and the devices.
    data = steps["cam"].settings["data"]
    assert saliency.settings == {"data": data, "model_path": "net.onnx"}
    assert regions.settings == {"data": data, "num_segments": 9}
    devices = ("--data.root", "there", "--trainer.devices", "2")
    assert saliency.overrides == (*devices, "--num_threads", "1")
    assert regions.overrides == devices
    # Nothing that runs on a device.
    assert strokes.settings == {"data": data, "kind": "scribbles"}
    assert strokes.overrides == ("--data.root", "there")
    assert steps["cam"].overrides == tuple(options)
    assert steps["tagged"].inputs() == ["{cam}/checkpoints/last.ckpt", "{saliency}/maps"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("model_path", "checkpoint"), "step 'saliency': unknown key 'checkpoint'; there are"),
        (("num_segments", "labels"), "step 'regions': unknown key 'labels'"),
        (("saliency, model", "saliency, from: cam, model"), "'from: cam' takes the model"),
    ],
)
def test_bad_steps_that_write_maps(recipe, change, message):
    with pytest.raises(ValueError, match=message):
        recipe(more=MAPS.replace(*change))
    with pytest.raises(ValueError, match=r"'model\.lr' is no option of a step's command"):
        recipe("--saliency.model.lr", "1", more=MAPS)


def test_another_class_brings_its_own_arguments():
    base = yaml.safe_load("{data: {class_path: Shapes, init_args: {num_train: 3}}, seed: 0}")
    over = yaml.safe_load("{data: {class_path: VOC2012, init_args: {root: v}}}")
    assert merge(base, over) == {**over, "seed": 0}
    same = yaml.safe_load("{data: {init_args: {crop_size: 9}}}")
    assert merge(base, same)["data"]["init_args"] == {"num_train": 3, "crop_size": 9}
    assert base["data"]["init_args"] == {"num_train": 3}
