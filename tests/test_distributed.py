"""What evaluation writes on two processes, against one."""

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer

from wsss_zoo import BaseMethod, FixMatch, SegmentationMetrics, Shapes, methods

RANKS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def words(text):
    return text.split()


IMAGES = 7  # odd: one process gets four images, the other three
METHODS = ("Supervised", "CAM", "SimFormer")
OTHERS = ("FixMatch", "CoAttention", "MaskFormer")
# They differ from one of these in training alone, as it should stay.
LIKE = {"SelfRegulation": "Supervised"} | dict.fromkeys(
    (
        *("PiModel", "TemporalEnsembling", "MeanTeacher", "UniMatch", "UniMatchV2", "CPS"),
        *("PseudoSeg", "Sparse"),
    ),
    "FixMatch",
)
RUNS = ("whole", "stopped")
GIVEN = "one_CAM/pseudo_labels"
REGIONS = [
    *["--noise.pseudo_label_dir", GIVEN, "--noise.precision", "0.3"],
    *["--graphs.pseudo_label_dir", GIVEN, "--graphs.threshold", "1", "--graphs.num_segments", "20"],
]
PROPOSALS = words("--model.queries 7 --model.channels 16 --model.decoder_layers 2")
OPTIONS = {
    "MaskFormer": PROPOSALS,
    "SimFormer": PROPOSALS,
    "CoAttention": words("--model.convs 0 --model.output_stride 16"),
    "GATCorrector": [
        *words("--model.in_channels 256 --model.mode per_image --model.steps 5"),
        *words("--data.graph_dir one_regions_Supervised/graphs"),
    ],
    # Of 15 images 9 are labelled: of the others, 6, two are left over from the batches of an epoch.
    "FixMatch": words("--data.num_train 15 --data.labeled_split 0.6 --model.evaluate average"),
}
AUTO = words("--labels.bg_threshold auto")
# Multi-round maps: both processes have to draw the same references.
PREDICTING = (*METHODS, *OTHERS, "GATCorrector")
TRAINING = [
    *words("--data.batch_size 2 --data.crop_size 32 --trainer.max_epochs 2"),
    *words("--model.labels_from average --model.conf_thresh 0.1 --model.cutmix_prob 0"),
]
RESUMED = [
    *words("--data.num_train 12 --data.batch_size 2 --data.crop_size 32 --trainer.max_steps 7"),
    *words("--trainer.log_every_n_steps 1"),
]
# Lightning runs the script once more as the second process. All in one: starting is what takes
# long.
SCRIPT = f"""
import json
import os
import signal
import sys
from pathlib import Path
from wsss_zoo import Supervised
from wsss_zoo.cli import main

# What this process writes below the folder, by run.
written, here, runs = [], os.getcwd() + "/", []

def note(event, args):
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
        path = os.path.abspath(args[0])
        if os.path.isdir(path):  # a file without a name, gone when it is closed
            return
    elif event == "os.rename":
        path = os.path.abspath(args[1])
    else:
        return
    if path.startswith(here):
        written.append(f"{{len(runs)}} {{path[len(here):]}}")

sys.addaudithook(note)

def run(command, method, folder, *options):
    runs.append(folder)
    backbone = [] if method == "GATCorrector" else ["--model.backbone", "test_resnet"]
    return main([
        command, "--model", method, *backbone,
        *"--data Shapes --data.image_size 48 --data.num_workers 0 --seed_everything 3".split(),
        *"--data.num_val {IMAGES} --data.predict_split val --data.novel_classes [fox]".split(),
        *"--trainer.accelerator cpu --trainer.enable_progress_bar false".split(),
        *"--metrics.boundary true --visualizer.num_images 0".split(),
        *{OPTIONS}.get(method, []),
        *({AUTO} if (command, method) == ("predict", "CAM") else []),
        "--trainer.default_root_dir", f"{{folder}}_{{method}}", *options,
    ])

jobs = [("validate", method) for method in {METHODS}] + [("test", "Supervised")]
jobs += [("validate", method) for method in {OTHERS}]
jobs += [("predict", method) for method in {PREDICTING}]
if "LOCAL_RANK" not in os.environ:
    for job in jobs:
        if job == ("predict", "GATCorrector"):
            run("predict", "Supervised", "one_regions", *{REGIONS}, "--trainer.devices", "1")
        run(*job, "one", "--trainer.devices", "1")
    run("fit", "FixMatch", "one_trained", *{TRAINING}, "--trainer.devices", "1")
    # What both processes have run so far is the same.
    written.clear()
runs.clear()
two = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
for job in jobs:
    run(*job, "two", *two)
# A prediction that was cut off: a single image is left for two processes.
if os.environ["LOCAL_RANK"] == "0":
    labels = Path("two_CAM", "pseudo_labels")
    (labels / "val_000003.png").unlink()
    (labels / "manifest.json").rename(labels / "manifest.partial.json")
run("predict", "CAM", "two", *two)
run("predict", "Supervised", "two_regions", *{REGIONS}, *two)
run("fit", "FixMatch", "two_trained", *{TRAINING}, *two)
run("fit", "Supervised", "whole", *{RESUMED}, *two)

def stop_the_second(self):
    if self.global_rank == 1 and self.global_step == 3:
        signal.raise_signal(signal.SIGTERM)

# Only one of them is told, in the first of the three batches of the second epoch.
Supervised.on_after_backward = stop_the_second
assert run("fit", "Supervised", "stopped", *{RESUMED}, *two) == 128 + signal.SIGTERM
del Supervised.on_after_backward
last = Path("stopped_Supervised", "checkpoints", "last.ckpt")
if os.environ["LOCAL_RANK"] == "0":
    Path("stopped.ckpt").write_bytes(last.read_bytes())
run("fit", "Supervised", "stopped", *{RESUMED}, *two, "--ckpt_path", str(last))
Path("written_" + os.environ["LOCAL_RANK"]).write_text(json.dumps(written))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "script.py").write_text(SCRIPT)
    env = {key: value for key, value in os.environ.items() if key not in RANKS}
    command = [sys.executable, "-W", "ignore", "script.py"]
    env["OMP_NUM_THREADS"] = "1"
    with subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            log = process.communicate(timeout=600)[1]  # some 20 s on two free cores
        finally:
            # Also the second process, which would wait for the first one for half an hour.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, log[-2000:]
    assert "Starting with 2 processes" in log
    return folder


def read(folder, pattern):
    return {path.name: path.read_bytes() for path in Path(folder).glob(pattern)}


# Measured by the same functions, the test split's images stand for those of all methods.
@pytest.mark.parametrize(
    ("method", "stage"), [*((method, "val") for method in METHODS), ("Supervised", "test")]
)
def test_two_processes_measure_what_one_does(folder, method, stage):
    one, two = (read(folder / f"{name}_{method}", f"{stage}_*.*") for name in ("one", "two"))
    assert set(one) == {f"{stage}_results.json", f"{stage}_classes.csv"}
    assert one == two
    # It is a measurement: of all images, and not all of one class.
    results = json.loads(one[f"{stage}_results.json"])
    if method != "CAM":
        assert sum(map(sum, results["confusion"])) == IMAGES * 48 * 48
        seen = sum(any(column) for column in zip(*results["confusion"], strict=True))
        assert seen > (method == "Supervised")  # SimFormer begins with one class
        assert f"{stage}/miou_base" in results["metrics"]
    rows = list(csv.reader(one[f"{stage}_classes.csv"].decode().splitlines()))
    assert len({value for _, value, *_ in rows[1:]}) > (1 if method == "SimFormer" else 2)


@pytest.mark.parametrize("method", LIKE)
def test_methods_that_differ_in_training_alone_evaluate_by_the_same_functions(method):
    one, other = getattr(methods, method), getattr(methods, LIKE[method])
    names = [name for name in dir(BaseMethod) if re.search("^(validation|test|predict)", name)]
    assert {"validation_step", "test_step", "predict_step"} <= set(names)
    for name in [*names, "forward", "output"]:
        assert getattr(one, name) is getattr(other, name), name


@pytest.mark.parametrize("method", OTHERS)
def test_two_processes_measure_the_other_kinds(folder, method):
    one, two = (read(folder / f"{name}_{method}", "val_*.*") for name in ("one", "two"))
    assert set(one) == {"val_results.json", "val_classes.csv"}
    assert one == two
    if method != "CoAttention":
        assert sum(map(sum, json.loads(one["val_results.json"])["confusion"])) == IMAGES * 48 * 48


@pytest.mark.parametrize("method", PREDICTING)
def test_two_processes_predict_what_one_does(folder, method):
    one, two = (read(folder / f"{name}_{method}", "pseudo_labels/*") for name in ("one", "two"))
    assert len([name for name in one if name.endswith(".png")]) == IMAGES
    assert one == two
    if method == "CoAttention":
        references = json.loads(one["manifest.json"])["options"]["references"]
        assert any(len(ids) > 1 for ids in references.values())


@pytest.mark.parametrize("part", ["noise", "graphs", "pseudo_labels"])
def test_two_processes_look_at_labels_as_one_does(folder, part):
    one, two = (read(folder / f"{n}_regions_Supervised", f"{part}/*") for n in ("one", "two"))
    assert len(one) == {"noise": 2, "graphs": IMAGES + 2, "pseudo_labels": IMAGES + 2}[part]
    assert one == two


def test_a_training_on_two_processes_leaves_what_one_does(folder):
    one, two = (
        {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        for run in (folder / "one_trained_FixMatch", folder / "two_trained_FixMatch")
    )
    assert one == two
    run = folder / "two_trained_FixMatch"
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert max(int(row["step"]) for row in rows) == 1  # two epochs of one batch
    method = FixMatch(7, "test_resnet", evaluate="average")
    data = Shapes(num_val=IMAGES, image_size=48, num_workers=0, seed=3, supervision="semi")
    options = {"accelerator": "cpu", "devices": 1, "logger": False, "default_root_dir": folder}
    trainer = Trainer(**options, callbacks=[SegmentationMetrics()])
    last = str(run / "checkpoints" / "last.ckpt")
    [alone] = trainer.validate(method, data, ckpt_path=last, verbose=False)
    together = [float(row["val/miou"]) for row in rows if row["val/miou"]][-1]
    assert together == pytest.approx(alone["val/miou"], abs=1e-6)


def test_stopped_processes_save_and_go_on_exactly(folder):
    def weights(path):
        return torch.load(folder / path, weights_only=True)

    saved = weights("stopped.ckpt")
    assert saved["global_step"] == 4  # the step that the signal came in is finished
    whole, resumed = (weights(f"{run}_Supervised/checkpoints/last.ckpt") for run in RUNS)
    assert whole["global_step"] == resumed["global_step"] == 7
    names = whole["state_dict"].keys()
    assert all(torch.equal(whole["state_dict"][key], resumed["state_dict"][key]) for key in names)
    assert not all(torch.equal(whole["state_dict"][key], saved["state_dict"][key]) for key in names)
    one, two = ((folder / f"{run}_Supervised" / "metrics.csv").read_text() for run in RUNS)
    assert one == two


def test_no_process_writes_a_file_of_the_other(folder):
    first, second = (set(json.loads((folder / f"written_{rank}").read_text())) for rank in "01")
    assert not first & second
    for rank in (first, second):
        assert sum(name.endswith(".png") for name in rank) > IMAGES
    # Only the first one keeps the books.
    books = ("manifest.json", "metrics.csv", "config.yaml", ".ckpt")
    assert all(any(name.endswith(book) for name in first) for book in books)
    assert not [name for name in second if name.endswith(books)]


@pytest.mark.slow
def test_two_nodes_train_as_two_processes_of_one(tmp_path):
    """The command of docs/hardware.md, on each of two machines that are both this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # A file, as on one machine it runs itself once more.
    (tmp_path / "script.py").write_text("from wsss_zoo.cli import main\nmain()\n")
    command = [
        *[sys.executable, "-W", "ignore", "script.py", "fit", "--visualizer.num_images", "0"],
        *words("--model Supervised --model.backbone test_resnet --data Shapes --data.num_val 3"),
        *words("--data.num_train 9 --data.image_size 48 --data.crop_size 32 --data.batch_size 2"),
        *words("--data.num_workers 0 --seed_everything 3 --trainer.accelerator cpu"),
        *words("--trainer.max_steps 3 --trainer.strategy ddp --trainer.default_root_dir"),
    ]
    env = {key: value for key, value in os.environ.items() if key not in RANKS}
    env |= {"OMP_NUM_THREADS": "1"}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    options = ["nodes", *words("--trainer.devices 1 --trainer.num_nodes 2")]
    nodes = [
        subprocess.Popen(
            [*command, *options], env=env | address | {"NODE_RANK": rank}, cwd=tmp_path
        )
        for rank in "01"
    ]
    try:
        assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    options = ["one", *words("--trainer.devices 2")]
    subprocess.run([*command, *options], env=env, cwd=tmp_path, check=True, timeout=300)
    one, two = (tmp_path / run for run in ("one", "nodes"))
    weights, others = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (one, two)
    )
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert (one / "metrics.csv").read_text() == (two / "metrics.csv").read_text()


def test_fewer_images_than_processes_is_an_error():
    data = Shapes(num_val=1)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0, lightning_module=None)
    with pytest.raises(ValueError, match="val split of Shapes has 1 images for 2 processes; take"):
        data.setup("validate")
