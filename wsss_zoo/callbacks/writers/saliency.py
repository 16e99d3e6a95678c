"""Saliency maps from a folder, which tell background from foreground in pseudo-labels."""

import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.callbacks.map_files import (
    LOOKED_AT,
    SizeOf,
    check_maps,
    check_size,
    check_sizes,
    maps_origin,
)
from wsss_zoo.callbacks.metrics.label_estimate import sampled_ids
from wsss_zoo.files.pseudo_labels import label_path
from wsss_zoo.files.saliency_maps import read_saliency_map
from wsss_zoo.functional import saliency_label

logger = logging.getLogger(__name__)

# Some image of any set shows more than half of full saliency.
_WEAK = 128


def check_saliency(
    directory: str | None, image_ids: Sequence[str], size_of: SizeOf | None = None
) -> None:
    """Check that a folder, unless it is None, has a map of every image; see `check_maps`.

    Some maps are read: a warning says if all of them are weak. ``size_of`` gives height and width
    of an image, with which those of all maps are compared.
    """
    if directory is None:
        return
    folder = Path(directory)
    check_maps(
        folder,
        image_ids,
        option="saliency_dir",
        kind="saliency map",
        content="that holds a grey <image_id>.png for every image",
        remedy="write them with 'wsss-zoo saliency' or take the ids off the split's list",
    )
    sampled = [label_path(folder, image_id) for image_id in sampled_ids(image_ids, LOOKED_AT)]
    highest = max((int(read_saliency_map(path).max()) for path in sampled), default=255)
    if highest < _WEAK:
        logger.warning(
            "no value of %d saliency maps in %s is above %d, while saliency goes from 0 to 255 (16 "
            "bits: 65535); scale the maps if they are in other units, as 0 to 1 or 0 to 100",
            len(sampled),
            folder,
            highest,
        )
    check_sizes("saliency map", ((i, label_path(folder, i)) for i in image_ids), size_of)


def read_saliency(
    directory: str | None, image_id: str, size: Sequence[int]
) -> NDArray[np.float32] | None:
    """Read the saliency map of an image of a height and width: grey value / 255, (H, W).

    Which files are refused says `read_saliency_map`. Without a directory there is no map.

    Raises:
        OSError: If the file is missing or cannot be decoded; the message names it.
        ValueError: If it is no saliency map or has another size than the image.
    """
    if directory is None:
        return None
    path = label_path(Path(directory), image_id)
    grey = read_saliency_map(path)
    check_size(path, "saliency map", image_id, grey.shape, size)
    return (grey / 255).astype(np.float32)


def saliency_settings(directory: str) -> dict[str, Any]:
    """Collect what decides labels with saliency: the maps' folder and origin, the thresholds."""
    parameters = inspect.signature(saliency_label).parameters.values()
    thresholds = {p.name: p.default for p in parameters if p.default is not p.empty}
    origin = maps_origin(Path(directory))
    maps = {"saliency_maps": origin} if origin else {}
    return {"saliency_dir": Path(directory).absolute().name} | maps | thresholds
