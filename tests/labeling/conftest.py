"""A folder of generated images, some with masks, and a run on it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints import with_opinions
from tests.forked import ForkedCommand
from tests.tiny import NETWORK, QUIET
from wsss_zoo import Shapes
from wsss_zoo.cli import main
from wsss_zoo.data.sets import shapes_scene
from wsss_zoo.pipeline import command as pipeline

SIZE = 48
NAMES = list(Shapes.known_classes)
TRAIN = [f"t{n:02}" for n in range(12)]
VAL = ["v0", "v1", "v2"]
MASKED = TRAIN[:8]
OPTIONS = [
    *["--data.crop_size", str(SIZE), "--data.batch_size", "2", "--data.num_workers", "0"],
    *["--trainer.max_steps", "2", *NETWORK, *QUIET],
]


def write_folder(root: Path, masked: list[str] = MASKED, tagged: tuple[str, ...] = ()) -> Path:
    """Write scenes for `Folder`: masks of some, tags of some, ``val`` with masks."""
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True)
    lines = ["id,classes\n"]
    for number, image_id in enumerate([*TRAIN, *VAL]):
        scene = shapes_scene(0, number, SIZE)
        Image.fromarray(scene.image).save(root / "images" / f"{image_id}.png")
        if image_id in [*masked, *VAL]:
            Image.fromarray(scene.mask).save(root / "masks" / f"{image_id}.png")
        if image_id in tagged:
            present = [NAMES[i] for i in np.unique(scene.mask) if 0 < i < 255]
            lines.append(f"{image_id},{';'.join(present)}\n")
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    (root / "splits" / "val.txt").write_text("\n".join(VAL) + "\n")
    if tagged:
        (root / "image_labels.csv").write_text("".join(lines))
    return root


def train(root: Path, run: Path, model: str = "Supervised", *options: str) -> Path:
    """Train two steps on a folder, and give the network opinions."""
    where = ["--data", "Folder", "--data.root", str(root), "--trainer.default_root_dir", str(run)]
    assert main(["fit", "--model", model, *where, *OPTIONS, *options]) == 0
    path = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    if model == "Supervised":
        from wsss_zoo import Supervised

        torch.manual_seed(0)
        method = with_opinions(Supervised(len(NAMES), backbone="test_resnet"))
        checkpoint["state_dict"] = method.state_dict()
        torch.save(checkpoint, path)
    return run


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labeling")
    root = write_folder(folder / "photos", tagged=("t08", "t00", "t01"))
    return SimpleNamespace(root=root, run=train(root, folder / "run"))


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run and its folder, to be changed."""
    root = shutil.copytree(trained.root, tmp_path / "photos")
    run = shutil.copytree(trained.run, tmp_path / "run")
    return SimpleNamespace(root=root, run=run)


@pytest.fixture
def forked(monkeypatch):
    """Let the steps of a pipeline start at once."""
    monkeypatch.setattr(pipeline, "subprocess", SimpleNamespace(Popen=ForkedCommand))
