"""Settings that fit data and machine, and the recipe that they are set in."""

import pytest
import yaml

from tests.each import each
from wsss_zoo.pipeline.recipe import read_recipe
from wsss_zoo.recipes.shipped import find_recipe
from wsss_zoo.training import machine as machines
from wsss_zoo.training.choice import choose_recipe
from wsss_zoo.training.labels import Labels
from wsss_zoo.training.machine import Machine
from wsss_zoo.training.recipe import make_recipe, only_for, with_split, with_steps
from wsss_zoo.training.settings import fit_settings, smaller

CPU = Machine(0, 0, 2, 8 * 2**30)
GPU = Machine(1, 24 * 2**30, 16, 64 * 2**30)
# What Lightning needs beside an interval in batches.
EVERY = {"check_val_every_n_epoch": None}
LABELS = Labels(("cat", "dog"), masked=20, tagged=80, side=500, mask_classes={"cat": 10, "dog": 10})


def recipe(labels=LABELS, settings=None, **more):
    def shipped(name):
        return yaml.safe_load(
            find_recipe(f"experiments/pipelines/{name}.yaml", "pipeline").read_text()
        )

    choice = choose_recipe(labels)
    settings = settings or fit_settings(labels, CPU, "normal", **more)
    own = {"root": "photos"}
    supervised = shipped("masks_folder")["steps"]["supervised"]
    return make_recipe(shipped(choice.recipe), choice, settings, own, {}, supervised)


@each(
    ("machine", "quality", "side", "crop", "batch", "precision"),
    [
        (CPU, "normal", 500, 224, 8, "32-true"),
        (CPU, "draft", 500, 160, 8, "32-true"),
        (Machine(0, 0, 2, 2**33, has_bfloat16=True), "draft", 500, 160, 8, "bf16-mixed"),
        (CPU, "best", 300, 288, 8, "32-true"),
        (CPU, "normal", 20, 64, 8, "32-true"),
        (GPU, "normal", 500, 320, 8, "bf16-mixed"),
        (Machine(4, 2**34, 32, 2**36), "best", 2000, 512, 2, "bf16-mixed"),
        (Machine(16, 2**34, 32, 2**36), "best", 2000, 512, 2, "bf16-mixed"),
    ],
)
def test_settings_fit_images_and_machine(machine, quality, side, crop, batch, precision):
    settings = fit_settings(Labels(("cat",), masked=9, side=side), machine, quality)
    assert (settings.crop_size, settings.batch_size, settings.precision) == (crop, batch, precision)
    assert settings.trainer["devices"] == max(1, machine.gpus)
    assert ("strategy" in settings.trainer) == (machine.gpus > 1)


@each(
    ("trainer", "gpus"),
    [
        ({}, 4),
        ({"devices": "auto"}, 4),
        ({"devices": -1}, 4),
        ({"devices": 2}, 2),
        ({"devices": 8}, 4),
        ({"devices": [0, 3, 1]}, 3),
        ({"devices": "1,3"}, 2),
        ({"accelerator": "gpu"}, 4),
        ({"accelerator": "cpu", "devices": 2}, 0),
    ],
)
def test_options_of_the_trainer_limit_the_machine(trainer, gpus):
    machine = Machine(4, 2**34, 32, 2**36).limited(trainer)
    assert machine.gpus == gpus
    assert bool(machine.gpu_memory) == bool(gpus)


def test_less_memory_keeps_the_images_of_a_step_then_cuts_crops():
    settings, seen = fit_settings(LABELS, CPU, "best"), []
    while settings is not None:
        seen.append((settings.crop_size, settings.batch_size, settings.accumulate))
        settings = smaller(settings)
    assert seen == [
        (320, 8, 1),
        (320, 4, 2),
        (320, 2, 4),
        (224, 2, 4),
        (160, 2, 4),
        (96, 2, 4),
        (64, 2, 4),
    ]


def test_the_recipe_has_what_was_chosen(tmp_path):
    content = recipe()
    assert list(content["steps"]) == [
        *["supervised", "longer", "fixmatch"],
        *["pictures_supervised", "pictures_longer", "pictures_fixmatch"],
    ]
    fixmatch = content["steps"]["fixmatch"]
    assert fixmatch["model"]["init_args"]["gate_by_tags"] is True
    assert fixmatch["model"]["init_args"]["backbone"] == "tf_efficientnet_lite0"
    assert content["steps"]["supervised"]["model"]["init_args"]["weights"] == "imagenet"
    assert fixmatch["trainer"] == {"max_steps": 1000, "val_check_interval": 250} | EVERY
    assert content["common"]["data"]["init_args"]["root"] == "photos"
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    assert [step.name for step in read_recipe(path).steps] == list(content["steps"])


def test_batches_and_steps_keep_their_ratios():
    tags = {"tag_classes": {"cat": 30, "dog": 40}, "tag_rows": 60}
    content = recipe(Labels(("cat", "dog"), tagged=60, side=500, **tags))
    steps = {n: s["trainer"]["max_steps"] for n, s in content["steps"].items() if "trainer" in s}
    assert steps == {"cam": 250, "first": 1000, "segmenter": 1000}
    sizes = {n: content["steps"][n]["data"]["init_args"]["batch_size"] for n in steps}
    assert sizes == {"cam": 16, "first": 8, "segmenter": 8}
    assert "cam_labels" in content["steps"]
    assert "masks" not in content["steps"]
    half = with_steps(content, 0.5)["steps"]["cam"]["trainer"]
    assert half == {"max_steps": 125, "val_check_interval": 31} | EVERY


def test_accumulation_counts_for_validations():
    settings = smaller(fit_settings(LABELS, CPU, "normal"))
    step = recipe(settings=settings)["steps"]["supervised"]
    assert step["data"]["init_args"]["batch_size"] == 4
    assert step["trainer"] == {
        "accumulate_grad_batches": 2,
        "max_steps": 1000,
        "val_check_interval": 500,
        **EVERY,
    }


def test_random_weights_are_not_frozen():
    arguments = recipe(weights=None)["steps"]["supervised"]["model"]["init_args"]
    assert arguments["weights"] is None
    assert arguments["freeze_backbone_bn"] is False


def test_masks_beside_tags_of_other_classes_are_used():
    tags = {"tag_classes": {"cat": 30, "dog": 40}, "tag_rows": 60}
    labels = Labels(("cat", "dog"), masked=9, tagged=60, mask_classes={"cat": 9}, side=99, **tags)
    steps = recipe(labels)["steps"]
    own = {n: s.get("data", {}).get("init_args", {}).get("labeled_split") for n, s in steps.items()}
    assert {name for name, split in own.items() if split} == {"supervised", "first", "segmenter"}
    changed = with_split(recipe(labels), "t.txt", None, "l.txt")
    assert changed["steps"]["first"]["data"]["init_args"]["labeled_split"] == "l.txt"
    assert changed["steps"]["pictures_first"]["data"]["init_args"]["predict_split"] == "t.txt"
    assert changed["common"]["data"]["init_args"]["val_split"] is None


def test_one_candidate_keeps_what_it_needs():
    assert list(only_for(recipe(), ["longer"])["steps"]) == [
        "supervised",
        "longer",
        "pictures_longer",
    ]


def test_novel_classes_are_named():
    labels = Labels(
        ("cat", "dog"),
        masked=9,
        mask_classes={"cat": 9},
        tag_classes={"dog": 5},
        tag_rows=9,
        tagged_in_masks={"dog": 5},
        side=99,
    )
    content = recipe(labels)
    assert content["common"]["data"]["init_args"]["novel_classes"] == ["dog"]
    assert content["steps"]["simformer"]["trainer"]["max_steps"] == 1000
    assert content["steps"]["cam"]["trainer"]["max_steps"] == 50


def test_an_image_without_side_is_small():
    assert fit_settings(Labels(("cat",)), CPU, "draft").crop_size == 160
    with pytest.raises(KeyError):
        fit_settings(LABELS, CPU, "perfect")


@each(
    ("lines", "expected"),
    [
        (["processor\t: 0", "flags\t\t: fpu avx512f avx512_bf16 amx_tile"], True),
        (["Features\t: fp asimd bf16 i8mm"], True),
        (["flags\t\t: fpu avx512f", "bugs\t\t: bf16"], False),
        ([], False),
    ],
)
def test_bfloat16_of_the_processor(monkeypatch, lines, expected):
    found = {"/proc/cpuinfo": lines}
    monkeypatch.setattr(machines, "_lines", lambda path: found.get(path, []))
    assert machines.this_machine().has_bfloat16 is expected
