"""``wsss-zoo label``: masks for any folder of images, by a checkpoint of any segmenter."""

import logging
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Callback, Trainer
from rich.console import Console

from wsss_zoo.callbacks.folder_masks import FolderMaskWriter, LabelProgress
from wsss_zoo.callbacks.overlay import class_lines, draw_legend
from wsss_zoo.callbacks.run_identity import evaluation_settings
from wsss_zoo.cli_checks import short_message
from wsss_zoo.data.image_folder import FoundImages, find_images
from wsss_zoo.data.label_folder import CLASSES, LEGEND, MASKS, OVERLAYS, LabelFolder
from wsss_zoo.data.pseudo_labels import sha256_file
from wsss_zoo.folder_labeler import FolderLabeler, ImagesInFolder
from wsss_zoo.help_texts import title_groups
from wsss_zoo.modules.evaluation import Evaluation
from wsss_zoo.trained_segmenter import TrainedSegmenter, load_segmenter

log = logging.getLogger(__name__)

# instantiate_classes is deprecated; its successor is newer than the oldest jsonargparse supported.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

_DESCRIPTION = f"""Write a mask for every image in a folder and its sub-folders.

OUT/{MASKS}/<image>.png holds the class index of each pixel, coloured; OUT/{OVERLAYS}/<image>.jpg
the same over the image; OUT/{LEGEND} and OUT/{CLASSES} say which class is which. Started again
after it was stopped, or when images were added or changed, it makes what is missing."""
# Advice of Lightning that does not apply here.
_QUIET = (
    r"The '\w+_dataloader' does not have many workers",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print a message without pages of usage and end the process with code 2."""
        sys.stderr.write(f"wsss-zoo label: error: {short_message(message)}\n")
        sys.stderr.write("wsss-zoo label --help lists all options\n")
        sys.exit(2)


def main(args: list[str]) -> int:
    """Label a folder of images.

    Args:
        args: Arguments after the command's name.

    Returns:
        1 if something could not be labelled, 2 for wrong arguments, else 0.

    Raises:
        ValueError: If the folder of the results is not free for them.
    """
    parser = _parser()
    options = parser.parse_args(args)
    out = Path(options.out or _default_out(options.folder))
    try:
        _check(options, out)
        found = find_images(Path(options.folder), leave_out=out)
        if not found.files and not found.problems:
            raise ValueError(f"there are no images that can be read in {options.folder}")
        trained = load_segmenter(options.ckpt_path, "label", options.classes, options.model)
        trained.method.evaluation = parser.instantiate_classes(options).evaluation
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not trained.names_known:
        log.warning("the checkpoint has no class names; give them with --classes classes.txt")
    problems = _predict(options, found, trained, LabelFolder(out, _identity(options, trained)))
    if problems is None:
        return 0
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="wsss-zoo label",
        usage="wsss-zoo label FOLDER --ckpt_path FILE [options]",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=str, help="folder of images")
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint of a segmenter")
    parser.add_argument("--out", type=str | None, help="folder to write; default FOLDER_masks")
    parser.add_argument(
        "--overwrite",
        type=bool,
        default=False,
        help="delete the masks that are in OUT, of whatever checkpoint, and start afresh",
    )
    parser.add_argument(
        "--opacity",
        type=float,
        default=0.5,
        help="opacity of the overlays, in [0, 1]; 0 writes none",
    )
    parser.add_argument(
        "--conf_thresh",
        type=float | None,
        help="pixels of lower probability, in [0, 1], get 255 in place of a class",
    )
    parser.add_argument(
        "--max_pixels",
        type=int,
        default=2**21,
        help="an image with more pixels than this is run in overlapping tiles",
    )
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile in pixels")
    parser.add_argument(
        "--classes", type=str | None, help="class list with other names than in the checkpoint"
    )
    parser.add_argument(
        "--model",
        type=str | None,
        help="method, where the checkpoint does not say it or says one of your own",
    )
    parser.add_argument("--num_workers", type=int, default=1, help="processes that read images")
    # Images of a folder have no tags.
    parser.add_class_arguments(Evaluation, "evaluation", skip={"gate_by_tags"})
    title_groups(parser)
    for name, kind, default, text in (
        ("accelerator", str, "auto", "cpu, gpu or auto"),
        ("devices", int | str | list[int], "auto", "how many of them, or which"),
        ("strategy", str, "auto", "ddp for several devices"),
        ("num_nodes", int, 1, "machines"),
        ("precision", int | str | None, None, "for example bf16-mixed"),
    ):
        parser.add_argument(f"--trainer.{name}", type=kind, default=default, help=text)
    return parser


def _default_out(folder: str) -> str:
    absolute = Path(folder).absolute()
    return str(absolute.with_name(f"{absolute.name}_masks"))


def _check(options: Namespace, out: Path) -> None:
    if out.resolve() == Path(options.folder).resolve():
        raise ValueError(f"--out {out} is the folder of the images; choose another")
    for name in ("opacity", "conf_thresh"):
        value = options[name]
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--{name} is {value}; give a number in [0, 1]")
    for name in ("max_pixels", "tile"):
        if options[name] < 1:
            raise ValueError(f"--{name} is {options[name]}; give a number >= 1")


def _identity(options: Namespace, trained: TrainedSegmenter) -> dict[str, Any]:
    """What decides the masks: a folder never holds those of two."""
    return {
        "method": type(trained.method).__name__,
        "class_names": trained.class_names,
        "checkpoint_sha256": sha256_file(Path(options.ckpt_path)),
        "options": {
            **{name: options[name] for name in ("opacity", "conf_thresh", "max_pixels", "tile")},
            "evaluation": evaluation_settings(trained.method),
            "precision": str(options.trainer.precision),
        },
    }


def _predict(
    options: Namespace, found: FoundImages, trained: TrainedSegmenter, folder: LabelFolder
) -> list[str] | None:
    """Run the prediction; on the first rank finish the folder and return what went wrong."""
    ignored, names = options.conf_thresh is not None, trained.class_names

    def begin() -> set[str]:
        done = folder.begin(found.files, overwrite=options.overwrite)
        legend = draw_legend(names, ignored=ignored)
        folder.write_legend(legend, class_lines(names, ignored=ignored))
        return done

    console = Console()
    progress = LabelProgress(len(found.files), console)
    writer = FolderMaskWriter(folder, options.opacity, trained.background)
    labeler = FolderLabeler(trained.method, options.tile, options.max_pixels, options.conf_thresh)
    labeler.report = progress.tile
    data = ImagesInFolder(found.files, begin, options.max_pixels, options.num_workers)
    trainer = _trainer(options, [writer, progress])
    trainer.predict(labeler, datamodule=data, return_predictions=False)
    if not trainer.is_global_zero:
        return None
    problems = [*found.problems, *writer.problems(trainer.world_size)]
    root = Path(options.folder)
    images = {name: str(Path(path).relative_to(root)) for name, path in found.files.items()}
    count = folder.finish(images, problems)
    before = len(found.files) - len(data.left)
    parts = [f"{folder.directory}: masks of {count} images"]
    parts += [f"{before} of them were there before"] if before else []
    parts += [f"{len(problems)} problems"] if problems else []
    parts += [f"left out as no images: {_kinds(found.others)}"] if found.others else []
    console.print("; ".join(parts), markup=False, highlight=False, soft_wrap=True)
    return problems


def _trainer(options: Namespace, callbacks: list[Callback]) -> Trainer:
    for message in _QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    return Trainer(
        **options.trainer.as_dict(),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=callbacks,
    )


def _kinds(paths: list[str]) -> str:
    """Files counted by their suffix, the most frequent first."""
    counts = Counter(Path(path).suffix.lower() or "without suffix" for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
