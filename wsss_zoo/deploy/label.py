"""``wsss-zoo label``: write masks for any folder of images, from a segmenter's checkpoint."""

import dataclasses
import logging
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pytorch_lightning import Trainer
from rich.console import Console

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.callbacks.writers.folder_masks import FolderMaskWriter, LabelProgress
from wsss_zoo.callbacks.writers.run_identity import evaluation_settings
from wsss_zoo.deploy.image_folder import ImageFolder
from wsss_zoo.deploy.tiles import FolderLabeler
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.manifests import sha256_file
from wsss_zoo.modules.evaluation import Evaluation
from wsss_zoo.runs.checkpoints.segmenter import load_segmenter

log = logging.getLogger(__name__)

# Lightning's advice that does not apply here.
_QUIET = (
    r"The '\w+_dataloader' does not have many workers",
    r"Total length of .* across ranks is zero",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@final
class FolderEvaluation(Evaluation):
    """`Evaluation` of images that have no tags to gate by."""

    def __init__(self, **options: Any) -> None:
        super().__init__(gate_by_tags=False, **options)


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


def label(
    folder: Path,
    *,
    ckpt_path: str,
    evaluation: FolderEvaluation,
    trainer: TrainerOptions,
    out: Path | None = None,
    overwrite: bool = False,
    opacity: float = 0.5,
    conf_thresh: float | None = None,
    max_pixels: int = 2**21,
    tile: int = 1024,
    classes: str | None = None,
    model: str | None = None,
    num_workers: int = 1,
    areas: bool = False,
) -> int:
    """Write a mask for every image in a folder and its sub-folders.

    OUT/masks/<image>.png holds the class index of each pixel, coloured. OUT/overlays/<image>.jpg
    shows it over the image. OUT/legend.png and OUT/classes.txt list the classes. Run it again after
    an interruption, or after images were added or changed: it makes only what is missing.

    Args:
        folder: Folder of images.
        ckpt_path: Checkpoint of a segmenter.
        evaluation: How segmenters are run on whole images.
        trainer: Lightning's Trainer.
        out: Folder to write; default FOLDER_masks.
        overwrite: Delete all masks in OUT, of any checkpoint, and start afresh.
        opacity: Opacity of the overlays, in [0, 1]; 0 writes none.
        conf_thresh: Pixels of lower probability, in [0, 1], get 255 in place of a class.
        max_pixels: An image with more pixels than this is run in overlapping tiles.
        tile: Side of a tile in pixels.
        classes: Class list that replaces the names in the checkpoint.
        model: Method, if the checkpoint does not name it or names one of your own.
        num_workers: Processes that read images.
        areas: Write OUT/areas.csv, too: pixels of each class in each image.

    Returns:
        1 if something could not be labelled, else 0.

    Raises:
        UsageError: If an option, the folder or the checkpoint cannot be used.
        ValueError: If OUT holds results of other options.
    """
    options: dict[str, float | None] = {"opacity": opacity, "conf_thresh": conf_thresh}
    options |= {"max_pixels": max_pixels, "tile": tile}
    directory = out or folder.absolute().with_name(f"{folder.absolute().name}_masks")
    with usage_errors():
        _check(options)
        if directory.resolve() == folder.resolve():
            raise ValueError(f"out {directory} is the folder of the images; choose another")
        data = ImageFolder(folder, directory, max_pixels, num_workers)
        if not data.files and not data.problems:
            raise ValueError(f"there are no images that can be read in {folder}")
        trained = load_segmenter(ckpt_path, classes, model)
    if not trained.names_known:
        log.warning("the checkpoint has no class names; give them with --classes classes.txt")
    trained.method.evaluation = evaluation
    settings = evaluation_settings(trained.method)
    # What decides the masks: a folder never mixes two of them.
    identity = {
        "method": type(trained.method).__name__,
        "class_names": trained.class_names,
        "checkpoint_sha256": sha256_file(Path(ckpt_path)),
        "options": {**options, "evaluation": settings, "precision": str(trainer.precision)},
    }
    writer = FolderMaskWriter(
        LabelFolder(directory, identity),
        trained.class_names,
        opacity=opacity,
        background=trained.background,
        ignored=conf_thresh is not None,
        overwrite=overwrite,
    )
    labeler = FolderLabeler(trained.method, tile, max_pixels, conf_thresh)
    return _predict(labeler, data, writer, trainer, areas=areas)


def _check(options: dict[str, float | None]) -> None:
    for name, value in options.items():
        is_share = name in ("opacity", "conf_thresh")
        if value is not None and not (0 <= value <= 1 if is_share else value >= 1):
            asked = "in [0, 1]" if is_share else ">= 1"
            raise ValueError(f"{name} is {value}; give a number {asked}")


def _predict(
    labeler: FolderLabeler,
    data: ImageFolder,
    writer: FolderMaskWriter,
    options: TrainerOptions,
    *,
    areas: bool,
) -> int:
    for message in _QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    console = Console()
    progress = LabelProgress(console)
    labeler.report = progress.draw_tile
    trainer = Trainer(
        **dataclasses.asdict(options),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[writer, progress],
    )
    trainer.predict(labeler, datamodule=data, return_predictions=False)
    if not trainer.is_global_zero:
        return 0
    parts = [f"{writer.folder.directory}: masks of {writer.count} images"]
    parts += [f"{writer.found} of them were there before"] if writer.found else []
    parts += [f"{len(writer.problems)} problems"] if writer.problems else []
    parts += [f"left out as no images: {_count_suffixes(data.others)}"] if data.others else []
    console.print("; ".join(parts), markup=False, highlight=False, soft_wrap=True)
    if areas:
        written = writer.folder.write_areas(writer.class_names)
        console.print(f"areas: {written}", markup=False, highlight=False, soft_wrap=True)
    for problem in writer.problems:
        print(problem, file=sys.stderr)
    return 1 if writer.problems else 0


def _count_suffixes(paths: list[str]) -> str:
    counts = Counter(Path(path).suffix.lower() or "without suffix" for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
