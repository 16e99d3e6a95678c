"""Masks of a folder as pre-annotations for the tool that images are labelled in."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from wsss_zoo.data.formats import coco, cvat, labelme, labelstudio, yolo
from wsss_zoo.data.formats.segments import Labeled, worst_overlap
from wsss_zoo.files.label_folder import MASKS, LabelFolder
from wsss_zoo.files.pseudo_labels import read_label

log = logging.getLogger(__name__)

Tool = Literal["labelme", "cvat", "coco", "yolo", "labelstudio"]
_WRITERS: dict[str, Callable[[Path, Iterator[Labeled], Sequence[str]], Path]] = {
    "labelme": labelme.write,
    "cvat": cvat.write,
    "coco": coco.write,
    "yolo": yolo.write,
}


def write_preannotations(
    folder: LabelFolder,
    images: Mapping[str, str],
    root: Path,
    class_names: Sequence[str],
    *,
    tool: Tool,
    first_fg: int = 1,
    tolerance: float | None = None,
    image_url: str = "",
) -> Path:
    """Write the masks of a folder for a tool, into a folder of its name.

    Args:
        folder: The masks, and their confidence where it was kept.
        images: Image file by id.
        root: Folder of the images; tools know them by their path below it.
        class_names: Names by class index.
        tool: Whose format.
        first_fg: Index of the first class that has shapes.
        tolerance: Of polygons, pixels; None for masks where the tool takes them, else .5.
        image_url: What Label Studio has before the names of images.

    Returns:
        What to open in the tool.
    """
    target = folder.directory / tool
    worst = [1.0]

    def labeled() -> Iterator[Labeled]:
        for image_id, path in images.items():
            if not folder.has(image_id):
                continue
            name = Path(path).relative_to(root).as_posix()
            if tool == "labelme":
                file = (target / f"{image_id}.json").absolute()
                name = Path(os.path.relpath(Path(path).absolute(), file.parent)).as_posix()
            mask = read_label(folder.directory / MASKS, image_id)
            confidence = folder.read_confidence(image_id)
            if confidence is not None and confidence.shape != mask.shape:
                confidence = None  # of another version of the image
            image = Labeled(image_id, name, mask, first_fg, confidence, tolerance)
            if tolerance is not None or tool == "yolo":
                worst[0] = min(worst[0], worst_overlap(image))
            yield image

    if tool == "labelstudio":
        written = labelstudio.write(target, labeled(), class_names, prefix=image_url)
    else:
        written = _WRITERS[tool](target, labeled(), class_names)
    if worst[0] < 1:
        log.warning(
            "%s: polygons differ from the masks; the lowest IoU of a region is %.3f (--polygons 0 "
            "is exact)",
            written,
            worst[0],
        )
    return written
