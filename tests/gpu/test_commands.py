"""The commands on the device, with every callback: from training to labels, graphs and exports."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import wsss_zoo
from tests.tiny import images
from wsss_zoo import callbacks
from wsss_zoo.callbacks import CompiledTraining
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.cli import training as zoo_cli

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
COUNT = 8
# What the module offers beside callbacks.
DRAWING = {"SheetRow", "draw_sheet"}
CKPT = "clean/checkpoints/last.ckpt"


@pytest.fixture(scope="module", params=["32-true", "bf16-mixed"])
def precision(request):
    return request.param


@pytest.fixture(scope="module")
def seen(precision):
    """Names of the callbacks that have run."""
    return set()


@pytest.fixture(scope="module")
def folder(precision, tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def start(place, monkeypatch):
    """Run a command of Lightning's in a folder."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)

    def start(command, model, run_folder, precision, *options):
        given = [
            *["--model", model, "--model.backbone", "test_resnet", "--data", "Shapes"],
            *images(48, COUNT),
            *["--trainer.accelerator", place["accelerator"], "--trainer.devices", "1"],
            *["--trainer.precision", precision, "--trainer.num_sanity_val_steps", "0"],
            *["--trainer.default_root_dir", run_folder, *options],
        ]
        return ZooCLI([command, *map(str, given)])

    return start


@pytest.fixture
def run(start, seen, folder, precision):
    def run(command, model, name, *options):
        cli = start(command, model, folder / name, precision, *options)
        seen.update(type(callback).__name__ for callback in cli.trainer.callbacks)
        return cli

    return run


def test_a_segmenter_is_trained_compiled_and_resumed(run, folder, backend, monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(zoo_cli.callbacks, "CompiledTraining", partial(CompiledTraining, backend))
    options = ["--data.labeled_split", "0.5", "--channels_last", "true"]
    options += ["--trainer.callbacks+=StepTimes", "--metrics.boundary", "true"]
    run("fit", "Supervised", "clean", *options, "--trainer.max_steps", 2, "--compile", "true")
    content = json.loads((folder / "clean/step_times.json").read_text())
    assert len(content["ends"]["train"]) == 3
    more = ["--trainer.max_steps", 4, "--ckpt_path", folder / CKPT]
    assert run("fit", "Supervised", "clean", *options, *more).trainer.global_step == 4
    found = run("validate", "Supervised", "check", "--ckpt_path", folder / CKPT)
    assert 0 <= float(found.trainer.callback_metrics["val/miou"]) <= 1


def test_tags_become_labels_thresholds_and_graphs(run, folder):
    run("fit", "CAM", "tags", "--trainer.max_steps", 2)
    ckpt = ["--ckpt_path", folder / "tags/checkpoints/last.ckpt"]
    run("predict", "CAM", "cam", *ckpt, "--labels.bg_threshold", 0.3, "--labels.save_cams", "true")
    given = folder / "cam/pseudo_labels"
    assert len(list(given.glob("*.png"))) == COUNT
    unseen = ["--ckpt_path", folder / CKPT]
    unseen += ["--data.predict_split", folder / "clean/unlabeled_split.txt"]
    noise = ["--noise.pseudo_label_dir", given, "--noise.precision", 0.1]
    run("predict", "Supervised", "gamma", *unseen, *noise)
    assert (folder / "gamma/noise/threshold.json").exists()
    graphs = ["--graphs.pseudo_label_dir", given, "--graphs.num_segments", 20]
    graphs += ["--graphs.threshold", 2, "--evaluation.crf", "true"]
    run("predict", "Supervised", "graphs", *unseen, *graphs)
    assert len(list((folder / "graphs/graphs").glob("*.npz"))) == COUNT // 2
    run("fit", "Supervised", "second", "--data.pseudo_label_dir", given, "--trainer.max_steps", 2)


def test_every_callback_has_run(seen):
    assert set(callbacks.__all__) - DRAWING <= seen


def test_labels_of_a_folder(folder, place, device):
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a", (40, 60)), ("b", (61, 33))):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{name}.png")
    options = ["--trainer.accelerator", place["accelerator"], "--trainer.devices", "1"]
    out = ["--ckpt_path", str(folder / CKPT), "--out", str(folder / "masks"), *options]
    assert main(["label", str(photos), *out]) == 0
    segmenter = wsss_zoo.load(folder / CKPT, device=str(device))
    assert str(device) in repr(segmenter)
    for path in sorted(photos.iterdir()):
        mask = np.asarray(Image.open(folder / "masks/masks" / path.name))
        assert (mask == segmenter(path).mask).mean() > 0.99


@pytest.mark.parametrize("network", ["test_resnet", "test_vit"])
def test_exports_of_what_the_device_trained(network, start, tmp_path):
    pytest.importorskip("onnxruntime")
    own = ["--model.backbone", network]
    if network == "test_vit":
        own += ["--model.architecture", "dpt", "--model.output_stride", 16]
    start("fit", "Supervised", tmp_path, "bf16-mixed", *own, "--trainer.max_steps", 1)
    checkpoint = str(tmp_path / "checkpoints/last.ckpt")
    for form in ("onnx", "torch_export"):
        assert main(["export", "--ckpt_path", checkpoint, "--format", form]) == 0
