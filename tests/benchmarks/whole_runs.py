"""Whole validations, predictions and labellings of so many images, and the peak of each.

``python -m tests.benchmarks.whole_runs CASE FOLDER COUNT ...`` prints the megabytes of each count,
each in a process of its own that begins after the imports.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Trainer

from tests.benchmarks.memory import PeakMemory
from tests.checkpoints import save_checkpoint, with_opinions
from wsss_zoo import CAM, CoAttention, MaskFormer, Shapes, SimFormer, Supervised
from wsss_zoo.callbacks import (
    ClassificationMetrics,
    GraphWriter,
    PredictionVisualizer,
    PseudoLabelWriter,
    SegmentationMetrics,
)
from wsss_zoo.cli import main as run_command
from wsss_zoo.files.pseudo_labels import write_label
from wsss_zoo.modules import Evaluation

SIZE, CLASSES, TINY = 160, 7, {"backbone": "test_resnet"}
QUERIES = {"queries": 7, "channels": 16, "decoder_layers": 2, "feedforward": 24}
VIEWS = {"window": 128, "scales": (0.5, 1.0), "flip": True}


def shapes(count: int, **options: Any) -> Shapes:
    return Shapes(num_train=count, num_val=count, image_size=SIZE, num_workers=0, **options)


def trainer(folder: Path, callbacks: list[Any]) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False}
    return Trainer(default_root_dir=folder, accelerator="cpu", callbacks=callbacks, **quiet)


def validate(method: Any, folder: Path, count: int, **evaluation: Any) -> None:
    callbacks = [SegmentationMetrics(boundary=True), ClassificationMetrics()]
    run = trainer(folder, [*callbacks, PredictionVisualizer()])
    method.evaluation = Evaluation(**evaluation)
    run.validate(method, shapes(count), verbose=False)


def predict(method: Any, folder: Path, count: int, **data: Any) -> None:
    writer = PseudoLabelWriter(save_cams=method.output == "classification")
    run = trainer(folder, [writer])
    run.predict(method, shapes(count, **data), return_predictions=False)


def build_graphs(method: Any, folder: Path, count: int) -> None:
    data = shapes(count)
    for image_id in data.predict_ids():
        mask = data.read_mask(image_id)
        assert mask is not None
        write_label(folder / "given", image_id, mask)
    writer = GraphWriter(str(folder / "given"), threshold=2.0, num_segments=100)
    trainer(folder, [writer]).predict(method, data, return_predictions=False)


def label(method: Any, folder: Path, count: int) -> None:
    """``wsss-zoo label`` of photographs."""
    names = ["background", *(f"class {number}" for number in range(1, CLASSES))]
    checkpoint = save_checkpoint(folder / "last.ckpt", with_opinions(method), names)
    run_on_photos("label", folder, count, "--ckpt_path", checkpoint)


def make_superpixels(method: Any, folder: Path, count: int) -> None:
    """``wsss-zoo superpixels`` of photographs; ``saliency`` goes the same way."""
    run_on_photos("superpixels", folder, count, "--num_segments", "100")


def run_on_photos(command: str, folder: Path, count: int, *options: str) -> None:
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(count):
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.jpg")
    fixed = ["--num_workers", "0", "--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    assert run_command([command, str(folder / "photos"), *options, *fixed]) == 0


Run = Callable[[Any, Path, int], None]
CASES: dict[str, tuple[Run, Callable[[], Any]]] = {
    "validate-CAM": (validate, partial(CAM, CLASSES, **TINY)),
    "validate-Supervised": (validate, partial(Supervised, CLASSES, **TINY)),
    "validate-Supervised, windows, scales, flip": (
        partial(validate, **VIEWS),
        partial(Supervised, CLASSES, **TINY),
    ),
    "predict-CAM": (predict, partial(CAM, CLASSES, **TINY)),
    "predict-Supervised": (predict, partial(Supervised, CLASSES, **TINY)),
    "predict-CoAttention, multi-round": (
        partial(predict, supervision="image_labels"),
        partial(CoAttention, CLASSES, output_stride=16, convs=0, references=1, **TINY),
    ),
    "predict-MaskFormer": (predict, partial(MaskFormer, CLASSES, **TINY, **QUERIES)),
    "predict-SimFormer": (predict, partial(SimFormer, CLASSES, **TINY, **QUERIES)),
    "predict-graphs of regions": (build_graphs, partial(Supervised, CLASSES, **TINY)),
    "wsss-zoo label": (label, partial(Supervised, CLASSES, **TINY)),
    "wsss-zoo superpixels": (make_superpixels, partial(Supervised, CLASSES, **TINY)),
}


def main(case: str, folder: str, *counts: str) -> None:
    torch.set_num_threads(1)
    run, make = CASES[case]
    for count in counts:
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0, f"{case} of {count} images failed"
            continue
        code = 1
        try:
            own = Path(folder) / count
            own.mkdir()
            peak = PeakMemory()
            run(make(), own, int(count))
            print(f"\n{peak.megabytes()}", flush=True)
            code = 0
        finally:
            os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
