"""``wsss-zoo label``: write masks for any folder of images, from a segmenter's checkpoint."""

import logging
from pathlib import Path
from typing import Any, final

from rich.console import Console

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.callbacks.writers.folder_masks import FolderMaskWriter, LabelProgress
from wsss_zoo.callbacks.writers.run_identity import evaluation_settings
from wsss_zoo.deploy.image_folder import ImageFolder
from wsss_zoo.deploy.preannotations import Tool, write_preannotations
from wsss_zoo.deploy.prediction import TrainerOptions, predict_images
from wsss_zoo.deploy.tiles import FolderLabeler
from wsss_zoo.files.decoding import heif_hint
from wsss_zoo.files.images.pixels import PixelOptions, make_pixel_options
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.manifests import sha256_file
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.modules.evaluation import Evaluation
from wsss_zoo.runs.checkpoints.segmenter import load_segmenter

log = logging.getLogger(__name__)


@final
class FolderEvaluation(Evaluation):
    """`Evaluation` of images that have no tags or labels to gate by."""

    def __init__(self, **options: Any) -> None:
        super().__init__(gate_by_tags=False, gate_by_labels=False, refit_by_labels=False, **options)


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
    value_range: list[float] | None = None,
    bands: list[int] | None = None,
    to: Tool | None = None,
    polygons: float | None = None,
    image_url: str = "/data/local-files/?d=",
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
        value_range: Values of black and white in images of more than 8 bits, as [0, 4095]; default:
            those of the training.
        bands: Numbers, from 1, of the three bands to show as red, green and blue; default: those of
            the training.
        to: Also write the masks as pre-annotations for a tool, into OUT/labelme, OUT/cvat, ...
        polygons: Write polygons, at most so many pixels away from the masks; default: masks where
            the tool takes them, else 0.5.
        image_url: What stands before the names of images for Label Studio, which sees no folders.
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
        if polygons is not None and not polygons >= 0:
            raise ValueError(f"polygons is {polygons}; give a number of pixels >= 0")
        if directory.resolve() == folder.resolve():
            raise ValueError(f"out {directory} is the folder of the images; choose another")
        check_output_folder(directory, ["masks", "overlays"], ["manifest.json", "classes.txt"])
        given = make_pixel_options(value_range, bands)
        data = ImageFolder(folder, directory, max_pixels, num_workers)
        if not data.files and not data.problems:
            hint = heif_hint(data.others)
            raise ValueError(f"there are no images that can be read in {folder}{hint}")
        trained = load_segmenter(ckpt_path, classes, model)
    learned = trained.pixels
    data.pixels = PixelOptions(
        given.value_range or learned.value_range, given.bands or learned.bands
    )
    if not trained.names_known:
        log.warning("the checkpoint has no class names; give them with --classes classes.txt")
    trained.method.evaluation = evaluation
    settings = evaluation_settings(trained.method)
    # What decides the masks: a folder never mixes two of them.
    identity = {
        "method": type(trained.method).__name__,
        "class_names": trained.class_names,
        "checkpoint_sha256": sha256_file(Path(ckpt_path)),
        "options": {
            **options,
            "evaluation": settings,
            "precision": str(trainer.precision),
            **given.state(),
        },
    }
    writer = FolderMaskWriter(
        LabelFolder(directory, identity),
        trained.class_names,
        opacity=opacity,
        background=trained.background,
        ignored=conf_thresh is not None,
        overwrite=overwrite,
    )
    labeler = FolderLabeler(trained.method, tile, max_pixels, conf_thresh, data.pixels)
    progress = LabelProgress(Console())
    labeler.report = progress.draw_tile
    labeler.with_confidence = to is not None
    failed = predict_images(labeler, data, writer, trainer, progress, "masks")
    if areas and writer.count:
        areas_file = writer.folder.write_areas(writer.class_names)
        progress.console.print(
            f"areas: {areas_file}", markup=False, highlight=False, soft_wrap=True
        )
    if to is not None and writer.count:  # on rank zero
        written = write_preannotations(
            writer.folder,
            data.files,
            folder,
            trained.class_names,
            tool=to,
            first_fg=int(trained.background),
            tolerance=polygons,
            image_url=image_url,
        )
        print(f"pre-annotations for {to}: {written}")
    return failed


def _check(options: dict[str, float | None]) -> None:
    for name, value in options.items():
        is_share = name in ("opacity", "conf_thresh")
        if value is not None and not (0 <= value <= 1 if is_share else value >= 1):
            asked = "in [0, 1]" if is_share else ">= 1"
            raise ValueError(f"{name} is {value}; give a number {asked}")
