"""Run a module over images and write a file for each, on any number of processes."""

import dataclasses
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytorch_lightning import LightningModule, Trainer

from wsss_zoo.callbacks.writers.folder_masks import FolderWriter, LabelProgress
from wsss_zoo.deploy.image_folder import GivenImages
from wsss_zoo.files.decoding import SEVERAL_FRAMES, heif_hint

# Lightning's advice that does not apply here.
_QUIET = (
    r"The '\w+_dataloader' does not have many workers",
    r"Total length of .* across ranks is zero",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@dataclass(frozen=True)
class TrainerOptions:
    """Options of Lightning's Trainer that matter for prediction.

    Args:
        accelerator: cpu, gpu or auto.
        devices: Number of devices, or a list of indices.
        strategy: ddp for several devices.
        num_nodes: Number of machines.
        precision: For example bf16-mixed.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    strategy: str = "auto"
    num_nodes: int = 1
    precision: int | str | None = None


def predict_images(
    module: LightningModule,
    data: GivenImages,
    writer: FolderWriter,
    options: TrainerOptions,
    progress: LabelProgress,
    contents: str,
) -> int:
    """Predict images, and print what was written, ``contents``, and what was not.

    Returns:
        1 if an image could not be processed, else 0.
    """
    with _quiet():
        trainer = Trainer(
            **dataclasses.asdict(options),
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[writer, progress],
        )
        trainer.predict(module, datamodule=data, return_predictions=False)
    if not trainer.is_global_zero:
        return 0
    parts = [f"{writer.result.directory}: {contents} of {writer.count} images"]
    parts += [f"{writer.found} of them were there before"] if writer.found else []
    parts += [f"{len(writer.problems)} problems"] if writer.problems else []
    left_out = f"left out as no images: {_count_suffixes(data.others)}{heif_hint(data.others)}"
    parts += [left_out] if data.others else []
    progress.console.print("; ".join(parts), markup=False, highlight=False, soft_wrap=True)
    if writer.several_frames:
        number, first = len(writer.several_frames), writer.several_frames[0]
        print(f"{SEVERAL_FRAMES}: {number}, first: {first}", file=sys.stderr)
    for problem in writer.problems:
        print(problem, file=sys.stderr)
    return 1 if writer.problems else 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Lightning says of loggers, devices and loaders, here alone."""
    told = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = told.level
    told.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _QUIET:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        told.setLevel(level)


def _count_suffixes(paths: list[str]) -> str:
    counts = Counter(Path(path).suffix.lower() or "without suffix" for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
