"""A bare folder of images to be labelled: what is in it, and how it is read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from wsss_zoo.data.crops import Position, index_and_visit
from wsss_zoo.data.file_listing import list_files
from wsss_zoo.data.image_decoding import UInt8Array, image_size_of, read_rgb, readable_suffixes
from wsss_zoo.data.text_files import id_problem, plain


@dataclass(frozen=True)
class FoundImages:
    """What a folder holds.

    Args:
        files: Path of each image by id, sorted by id.
        others: Files that are no images.
        problems: What cannot be used, and why; each names the file.
    """

    files: dict[str, str]
    others: list[str]
    problems: list[str]


def find_images(folder: Path, leave_out: Path) -> FoundImages:
    """List the images below a folder; hidden files and folders are left out.

    An image's id is its path below the folder without the suffix. Of several files that differ in
    the suffix only, all keep it, so that which is which does not depend on what else is there.

    Args:
        folder: The folder.
        leave_out: Files in this folder are not listed: that of the results, should it be inside.

    Raises:
        ValueError: If there is no such folder.
    """
    if not folder.is_dir():
        what = "is a file; give the folder that it is in" if folder.is_file() else "is missing"
        raise ValueError(f"folder {folder} {what}")
    problems: list[str] = []
    # Without suffixes everything is among the others.
    listed = map(Path, list_files(folder, (), report=problems.append).others)
    paths = [path for path in listed if not path.absolute().is_relative_to(leave_out.absolute())]
    suffixes = readable_suffixes()
    images = [path for path in paths if path.suffix.lower() in suffixes]
    names = {path: path.relative_to(folder) for path in images}
    counts = Counter(_id(name.with_suffix("")) for name in names.values())
    files: dict[str, str] = {}
    for path, name in names.items():
        stem = _id(name.with_suffix(""))
        image_id = stem if counts[stem] == 1 else _id(name)
        problem = id_problem(image_id)
        if problem is None and image_id in files:
            problem = f"gives its mask the name of that of {files[image_id]!r}"
        if problem is None:
            files[image_id] = str(path)
        else:
            problems.append(f"{str(path)!r} has a name that {problem}; rename the file")
    others = [str(path) for path in paths if path.suffix.lower() not in suffixes]
    return FoundImages(dict(sorted(files.items())), others, problems)


def _id(name: Path) -> str:
    return plain(name.as_posix())


class ImagesToLabel(Dataset[dict[str, Any]]):
    """Whole images, one at a time; what cannot be read does not stop the others.

    A sample has ``image_id``, ``path`` and ``image``, a tensor (H, W, 3) uint8. That is None for an
    image with more pixels than ``max_pixels``, which is read where it is used: it does not pass
    from process to process, and no second one waits in memory.

    Args:
        ids: Image ids.
        files: Path by id.
        max_pixels: Pixels of the largest image to be read here.
    """

    def __init__(self, ids: Sequence[str], files: dict[str, str], max_pixels: int) -> None:
        self.ids, self.files, self.max_pixels = ids, files, max_pixels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        image_id = self.ids[index_and_visit(position)[0]]
        path = self.files[image_id]
        sample: dict[str, Any] = {"image_id": image_id, "path": path, "image": None}
        try:
            with _any_size():
                height, width = image_size_of(path)
            if height * width <= self.max_pixels:
                # As a tensor it goes through shared memory. An array would fill the pipe between
                # the processes, and a worker whose parent was killed would wait there for ever.
                sample["image"] = torch.from_numpy(read_rgb(path))
        except (OSError, ValueError):
            # The error comes again, in the process that can report it.
            pass
        return sample


def read_any_size(path: str) -> UInt8Array:
    """`read_rgb` without Pillow's limit on the number of pixels: the files are the user's own."""
    with _any_size():
        return read_rgb(path)


@contextmanager
def _any_size() -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
