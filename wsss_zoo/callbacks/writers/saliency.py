"""Saliency maps from a folder, which tell background from foreground in pseudo-labels."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.callbacks.map_files import check_maps, check_size
from wsss_zoo.files.decoding import read_rgb
from wsss_zoo.files.pixels import PixelOptions
from wsss_zoo.files.pseudo_labels import label_path
from wsss_zoo.functional import saliency_label

# A weak map is no map of fewer bits.
_SIXTEEN_BITS = PixelOptions(value_range=(0, 2**16 - 1))


def check_saliency(directory: str | None, image_ids: Sequence[str]) -> None:
    """Check that a folder, unless it is None, has a map of every image; see `check_maps`."""
    if directory is not None:
        check_maps(
            Path(directory),
            image_ids,
            option="saliency_dir",
            kind="saliency map",
            content="that holds a grey <image_id>.png for every image",
            remedy="add the files or take the ids off the split's list",
        )


def read_saliency(
    directory: str | None, image_id: str, size: Sequence[int]
) -> NDArray[np.float32] | None:
    """Read the saliency map of an image of a height and width: grey value / 255, (H, W).

    A palette or colour file counts as grey if all its colours are; of 16 bits the upper eight are
    kept. Without a directory there is no map.

    Raises:
        OSError: If the file is missing or cannot be decoded; the message names it.
        ValueError: If it has colours or another size than the image.
    """
    if directory is None:
        return None
    path = label_path(Path(directory), image_id)
    colors = read_rgb(str(path), _SIXTEEN_BITS)
    grey = colors[:, :, 0]
    if (colors != grey[:, :, None]).any():
        raise ValueError(
            f"{path} has colours; a saliency map is grey, from 0 (background) to 255: convert it"
        )
    check_size(path, "saliency map", image_id, grey.shape, size)
    return (grey / 255).astype(np.float32)


def saliency_settings(directory: str) -> dict[str, Any]:
    """Collect what decides labels with saliency: the folder's name and the thresholds."""
    parameters = inspect.signature(saliency_label).parameters.values()
    thresholds = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {"saliency_dir": Path(directory).absolute().name} | thresholds
