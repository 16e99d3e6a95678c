"""``wsss-zoo import``: turn the annotations of a tool into a folder for training."""

from pathlib import Path

from rich.console import Console

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.data.formats import Format, unpacked
from wsss_zoo.importing.rasterise import Rest
from wsss_zoo.importing.report import report_lines
from wsss_zoo.importing.run import Boxes, Choices, Import, Missing


def import_annotations(
    source: Path,
    root: Path,
    *,
    format: Format | None = None,
    images: Path | None = None,
    rest: Rest | None = None,
    missing: Missing = "unlabeled",
    boxes: Boxes = "box",
    stroke_width: int = 3,
    scores: bool = False,
    annotator: str | None = None,
    key: str | None = None,
    dry_run: bool = False,
) -> int:
    """Turn the export of an annotation tool into a folder for --data Folder.

    Polygons, masks and brushes become masks/, lines become strokes in shapes.json, boxes boxes.csv,
    points points.csv, tags image_labels.csv. Images are linked or copied into images/. Run it again
    after changes in the tool: what is the same stays untouched. Nothing is written if anything
    cannot be read.

    Args:
        source: File, folder or ZIP file that the tool exported.
        root: Folder to write. A classes.txt there decides the classes and their order.
        format: Of the annotations; default: told from the content.
        images: Folder of the images; default: that of the annotations.
        rest: What pixels are that no shape covers; default: background, but unknown if any image
            has lines or points.
        missing: What images without annotation file are: unlabeled, or background as for
            Ultralytics.
        boxes: Keep boxes as boxes, or fill them as a mask.
        stroke_width: Width of lines in pixels.
        scores: Lines of YOLO end with a confidence, which is dropped.
        annotator: Id or address of the annotator of Label Studio whose work is taken; default: the
            newest.
        key: Name of the image in the data of Label Studio's tasks, if there are several.
        dry_run: Read and check everything, print the report, and write nothing.

    Returns:
        1 if a dry run found something that cannot be read, else 0.

    Raises:
        UsageError: If an option, the source or the root cannot be used.
        ValueError: If the annotations cannot be read, or ROOT has files of other origin.
    """
    choices = Choices(rest, missing, boxes, stroke_width, scores, annotator, key)
    with usage_errors():
        _check(source, root, images, stroke_width)
    with unpacked(source) as path:
        task = Import(path, source, root, format, images, choices, dry_run)
        try:
            result = task.run()
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), str(source))) from None
    console = Console()
    for line in [*report_lines(result, task.left_out), *task.problems]:
        # Of a ZIP file, not where it was unpacked.
        text = line.replace(str(path), str(source))
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        state = f"{len(task.problems)} problems" if task.problems else "no problems"
        console.print(f"{state}; nothing was written", markup=False, highlight=False)
        return 1 if task.problems else 0
    check = f"wsss-zoo inspect --data Folder --data.root {root}"
    console.print(f"{root} is ready; check it: {check}", markup=False, soft_wrap=True)
    return 0


def _check(source: Path, root: Path, images: Path | None, stroke_width: int) -> None:
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give what the tool exported")
    if images is not None and not images.is_dir():
        raise ValueError(f"images {images} is no folder; give that of the images")
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; give a folder to write")
    if source.is_dir() and root.resolve() == source.resolve():
        raise ValueError(f"{root} is the folder of the annotations; choose another to write")
    if stroke_width < 1:
        raise ValueError(f"stroke_width is {stroke_width}; give a number of pixels >= 1")
