"""Saliency maps from a folder, which tell background from foreground in pseudo-labels."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.files.decoding import read_rgb
from wsss_zoo.files.pseudo_labels import label_path
from wsss_zoo.functional import saliency_label


def check_saliency(directory: str | None, image_ids: Sequence[str]) -> None:
    """Look for the saliency maps that will be used, before any image is gone over.

    Args:
        directory: Folder of ``<image_id>.png``; None asks for nothing.
        image_ids: All images.

    Raises:
        FileNotFoundError: If there is no such folder, or maps are missing (the first three are
            named).
        ValueError: If an id would lead out of the folder.
    """
    if directory is None:
        return
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"saliency_dir {folder} is no folder; give one that holds a grey <image_id>.png for "
            "every image"
        )
    missing = [i for i in image_ids if not label_path(folder, i).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_ids)} images have no saliency map in {folder}, first: "
            f"{', '.join(f'{i}.png' for i in missing[:3])}; add the files or take the ids off the "
            "split's list"
        )


def read_saliency(
    directory: str | None, image_id: str, size: Sequence[int]
) -> NDArray[np.float32] | None:
    """Saliency map of an image in [0, 1], (H, W): its grey value / 255.

    A palette or colour file counts as grey if all its colours are; of 16 bits the upper eight are
    kept.

    Args:
        directory: Folder of ``<image_id>.png``; None gives None.
        image_id: The image.
        size: Its height and width, pixels.

    Raises:
        OSError: If the file is missing or cannot be decoded; the message names it.
        ValueError: If it has colours or another size than the image.
    """
    if directory is None:
        return None
    path = label_path(Path(directory), image_id)
    colors = read_rgb(str(path))
    grey = colors[:, :, 0]
    if (colors != grey[:, :, None]).any():
        raise ValueError(
            f"{path} has colours; a saliency map is grey, from 0 (background) to 255: convert it"
        )
    if grey.shape != tuple(size):
        (found_height, found_width), (height, width) = grey.shape, size
        raise ValueError(
            f"saliency map {path} is {found_width}x{found_height} pixels (width x height), but "
            f"image {image_id} is {width}x{height}; make both equal"
        )
    return (grey / 255).astype(np.float32)


def saliency_settings(directory: str) -> dict[str, Any]:
    """What decides labels with saliency: the folder's name, wherever it lies, and thresholds."""
    parameters = inspect.signature(saliency_label).parameters.values()
    thresholds = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {"saliency_dir": Path(directory).absolute().name} | thresholds
