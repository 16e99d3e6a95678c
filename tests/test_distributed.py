"""What evaluation writes on two processes, against one."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsss_zoo import Shapes

IMAGES = 7  # odd: one process gets four images, the other three
METHODS = ("Supervised", "CAM")
GIVEN = "one_CAM/pseudo_labels"
REGIONS = [
    *["--noise.pseudo_label_dir", GIVEN, "--noise.precision", "0.3"],
    *["--graphs.pseudo_label_dir", GIVEN, "--graphs.threshold", "1", "--graphs.num_segments", "20"],
]
# Multi-round maps: both processes have to draw the same references.
PREDICTING = (*METHODS, "CoAttention")
# Lightning runs the script once more as the second process. All in one: starting is what takes
# long.
SCRIPT = f"""
import os
from pathlib import Path
from wsss_zoo.cli import main

def run(command, method, folder, *options):
    main([
        command, "--model", method, "--model.backbone", "test_resnet",
        *"--data Shapes --data.image_size 48 --data.num_workers 0 --seed_everything 3".split(),
        *"--data.num_val {IMAGES} --data.predict_split val --data.novel_classes [fox]".split(),
        *"--trainer.accelerator cpu --trainer.enable_progress_bar false".split(),
        *"--metrics.boundary true --visualizer.num_images 0".split(),
        *(["--model.convs", "0", "--model.output_stride", "16"] if method == "CoAttention" else []),
        "--trainer.default_root_dir", f"{{folder}}_{{method}}", *options,
    ])

jobs = [(command, method) for method in {METHODS} for command in ("validate", "test")]
jobs += [("predict", method) for method in {PREDICTING}]
if "LOCAL_RANK" not in os.environ:
    for job in jobs:
        run(*job, "one", "--trainer.devices", "1")
    run("predict", "Supervised", "one_regions", *{REGIONS}, "--trainer.devices", "1")
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
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "script.py").write_text(SCRIPT)
    ranks = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {key: value for key, value in os.environ.items() if key not in ranks}
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


@pytest.mark.parametrize(("method", "stage"), [*product(METHODS, ("val", "test"))])
def test_two_processes_measure_what_one_does(folder, method, stage):
    one, two = (read(folder / f"{name}_{method}", f"{stage}_*.*") for name in ("one", "two"))
    assert set(one) == {f"{stage}_results.json", f"{stage}_classes.csv"}
    assert one == two
    # It is a measurement: of all images, and not all of one class.
    results = json.loads(one[f"{stage}_results.json"])
    if method == "Supervised":
        assert sum(map(sum, results["confusion"])) == IMAGES * 48 * 48
        assert sum(any(column) for column in zip(*results["confusion"], strict=True)) > 1
        assert f"{stage}/miou_base" in results["metrics"]
    rows = list(csv.reader(one[f"{stage}_classes.csv"].decode().splitlines()))
    assert len({value for _, value, *_ in rows[1:]}) > 2


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


def test_fewer_images_than_processes_is_an_error():
    data = Shapes(num_val=1)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0, lightning_module=None)
    with pytest.raises(ValueError, match="val split of Shapes has 1 images for 2 processes; take"):
        data.setup("validate")
