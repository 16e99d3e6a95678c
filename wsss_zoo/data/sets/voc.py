"""PASCAL VOC 2012 in its official layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.official_masks import load_matlab
from wsss_zoo.data.reading.tag_files import Tags, read_voc_xml
from wsss_zoo.data.sets.official import OfficialDataModule, files_in
from wsss_zoo.files.decoding import UInt8Array, read_index_mask

VOC_CLASSES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]  # fmt: skip

_LISTS = "ImageSets/Segmentation"
# SBD's extra masks under the names that the field has given their PNG form, in order of preference.
_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug")


class VOC2012(OfficialDataModule):
    """PASCAL VOC 2012: 20 classes and background; train 1464, train_aug 10582, val 1449 images.

    ``train_aug`` takes further masks from SBD (Hariharan et al., ICCV 2011): SBD's own ``.mat``
    files (``sbd_root``), or PNG files in ``SegmentationClassAug``. Those of ``SegmentationClass``
    take precedence. Its list is ``train_aug.txt``, or without that file what it was made from:
    VOC's ``train`` and both lists of SBD, less VOC's ``val``.

    Args:
        root: The folder ``VOC2012``.
        image_labels: See `OfficialDataModule`; ``xml``: from ``Annotations/<id>.xml``. The data
            set's own way are the masks.
        sbd_root: SBD's folder ``dataset``, which holds ``cls/<id>.mat``.
        **kwargs: See `BaseDataModule`.
    """

    known_classes = VOC_CLASSES
    layout = """expected (VOCtrainval_11-May-2012.tar of host.robots.ox.ac.uk/pascal/VOC unpacks to
VOCdevkit/VOC2012; that folder is the root)
  <root>/JPEGImages/2007_000032.jpg
  <root>/SegmentationClass/2007_000032.png
  <root>/ImageSets/Segmentation/train.txt
  <root>/ImageSets/Segmentation/val.txt
and for train_aug (SBD's benchmark.tgz unpacks to benchmark_RELEASE/dataset; that folder is
--data.sbd_root)
  <sbd_root>/cls/2008_000002.mat         or <root>/SegmentationClassAug/2008_000002.png
  <sbd_root>/train.txt, val.txt          or <root>/ImageSets/Segmentation/train_aug.txt"""

    def __init__(
        self, root: str, *, image_labels: str = "auto", sbd_root: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(root, image_labels=image_labels, **kwargs)
        self.sbd_root = None if sbd_root is None else Path(sbd_root)

    def official_splits(self) -> list[str]:
        """List what ``ImageSets/Segmentation`` has, and ``train_aug`` where SBD's lists are."""
        lists = {path.stem for path in (self.root / _LISTS).glob("*.txt")}
        return sorted(lists | {"train_aug"} if self._sbd_lists else lists)

    def list_split(self, split: str) -> list[str]:
        """Read ``ImageSets/Segmentation/<split>.txt``, or what ``train_aug`` is made from."""
        path = self.root / _LISTS / f"{split}.txt"
        if split != "train_aug" or path.is_file():
            return self.read_list(path)
        held_out = set(self.ids_of("val"))
        lists = [self.ids_of("train"), *map(self.read_list, self._sbd_lists)]
        return list(dict.fromkeys(i for ids in lists for i in ids if i not in held_out))

    def open_source(self) -> ImageFiles:
        """Index the image and mask folders."""
        self.need("JPEGImages")
        masks: dict[str, str] = {}
        if self.sbd_root is not None:
            masks |= files_in(self.sbd_root / "cls", ".mat")
        for folder in reversed(_MASK_FOLDERS):
            masks |= files_in(self.root / folder, ".png")
        images = files_in(self.root / "JPEGImages", ".jpg")
        if not images:
            raise FileNotFoundError(f"{self.root / 'JPEGImages'} has no .jpg files; {self.layout}")
        return VOCFiles(images, masks, self.index_map)

    def mask_path(self, image_id: str) -> str:
        """See `OfficialDataModule.mask_path`."""
        return f"{_MASK_FOLDERS[0]}/{image_id}.png"

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """See `OfficialDataModule.read_tags`; ``xml`` needs an annotation of each image."""
        if self.image_labels != "xml":
            return super().read_tags(image_ids)
        folder = self.root / "Annotations"
        return self.check_tags(read_voc_xml(folder, image_ids), folder)

    @property
    def _sbd_lists(self) -> list[Path]:
        """Both lists of SBD; none if one is missing."""
        lists = [self.sbd_root / name for name in ("train.txt", "val.txt")] if self.sbd_root else []
        return lists if all(path.is_file() for path in lists) else []


class VOCFiles(ImageFiles):
    """VOC's files; masks may also be SBD's ``.mat`` files."""

    def read_values(self, path: str) -> UInt8Array:
        """Read the class indices in a mask file, (H, W)."""
        return _read_sbd_mask(path) if path.endswith(".mat") else read_index_mask(path)

    def mask_size(self, image_id: str) -> tuple[int, int]:
        """Read height and width of a mask, pixels."""
        path = self.masks[image_id]
        if not path.endswith(".mat"):
            return super().mask_size(image_id)
        height, width = _read_sbd_mask(path).shape
        return height, width


def _read_sbd_mask(path: str) -> UInt8Array:
    """Class indices of an SBD ``cls/<id>.mat`` file (``GTcls.Segmentation``), (H, W)."""

    def load() -> UInt8Array:
        content = scipy.io.loadmat(path, mat_dtype=True)["GTcls"]["Segmentation"][0, 0]
        return np.asarray(content).astype(np.uint8)

    return load_matlab(path, load)
