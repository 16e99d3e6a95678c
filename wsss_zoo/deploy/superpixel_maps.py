"""``wsss-zoo superpixels``: write region maps of any images, for labels that vote per segment."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.data import BaseDataModule
from wsss_zoo.deploy.image_maps import MapModule, open_images, write_maps
from wsss_zoo.deploy.prediction import TrainerOptions
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.map_folder import MapFolder
from wsss_zoo.files.segment_maps import write_segment_map
from wsss_zoo.functional import superpixel_backend, superpixels
from wsss_zoo.functional.regions.superpixels import SuperpixelBackend


def write_superpixels(
    folder: Path | None = None,
    *,
    trainer: TrainerOptions,
    data: BaseDataModule | None = None,
    out: Path | None = None,
    num_segments: int = 500,
    backend: SuperpixelBackend = "auto",
    num_workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Write superpixels (SLIC) of every image of a folder or of a split of a data set.

    OUT/<image>.png has 16 bits and the image's size: the id of each pixel's superpixel, from 1.
    That is what predict takes as --labels.segments_dir OUT, and how you can give it segments of
    any other origin. Run it again after an interruption, or after images were added or changed: it
    makes only what is missing.

    Args:
        folder: Folder of images, sub-folders included.
        trainer: Lightning's Trainer.
        data: Data set in place of FOLDER; its predict_split.
        out: Folder to write; default FOLDER_superpixels.
        num_segments: Number of superpixels to ask for.
        backend: Library that makes them; auto takes fast_slic where it can be imported.
        num_workers: Processes that read images.
        overwrite: Delete all maps in OUT and start afresh.

    Returns:
        1 if an image has no map, else 0.

    Raises:
        UsageError: If an option or the images cannot be used.
        ValueError: If OUT holds maps of other options.
        ImportError: If the library is missing.
    """
    with usage_errors():
        numbers = (("num_segments", num_segments, 1), ("num_workers", num_workers, 0))
        for name, value, least in numbers:
            if value < least:
                raise ValueError(f"{name} is {value}; give a number >= {least}")
        images, directory = open_images(folder, data, out, num_workers, "superpixels")
    identity = {"superpixels": superpixel_backend(backend), "num_segments": num_segments}
    maps = MapFolder(
        directory,
        identity,
        write_segment_map,
        command="superpixels",
        contents="superpixels of another library",
    )
    module = MapModule(partial(_numbered, num_segments=num_segments, backend=backend))
    return write_maps(module, images, maps, trainer, "superpixels", overwrite=overwrite)


def _numbered(
    image: UInt8Array, *, num_segments: int, backend: SuperpixelBackend
) -> NDArray[np.int64]:
    """Number superpixels from 1: 0 is no segment."""
    return superpixels(image, num_segments, backend) + 1
