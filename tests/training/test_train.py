"""From a folder of generated images to a segmenter, on tiny networks."""

import errno
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import wsss_zoo
from tests.each import each
from wsss_zoo.cli import main
from wsss_zoo.files import read_label
from wsss_zoo.pipeline import command as pipeline
from wsss_zoo.training import plan as planning
from wsss_zoo.training import train as training
from wsss_zoo.training.machine import Machine
from wsss_zoo.training.trial import OutOfMemoryError, StepCost

TINY = [
    *["--backbone", "test_resnet", "--weights", "none", "--data.num_workers", "0"],
    *["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"],
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


@pytest.fixture
def here(monkeypatch):
    """Run the steps in this process; collect their names."""
    called = []

    def call(command, recipe, step, lock):
        called.append(step.name)
        return main(command[3:])

    monkeypatch.setattr(pipeline, "_call", call)
    return called


@pytest.fixture
def no_trial(monkeypatch):
    """Measure nothing: each step costs the same."""

    def measure(content, folder, *images):
        folder.parent.mkdir(parents=True, exist_ok=True)
        return {name: StepCost(1.0, 0.01, 0.01, 2**28, 0, 2**20) for name in content["steps"]}

    monkeypatch.setattr(planning, "try_recipe", measure)


def few_steps(out, steps=2):
    """Change the recipe by hand, as a user may."""
    path = Path(out, "recipe.yaml")
    content = yaml.safe_load(path.read_text())
    for step in content["steps"].values():
        if step["command"] == "fit":
            step["trainer"] |= {"max_steps": steps, "val_check_interval": steps}
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_masks_of_all_images(shapes_folder, here, capsys):
    folder = shapes_folder(images=10, masks=10)
    assert main(["train", str(folder), "--plan", "--quality", "draft", *TINY]) == 0
    printed = capsys.readouterr().out
    assert "8 training images: 8 with a mask" in printed
    assert "recipe:   masks_folder - 8 images with a mask: Supervised" in printed
    assert "expected: about" in printed
    assert here == ["supervised"]
    out = Path("runs/photos")
    assert not (out / "trial").exists()
    few_steps(out)
    here.clear()
    assert main(["train", str(folder), "--quality", "draft", *TINY]) == 0
    assert here == ["supervised"]
    printed = capsys.readouterr().out
    assert "was changed by hand: it is run as it is" in printed
    assert "supervised: " in printed.split("result:")[1]
    assert "wsss-zoo next runs/photos\n" in printed
    masks = sorted((out / "masks" / "masks").glob("*.png"))
    assert len(masks) == 10
    assert np.array(Image.open(masks[0])).max() < 7
    assert (out / "supervised/checkpoints/last.ckpt").is_file()
    report = (out / "report.html").read_text()
    assert "% mIoU on 2 held-out masks" in report
    result = json.loads((out / "result.json").read_text())
    assert result["chosen"] == "supervised"
    assert result["scores"][0]["images"] == 2
    # What to label next, of the run that was chosen.
    (folder / "images" / "new.png").write_bytes((folder / "images/train_000000.png").read_bytes())
    assert main(["next", str(out), "--count", "1"]) == 0
    assert (out / "next/next.txt").read_text() == "new\n"
    (folder / "images" / "new.png").unlink()
    capsys.readouterr()
    # Once more: nothing is trained.
    here.clear()
    assert main(["train", str(folder), "--quality", "draft", *TINY]) == 0
    assert here == []


def test_a_changed_folder_is_another_training(shapes_folder, no_trial, capsys):
    folder = shapes_folder(images=4, masks=4)
    options = ["--quality", "draft", *TINY]
    main(["train", str(folder), "--plan", *options])
    main(["train", str(folder), "--plan", *options])
    assert not Path("runs/photos_2").exists()
    few_steps("runs/photos")
    next((folder / "masks").glob("*.png")).unlink()
    main(["train", str(folder), "--plan", *options])
    assert Path("runs/photos_2/recipe.yaml").is_file()
    with pytest.raises(ValueError, match=r"another request \(different: files\)"):
        main(["train", str(folder), "--plan", *options, "--out", "runs/photos"])
    Path("mine").mkdir()
    Path("mine/thesis.txt").touch()
    with pytest.raises(ValueError, match="wsss-zoo train has not made it"):
        main(["train", str(folder), "--plan", *options, "--out", "mine"])


def test_a_plan_that_nothing_followed_is_replaced(shapes_folder, no_trial, capsys):
    folder = shapes_folder(images=4, masks=4)
    plan_of(folder)
    plan_of(folder, "--time", "4s")
    assert not Path("runs/photos_2").exists()
    assert json.loads(Path("runs/photos/plan.json").read_text())["request"]["time"] == 4
    plan_of(folder, "--out", "runs/photos")
    assert json.loads(Path("runs/photos/plan.json").read_text())["request"]["time"] is None


def test_a_plan_says_that_held_out_masks_show_no_background(shapes_folder, no_trial, capsys):
    folder = shapes_folder(images=12, masks=12)
    plan_of(folder)
    assert "show no background" not in capsys.readouterr().out
    for path in (folder / "masks").glob("*.png"):
        mask = np.array(Image.open(path))
        Image.fromarray(np.where(mask == 0, 255, mask).astype(np.uint8)).save(path)
    plan_of(folder, "--out", "objects_alone")
    assert "the held-out masks show no background, so false objects" in capsys.readouterr().out


def test_a_plan_names_what_sparse_labels_do_not_say(shapes_folder, no_trial, capsys):
    folder = shapes_folder(images=8)
    (folder / "sparse").mkdir()
    label = np.full((64, 64), 255, dtype=np.uint8)
    label[:4], label[20:24] = 1, 2
    for path in sorted((folder / "images").iterdir())[:4]:
        Image.fromarray(label).save(folder / "sparse" / path.name)
    plan_of(folder, "--out", "no_background")
    label[40:44] = 0
    for path in (folder / "sparse").iterdir():
        Image.fromarray(label).save(path)
    assert "complete_sparse" not in capsys.readouterr().out
    plan_of(folder)
    assert "say --data.complete_sparse true (else false)" in capsys.readouterr().out
    plan_of(folder, "--data.complete_sparse", "true", "--out", "said")
    assert "say --data.complete_sparse" not in capsys.readouterr().out


def plan_of(folder, *more):
    return main(["train", str(folder), "--plan", "--quality", "draft", *TINY, *more])


def test_an_empty_folder_says_the_layout(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"classes\.txt is missing"):
        plan_of(tmp_path / "empty")


def test_no_folder(capsys):
    with pytest.raises(SystemExit):
        plan_of("nowhere")
    assert "there is no folder nowhere" in capsys.readouterr().err


def test_unlabelled_images_say_the_least(shapes_folder):
    with pytest.raises(ValueError, match="all 4 images are unlabelled; the least is 2 masks"):
        plan_of(shapes_folder(images=4))


def test_only_background(shapes_folder):
    folder = shapes_folder(images=2)
    (folder / "classes.txt").write_text("background\n")
    with pytest.raises(ValueError, match="background"):
        plan_of(folder)


def test_masks_only_in_val(shapes_folder):
    folder = shapes_folder(images=4, masks=2)
    (folder / "splits").mkdir()
    ids = sorted(path.stem for path in (folder / "masks").glob("*.png"))
    (folder / "splits/val.txt").write_text("\n".join(ids))
    with pytest.raises(ValueError, match="all 2 masks are of held-out images"):
        plan_of(folder)


def test_tags_of_one_class(shapes_folder):
    folder = shapes_folder(images=3)
    names = (folder / "classes.txt").read_text().split()
    rows = [f"train_{n:06d},{names[1]}" for n in range(3)]
    (folder / "image_labels.csv").write_text("\n".join(["id,class", *rows]))
    with pytest.raises(ValueError, match=f"all 3 tagged images have the same tags .{names[1]}"):
        plan_of(folder)


def test_two_images(shapes_folder, no_trial, capsys):
    plan_of(shapes_folder(images=2, masks=2))
    printed = capsys.readouterr().out
    assert "1 training image: 1 with a mask" in printed
    assert "held-out images: 1 with a mask" in printed


def test_a_broken_mask_stops_before_anything_is_trained(shapes_folder, here):
    folder = shapes_folder(images=3, masks=3)
    (folder / "masks" / "train_000001.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="train_000001"):
        plan_of(folder)
    assert here == []


def test_time_that_is_too_short(shapes_folder, no_trial):
    with pytest.raises(ValueError, match=r"--time 1 s is too short .* which take about"):
        plan_of(shapes_folder(images=4, masks=4), "--time", "1s")


def test_several_gpus_are_planned(shapes_folder, no_trial, monkeypatch, capsys):
    monkeypatch.setattr(planning, "this_machine", lambda: Machine(4, 2**34, 8, 2**35))
    folder = shapes_folder(images=4, masks=4)
    options = ["--backbone", "test_resnet", "--weights", "none", "--plan", "--quality", "draft"]
    main(["train", str(folder), *options])
    printed = capsys.readouterr().out
    assert "batches of 2 images on each of 4 GPUs" in printed
    assert "machine:  4 GPUs of 16 GB, 8 cores" in printed
    trainer = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())["common"]["trainer"]
    expected = {"accelerator": "gpu", "devices": 4, "strategy": "ddp", "precision": "bf16-mixed"}
    assert trainer == expected
    main(["train", str(folder), *options, "--trainer.devices", "2"])
    assert "batches of 4 images on each of 2 GPUs" in capsys.readouterr().out
    plan_of(folder)  # --trainer.accelerator cpu
    assert "precision 32-true" in capsys.readouterr().out


def test_masks_are_written_on_one_device(tmp_path, monkeypatch):
    """More would start the command again, once for each."""
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last.ckpt").touch()
    called = []
    monkeypatch.setattr(training, "_command", lambda name, function, args: called.append(args))
    training._write_masks(tmp_path, tmp_path / "run", tmp_path, {}, "gpu")
    assert called[0][-4:] == ["--trainer.accelerator", "gpu", "--trainer.devices", "1"]


def test_time_lowers_the_steps(shapes_folder, no_trial, capsys):
    plan_of(shapes_folder(images=4, masks=4), "--time", "2.5s")
    content = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())
    assert 100 < content["steps"]["supervised"]["trainer"]["max_steps"] < 200
    said = r"changed:  1\d\d steps in place of 200, to be done in 2 s from now on"
    assert re.search(said, capsys.readouterr().out)


def test_a_full_disk_is_seen_before_training(shapes_folder, no_trial, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="is free on its disk; free space or name another --out"):
        plan_of(shapes_folder(images=4, masks=4))


def test_the_largest_images_are_tried(shapes_folder, monkeypatch):
    """They need the most memory where images are whole."""
    folder = shapes_folder(images=30, masks=30)
    for number in (3, 4):
        for kind in ("images", "masks"):
            path = folder / kind / f"train_{number:06d}.png"
            picture = Image.open(path)
            picture.resize((96, 80), Image.Resampling.NEAREST).save(path)
    (folder / "splits").mkdir()
    held_out = "train_000001\ntrain_000004\ntrain_000005"
    (folder / "splits/val.txt").write_text(held_out)
    tried = []

    def measure(content, folder, ids, held_out):
        tried.extend([ids[0], held_out[0]])
        folder.parent.mkdir(parents=True, exist_ok=True)
        return {name: StepCost(1.0, 0.01, 0.01) for name in content["steps"]}

    monkeypatch.setattr(planning, "try_recipe", measure)
    plan_of(folder)
    assert tried == ["train_000003", "train_000004"]


def test_a_place_that_cannot_be_written(shapes_folder, here):
    folder = shapes_folder(images=4, masks=4)
    with pytest.raises(OSError, match=r"cannot be written: .*file; name another folder"):
        plan_of(folder, "--out", str(folder / "classes.txt" / "out"))
    assert here == []


def test_too_little_memory_halves_the_batch(shapes_folder, monkeypatch, capsys):
    tried = []

    def measure(content, folder, *images):
        size = content["steps"]["supervised"]["data"]["init_args"]["batch_size"]
        tried.append(size)
        folder.parent.mkdir(parents=True, exist_ok=True)
        return {name: StepCost(1, 0.01, 0.01, size * 2**30) for name in content["steps"]}

    monkeypatch.setattr(planning, "try_recipe", measure)
    monkeypatch.setattr(planning, "this_machine", lambda: Machine(0, 0, 2, 5 * 2**30))
    plan_of(shapes_folder(images=4, masks=4))
    assert tried == [8, 4]
    printed = capsys.readouterr().out
    assert "8.0 GB of memory would be needed, 5.0 GB is free: batches of 4 in place of 8" in printed
    step = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())["steps"]["supervised"]
    assert step["trainer"]["accumulate_grad_batches"] == 2


def test_memory_that_nothing_fits(shapes_folder, monkeypatch):
    def measure(content, folder, *images):
        raise OutOfMemoryError("out of memory")

    monkeypatch.setattr(planning, "try_recipe", measure)
    with pytest.raises(ValueError, match="out of memory, even with crops of 64 and batches of 2"):
        plan_of(shapes_folder(images=4, masks=4))


def test_weights_that_cannot_be_had(shapes_folder, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    folder = shapes_folder(images=4, masks=4)
    offline = [*TINY[4:], "--backbone", "resnet18"]
    with pytest.raises(ValueError, match=r"no ImageNet weights of resnet18 .* --weights FILE"):
        main(["train", str(folder), "--plan", *offline])
    with pytest.raises(SystemExit):
        main(["train", str(folder), "--plan", *offline, "--weights", "gone.pth"])
    assert "weights file gone.pth does not exist" in capsys.readouterr().err


def test_a_backbone_that_timm_lacks_is_refused_before_the_trial(shapes_folder, here):
    folder = shapes_folder(images=4, masks=4)
    with pytest.raises(ValueError, match="timm knows no backbone 'resnet5'"):
        main(["train", str(folder), "--plan", "--weights", "none", "--backbone", "resnet5"])
    assert here == []


def test_a_training_without_memory_ends_with_the_setting_that_fits(
    shapes_folder, no_trial, monkeypatch, capsys
):
    folder = shapes_folder(images=4, masks=4)

    def lacking(self, *batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(wsss_zoo.Supervised, "training_step", lacking)

    def call(command, recipe, step, lock):
        try:
            return main(command[3:])
        except torch.OutOfMemoryError:
            return 1

    monkeypatch.setattr(pipeline, "_call", call)
    assert main(["train", str(folder), "--quality", "draft", *TINY]) == 1
    said = capsys.readouterr().err
    remedy = "supervised ran out of memory: set batch_size 4 and accumulate_grad_batches 2 for"
    assert f"wsss-zoo train: {remedy} supervised in runs/photos/recipe.yaml" in said


@pytest.mark.slow
def test_a_disk_that_gets_full(shapes_folder, no_trial, here, monkeypatch, capsys):
    """Whatever file does not fit: it ends there, and the next try leaves everything whole."""
    folder = shapes_folder(images=6, masks=6)
    options = [str(folder), "--quality", "draft", *TINY]
    replace = Path.replace

    def run(room):
        left = itertools.count(room, -1)

        def full(self, target):
            if next(left) <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", full)
        try:
            return main(["train", *options])
        finally:
            monkeypatch.setattr(Path, "replace", replace)

    for room in (0, 1, 2, 4, 6, 8, 12):
        with pytest.raises(OSError, match="No space left on device"):
            run(room)
        if room == 2:
            few_steps("runs/photos")
    assert main(["train", *options]) == 0
    out = Path("runs/photos")
    names = [path.stem for path in (out / "masks/masks").glob("*.png")]
    assert [read_label(out / "masks/masks", name).shape for name in names] == [(64, 64)] * 6
    assert json.loads((out / "masks/manifest.json").read_text())
    assert json.loads((out / "result.json").read_text())["lines"]
    assert not list(out.rglob("*.tmp"))


@each("option", [["--model.lr", "1"], ["--speed", "2"], ["--data.num_workers"]])
def test_other_options_are_refused(option):
    Path("photos").mkdir(exist_ok=True)
    with pytest.raises(SystemExit):
        main(["train", "photos", *option])


def test_few_held_out_masks_are_measured_in_folds(shapes_folder, no_trial, here, capsys):
    folder = shapes_folder(images=12, masks=6)
    options = ["--quality", "normal", *TINY]
    assert main(["train", str(folder), "--plan", *options]) == 0
    assert "3 folds of the masks choose among supervised, longer, fixmatch" in (
        capsys.readouterr().out
    )
    content = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())
    assert list(content["steps"])[:3] == ["supervised", "longer", "fixmatch"]


@pytest.mark.slow
def test_folds_then_all_masks(shapes_folder, no_trial, here, capsys):
    folder = shapes_folder(images=12, masks=6)
    options = ["--quality", "normal", *TINY]
    main(["train", str(folder), "--plan", *options])
    few_steps("runs/photos")
    assert main(["train", str(folder), *options, "--onnx"]) == 0
    assert here[:9] == ["supervised", "longer", "fixmatch"] * 3
    result = json.loads(Path("runs/photos/result.json").read_text())
    assert here[9] == "supervised"
    assert here[-1] == f"pictures_{result['chosen']}"
    assert [score["images"] for score in result["scores"]] == [6, 6, 6]
    best = max(score["miou"] for score in result["scores"])
    chosen = next(s for s in result["scores"] if s["name"] == result["chosen"])
    assert chosen["miou"] == best
    lists = Path("runs/photos/lists")
    assert len((lists / "labeled.txt").read_text().split()) == 6
    assert len((lists / "train.txt").read_text().split()) == 12
    assert Path("runs/photos/model.onnx").is_file()
    for number in (1, 2, 3):
        fold = Path(f"runs/photos/fold{number}/lists")
        held_out = {*(fold / "val.txt").read_text().split()}
        assert len(held_out) == 2
        assert not held_out & {*(fold / "train.txt").read_text().split()}
        assert not held_out & {*(fold / "labeled.txt").read_text().split()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tags", "masks_and_tags", "sparse"])
def test_other_labels(kind, shapes_folder, here, capsys):
    """With the trial: each step of each recipe runs."""
    numbers = {
        "tags": {"images": 12, "tags": 12},
        "masks_and_tags": {"images": 24, "masks": 12, "tags": 12},
        "sparse": {"images": 12, "masks": 2},
    }[kind]
    folder = shapes_folder(**numbers)
    if kind == "sparse":
        (folder / "sparse").mkdir()
        for number in range(4, 12):
            mask = wsss_zoo.Shapes(num_train=12, image_size=64).read_mask(f"train_{number:06d}")
            mask[::2] = 255
            Image.fromarray(mask).save(folder / "sparse" / f"train_{number:06d}.png")
    assert main(["train", str(folder), "--plan", "--quality", "draft", *TINY]) == 0
    few_steps("runs/photos")
    capsys.readouterr()
    assert main(["train", str(folder), "--quality", "draft", *TINY]) == 0
    printed = capsys.readouterr().out
    if kind == "tags":
        assert "estimated from the tags of 12 images" in printed
        assert "a tagged class is found in" in printed
    else:
        assert "% mIoU on" in printed
    assert len(list(Path("runs/photos/masks/masks").glob("*.png"))) == numbers["images"]


@pytest.mark.slow
def test_novel_classes_are_tried(shapes_folder, here, capsys):
    """Each step but the one that needs labels of a trained network; then that candidate fails."""
    folder = shapes_folder(images=16, masks=16, tags=16)
    for path in (folder / "masks").glob("*.png"):
        mask = np.array(Image.open(path))
        Image.fromarray(np.where(mask == 1, 255, mask).astype(np.uint8)).save(path)
    assert main(["train", str(folder), "--plan", "--quality", "draft", *TINY]) == 0
    assert "recipe:   simformer" in capsys.readouterr().out
    assert "retrain" in here


@pytest.mark.slow
def test_a_candidate_that_fails_is_left_out(shapes_folder, no_trial, monkeypatch, capsys):
    folder = shapes_folder(images=12, masks=10)

    def call(command, recipe, step, lock):
        return 1 if "fixmatch" in step.name else main(command[3:])

    monkeypatch.setattr(pipeline, "_call", call)
    options = ["--quality", "draft", *TINY]
    main(["train", str(folder), "--plan", *options])
    path = Path("runs/photos/recipe.yaml")
    content = yaml.safe_load(path.read_text())
    content["steps"].pop("longer")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    few_steps("runs/photos", steps=1)
    assert main(["train", str(folder), *options]) == 0
    printed = capsys.readouterr().out
    assert "fixmatch failed, see above: left out" in printed
    assert "supervised: " in printed.split("result:")[1]


@pytest.mark.slow
def test_in_python_and_in_processes_of_their_own(shapes_folder, tmp_path, monkeypatch):
    """As a user calls it; the expected time and memory are near those of the training."""
    folder = shapes_folder(images=10, masks=10)
    monkeypatch.setenv("PYTHONPATH", str(Path(wsss_zoo.__file__).parents[1]))
    trained = wsss_zoo.train(
        folder,
        quality="draft",
        backbone="test_resnet",
        weights=None,
        data={"num_workers": 0},
        trainer={"accelerator": "cpu", "enable_progress_bar": False},
    )
    assert trained.scores[0].images == 2
    photo = next((folder / "images").glob("*.png"))
    assert trained.load()(photo).mask.shape == (64, 64)
    assert trained.report.is_file()
