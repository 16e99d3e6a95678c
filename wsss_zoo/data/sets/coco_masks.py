"""Masks of COCO's objects, rasterised once and kept as PNG files."""

import importlib
import json
import logging
import os
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import Progress
from torch.utils.data import Dataset

from wsss_zoo.data.loading.loaders import LateLoader, begin_worker
from wsss_zoo.data.sets.coco_annotations import CocoImage, CocoObject
from wsss_zoo.files.atomic import replacing, write_json
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.manifests import MANIFEST
from wsss_zoo.files.pseudo_labels import voc_palette

logger = logging.getLogger(__name__)

# Counted up when the rules below change, so that older masks are made again.
_RULES = 1
_IMAGES_A_TASK = 32


def need_pycocotools() -> Any:
    """Import ``pycocotools.mask``; ImportError with the remedy if it is not installed."""
    try:
        return importlib.import_module("pycocotools.mask")
    except ImportError as error:
        raise ImportError(
            "COCO's masks are rasterised with pycocotools, which is not installed; install it with "
            "'pip install wsss_zoo[coco]'"
        ) from error


def rasterise_mask(
    objects: Sequence[CocoObject], height: int, width: int, *, crowd_as_class: bool = False
) -> UInt8Array:
    """Rasterise an image's objects into one mask, (height, width): class index, 0 background.

    Objects overlap; the one of smaller annotated area lies on top (the first in the file of two
    equals), as in ``alicranck/coco2voc``. Crowds lie below all single objects; their pixels are
    ignored, 255, unless ``crowd_as_class``.
    """
    api = need_pycocotools()
    mask = np.zeros((height, width), dtype=np.uint8, order="F")
    ascending = sorted(objects, key=lambda item: (item.is_crowd, item.area))
    for item in reversed(ascending):
        is_ignored = item.is_crowd and not crowd_as_class
        region = _region(item.outline, height, width, api)
        np.copyto(mask, IGNORE_INDEX if is_ignored else item.label, where=region.view(np.bool_))
    return np.ascontiguousarray(mask)


def _region(outline: Any, height: int, width: int, api: Any) -> Any:
    code = outline
    if isinstance(outline, list):
        code = api.merge(api.frPyObjects(outline, height, width))
    elif isinstance(outline["counts"], list):
        code = api.frPyObjects(outline, height, width)
    with warnings.catch_warnings():
        # pycocotools with numpy 2: https://github.com/luxonis/luxonis-ml/pull/261
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword")
        return api.decode(code)


def finished_masks(directory: Path, digest: str, crowd_as_class: bool) -> set[str]:
    """Find the ids of the masks in a folder that `build_masks` finished by the rules in force.

    Empty if the folder is not finished, or was made from other annotations.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    if manifest != _identity(digest, crowd_as_class):
        return set()
    with os.scandir(directory) as entries:
        return {entry.name.removesuffix(".png") for entry in entries}


def build_masks(
    directory: Path,
    images: Mapping[str, CocoImage],
    digest: str,
    crowd_as_class: bool,
    num_workers: int,
) -> None:
    """Rasterise the masks of all images of an annotation file to ``<image id>.png``.

    The manifest is written last and removed first, so that a folder whose build was cut off is
    never taken for complete. ``digest`` is the annotation file's SHA-256. ValueError if an outline
    is damaged; the message names the image.
    """
    need_pycocotools()
    logger.info("rasterising %d masks into %s, once", len(images), directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)
    loader = LateLoader(
        _MaskFiles(directory, images, crowd_as_class),
        batch_size=_IMAGES_A_TASK,
        num_workers=num_workers,
        collate_fn=len,
        worker_init_fn=begin_worker,
        # Its own, so that building does not advance the global random numbers of training.
        generator=torch.Generator(),
    )
    with Progress() as progress:
        task = progress.add_task(f"rasterising {directory.name}", total=len(images))
        for done in loader:
            progress.advance(task, done)
    # All masks at once: after a power cut a manifest must not stand for empty files, and forcing
    # each file to the disk would take most of the time.
    os.sync()
    write_json(directory / MANIFEST, _identity(digest, crowd_as_class))


def _identity(digest: str, crowd_as_class: bool) -> dict[str, Any]:
    return {"annotations_sha256": digest, "crowd_as_class": crowd_as_class, "rules": _RULES}


class _MaskFiles(Dataset[None]):
    """Rasterises and writes the mask of an image when it is asked for; for loader processes."""

    def __init__(
        self, directory: Path, images: Mapping[str, CocoImage], crowd_as_class: bool
    ) -> None:
        self.directory, self.images = directory, list(images.items())
        self.crowd_as_class = crowd_as_class
        self.palette = voc_palette().tobytes()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> None:
        image_id, image = self.images[position]
        try:
            mask = rasterise_mask(
                image.objects(), image.height, image.width, crowd_as_class=self.crowd_as_class
            )
        except ImportError:
            raise
        except Exception as error:  # pycocotools lets many kinds through for a damaged outline
            raise ValueError(
                f"the outlines of image {image_id} are damaged ({error}); unpack "
                "annotations_trainval2014.zip again"
            ) from error
        self._write(self.directory / f"{image_id}.png", mask)

    def _write(self, path: Path, mask: UInt8Array) -> None:
        image = Image.fromarray(mask)
        image.putpalette(self.palette)
        with replacing(path, sync=False) as unfinished:
            # Run lengths are what these masks are made of: smaller and faster than the default.
            image.save(unfinished, "png", compress_level=1, compress_type=zlib.Z_RLE)
