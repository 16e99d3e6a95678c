"""PASCAL VOC 2012 in its official layout."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.image_files import ImageFiles, UInt8Array
from wsss_zoo.data.image_labels import Tags, check_tags, read_tag_file, read_voc_xml
from wsss_zoo.data.splits import read_split

VOC_CLASSES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]  # fmt: skip

# SBD's extra masks under the names that the field has given their PNG form, in order of preference.
_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug")
_TAG_FILES = ("image_labels.json", "image_labels.csv")


class VOC2012(BaseDataModule):
    """PASCAL VOC 2012: 20 classes and background; train 1464, train_aug 10582, val 1449 images.

    ``root`` is the folder ``VOC2012`` of the official archive, or any folder laid out like it:
    ``JPEGImages/<id>.jpg``, ``SegmentationClass/<id>.png``, ``ImageSets/Segmentation/<split>.txt``.
    ``train_aug`` needs ``train_aug.txt`` and the masks of SBD (Hariharan et al., ICCV 2011), either
    as PNG in ``SegmentationClassAug`` or as SBD's own ``.mat`` files (``sbd_root``).

    Args:
        root: The folder ``VOC2012``.
        image_labels: Where tags come from: ``auto`` (``image_labels.json`` or ``.csv`` in the root,
            else the masks), ``masks``, ``xml`` (``Annotations/<id>.xml``), or a JSON or CSV file.
        sbd_root: SBD's folder ``dataset``, which holds ``cls/<id>.mat``.
        **kwargs: See `BaseDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        image_labels: str = "auto",
        sbd_root: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)
        self.image_labels = image_labels
        self.sbd_root = None if sbd_root is None else Path(sbd_root)

    @property
    def known_classes(self) -> list[str]:
        """VOC's 20 classes after the background."""
        return VOC_CLASSES

    def split_ids(self, split: str) -> list[str]:
        """Ids of ``ImageSets/Segmentation/<split>.txt``, or of a list file given by its path.

        Raises:
            FileNotFoundError: If the root or the list is missing; the message names the lists there
                are.
        """
        self._need_root()
        lists = self.root / "ImageSets" / "Segmentation"
        for path in (lists / f"{split}.txt", Path(split)):
            if path.is_file():
                return read_split(path)
        found = sorted(path.stem for path in lists.glob("*.txt"))
        raise FileNotFoundError(
            f"split {split!r}: neither {lists / f'{split}.txt'} nor a list file of that path "
            f"exists; there are {', '.join(found) or 'no lists'}"
        )

    def open_source(self) -> ImageFiles:
        """Index the image and mask folders.

        Raises:
            FileNotFoundError: If the root or ``JPEGImages`` is missing.
        """
        self._need_root()
        masks: dict[str, str] = {}
        if self.sbd_root is not None:
            masks |= _list_files(self.sbd_root / "cls", ".mat")
        for folder in reversed(_MASK_FOLDERS):
            masks |= _list_files(self.root / folder, ".png")
        images = _list_files(self.root / "JPEGImages", ".jpg")
        if not images:
            raise FileNotFoundError(
                f"{self.root / 'JPEGImages'} has no .jpg files; --data.root must be the folder "
                "VOC2012 with JPEGImages, SegmentationClass and ImageSets"
            )
        return VOCFiles(images, masks, self.index_map)

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Tags from the file or the annotations that ``image_labels`` names; none for ``masks``.

        Raises:
            FileNotFoundError: If a tag file or annotation is missing.
            ValueError: If a tag or an image of the tag file is unknown.
        """
        if self.image_labels == "xml":
            tags = read_voc_xml(self.root / "Annotations", image_ids)
            origin = str(self.root / "Annotations")
        elif self._tag_file is None:
            return {}
        else:
            tags, origin = self._file_tags, str(self._tag_file)
        check_tags(
            tags,
            origin=origin,
            known_classes=VOC_CLASSES[1:],
            is_image=self._files.images.__contains__,
        )
        return {image_id: tags[image_id] for image_id in image_ids if image_id in tags}

    @property
    def _files(self) -> ImageFiles:
        source = self.source
        assert isinstance(source, ImageFiles)
        return source

    @cached_property
    def _tag_file(self) -> Path | None:
        if self.image_labels in ("masks", "xml"):
            return None
        if self.image_labels != "auto":
            return Path(self.image_labels)
        found = (self.root / name for name in _TAG_FILES)
        return next((path for path in found if path.is_file()), None)

    @cached_property
    def _file_tags(self) -> Tags:
        assert self._tag_file is not None
        return read_tag_file(self._tag_file)

    def _need_root(self) -> None:
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"data root {self.root} does not exist; give the folder VOC2012 as --data.root"
            )


class VOCFiles(ImageFiles):
    """VOC's files; masks may also be SBD's ``.mat`` files."""

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """Class index per pixel, (H, W); see `ImageFiles.read_mask`."""
        path = self.masks.get(image_id)
        if path is None or not path.endswith(".mat"):
            return super().read_mask(image_id)
        return self.map_indices(read_sbd_mask(path), path)

    def mask_size(self, image_id: str) -> tuple[int, int]:
        """Height and width of a mask, pixels."""
        path = self.masks[image_id]
        if not path.endswith(".mat"):
            return super().mask_size(image_id)
        height, width = read_sbd_mask(path).shape
        return height, width


def read_sbd_mask(path: str) -> UInt8Array:
    """Class indices of an SBD ``cls/<id>.mat`` file (``GTcls.Segmentation``), (H, W).

    Raises:
        OSError: If the file cannot be read; the message names it.
    """
    try:
        content = scipy.io.loadmat(path, mat_dtype=True)["GTcls"]["Segmentation"][0, 0]
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        raise OSError(f"{path} is no SBD class mask ({error}); unpack SBD again") from error
    return np.asarray(content).astype(np.uint8)


def _list_files(directory: Path, suffix: str) -> dict[str, str]:
    if not directory.is_dir():
        return {}
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries)
    return {n[: -len(suffix)]: str(directory / n) for n in names if n.lower().endswith(suffix)}
