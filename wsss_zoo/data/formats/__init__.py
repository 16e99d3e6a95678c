"""Annotations of labelme, CVAT, COCO, YOLO, Label Studio and VOC in one form, without torch."""

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from wsss_zoo.data.formats import coco, cvat, labelme, labelstudio, voc, yolo
from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Shape
from wsss_zoo.data.formats.guess import guess_format
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.data.formats.reading import Reading
from wsss_zoo.files.text import Report, id_problem, raise_problem

logger = logging.getLogger(__name__)

__all__ = ["AnnotatedImage", "Format", "Shape", "read_annotations", "unpacked"]

Format = Literal["labelme", "cvat", "coco", "yolo", "labelstudio", "voc"]
# Folders that an export consists of; any other one alone in an archive only holds the export.
_PARTS = {"images", "labels", "annotations", "Annotations", "SegmentationClass"}
READERS: dict[str, Callable[[Path, Reading], Iterator[AnnotatedImage]]] = {
    "labelme": labelme.read,
    "cvat": cvat.read,
    "coco": coco.read,
    "yolo": yolo.read,
    "labelstudio": labelstudio.read,
    "voc": voc.read,
}


def read_annotations(
    path: str | Path,
    format: Format | None = None,
    *,
    images: str | Path | None = None,
    report: Report = raise_problem,
) -> Iterator[AnnotatedImage]:
    """Read the annotations of a tool, image by image.

    Images are not decoded; the size of one is read from its header where the annotations lack it.
    Nothing outside the folder is read.

    Args:
        path: File or folder that the tool exported, or a ZIP file of one.
        format: labelme, cvat (images 1.1 or segmentation mask 1.1), coco, yolo, labelstudio or voc;
            None tells it from the content and logs it.
        images: Folder of the images; None for that of the annotations.
        report: What to do with an entry that cannot be used; it is then left out. The default
            raises ValueError.

    Yields:
        The images in the order of the files; their shapes in the order of the tool.

    Raises:
        FileNotFoundError: If there is no such path.
        ValueError: If the format cannot be told, or an entry cannot be used. The message names file
            and entry.
    """
    with unpacked(Path(path)) as source:
        base = source if source.is_dir() else source.parent
        index = (
            ImageIndex.below(base, (), report)
            if images is None
            else ImageIndex(Path(images), (), report)
        )
        reading = Reading(base, index, report)
        yield from READERS[known_format(source, format)](source, reading)


def known_format(path: Path, format: str | None, leave_out: Sequence[Path] = ()) -> str:
    """Check the name of a format, or tell it from the content."""
    if format is None:
        found = guess_format(path, leave_out)
        logger.info("%s: format %s, by its content", path, found)
        return found
    if format not in READERS:
        raise ValueError(f"format {format!r} is none of {', '.join(get_args(Format))}")
    return format


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give a file or folder as it is, and a ZIP file unpacked for the time of the block.

    Raises:
        FileNotFoundError: If there is no such path.
        ValueError: If the ZIP file is damaged, has a name that leads out of it, or does not fit on
            the disk.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give what the tool exported")
    if path.is_dir() or not zipfile.is_zipfile(path):
        if path.suffix.lower() == ".zip":
            raise ValueError(f"{path} is no ZIP file or is damaged; export it again")
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, Path(folder), path)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ValueError(f"{path} is damaged ({error}); export it again") from error
        yield _inner(Path(folder))


def _inner(folder: Path) -> Path:
    """Go into the one folder that an archive of a folder has."""
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in _PARTS:
        return _inner(inside[0])
    return folder


def _extract(archive: zipfile.ZipFile, folder: Path, path: Path) -> None:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    # What macOS packs beside each file.
    entries = [entry for entry in entries if not entry.filename.startswith("__MACOSX/")]
    if sum(entry.file_size for entry in entries) > shutil.disk_usage(folder).free // 2:
        raise ValueError(f"{path} does not fit on the disk of {folder.parent}; unpack it elsewhere")
    for entry in entries:
        problem = id_problem(entry.filename)
        if problem:
            raise ValueError(f"{path} has the entry {entry.filename!r}, which {problem}")
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as content, target.open("xb") as file:
            shutil.copyfileobj(content, file)
