"""The peak memory that ``wsss-zoo train`` foresees, against that of the trainings themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.training.conftest import ShapesFolder
from wsss_zoo import Shapes
from wsss_zoo.pipeline.command import run_recipe

ROOT = Path(__file__).parents[2]
STEPS = 15
IMAGES, SIDE = 40, 256
KINDS = {
    "masks": {"masks": IMAGES},
    "masks and tags": {"masks": 16, "tags": 24},
    "masks and other images": {"masks": 16},
    "tags": {"tags": IMAGES},
    "tags, masks of some classes": {"masks": 16, "tags": 24},
    "sparse": {"masks": 8},
    "novel classes": {"masks": IMAGES, "tags": IMAGES},
}


def labelled(root, kind):
    """Write a folder with labels of a kind."""
    ShapesFolder(root, IMAGES, size=SIDE, **KINDS[kind])
    masks = sorted((root / "masks").glob("*.png"))
    if kind in ("tags, masks of some classes", "novel classes"):
        for path in masks:
            mask = np.array(Image.open(path))
            mask[mask == 1] = 255
            Image.fromarray(mask).save(path)
    if kind == "sparse":
        (root / "sparse").mkdir()
        data = Shapes(num_train=IMAGES, image_size=SIDE)
        for image_id in data.split_ids("train")[len(masks) :]:
            mask = data.read_mask(image_id)
            mask[::2] = 255
            Image.fromarray(mask).save(root / "sparse" / f"{image_id}.png")
    return root


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", list(KINDS))
def test_peak_memory_is_foreseen(kind, tmp_path, measured, monkeypatch):
    """Each in processes of its own, as a user runs them; largest of all steps of a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    labelled(tmp_path / "photos", kind)
    options = ["--plan", "--quality", "draft", "--weights", "none", "--trainer.accelerator", "cpu"]
    command = [sys.executable, "-m", "wsss_zoo", "train", "photos", *options]
    subprocess.run(command, check=True, env=os.environ)
    costs = json.loads(Path("runs/photos/plan.json").read_text())["costs"]
    foreseen = {name: cost["memory"] for name, cost in costs.items()}
    content = yaml.safe_load(Path("runs/photos/recipe.yaml").read_text())
    content["common"]["trainer"]["callbacks"] = [{"class_path": "wsss_zoo.callbacks.StepTimes"}]
    for step in content["steps"].values():
        if step["command"] == "fit":
            step["trainer"] |= {"max_steps": STEPS, "val_check_interval": 7}
        step.pop("optional", None)
        if kind == "novel classes":
            # After so few steps no label has a novel class, which is an error.
            (step.get("data") or {}).get("init_args", {}).pop("pseudo_label_dir", None)
    Path("long.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert run_recipe(Path("long.yaml"), root=Path("long")) == 0
    needed = {
        name: json.loads(Path("long", name, "step_times.json").read_text())["memory"]
        for name in content["steps"]
    }
    for name, peak in needed.items():
        print(f"{kind}, {name}: {foreseen[name] / 2**20:.0f} of {peak / 2**20:.0f} MB")
        measured(f"{kind}, {name}: foreseen / needed", foreseen[name] / peak)
    both = max(foreseen.values()) / max(needed.values())
    measured(f"{kind}: foreseen / needed", both, at_least=0.85, at_most=1.15)
