"""COCO-Stuff 10K (Caesar et al., CVPR 2018) in its official layout."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.reading.official_masks import OfficialMaskFiles, number_table, variable_shapes
from wsss_zoo.data.sets.class_names.coco import COCO_STUFF_LABELS, COCO_STUFF_LAST_LABEL
from wsss_zoo.data.sets.class_names.novel_splits import COCO_STUFF_NOVEL_SPLITS
from wsss_zoo.data.sets.coco_annotations import find_numbered
from wsss_zoo.data.sets.official import OfficialDataModule, files_in
from wsss_zoo.files.decoding import IGNORE_INDEX

_CLASSES = list(COCO_STUFF_LABELS.values())  # in the order of their official numbers
# The official lists are train.txt and test.txt; papers validate on the latter.
_LISTS = {"train": "train.txt", "val": "test.txt", "test": "test.txt", "all": "all.txt"}
# Release 1.0 numbers its 172 names from 1 without gaps, release 1.1 as COCO does.
_NAMES_OF_RELEASE_1_0 = 172


class COCOStuff10K(OfficialDataModule):
    """COCO-Stuff 10K: 171 classes (80 things, 91 stuff), no background; train 9000, test 1000.

    Masks are the matrix ``S`` of ``annotations/<id>.mat`` (0 unlabelled, 1..182 COCO's numbers, of
    which 11 are not used), or PNG files of the same names where there are no ``.mat`` files.
    Unlabelled pixels are ignored. Classes are in the order of their numbers, as in SimFormer's
    code. ``val`` is the official ``test``.

    Args:
        root: The folder with ``images``, ``annotations`` and ``imageLists``.
        png_values: What PNG masks hold: ``stuffthingmaps`` (the number less one, 0..181) or
            ``contiguous`` (the class index, 0..170); both with 255 for unlabelled pixels.
        image_labels: See `OfficialDataModule`; the data set's own way are the masks.
        **kwargs: See `BaseDataModule`.
    """

    background = False
    known_classes = _CLASSES
    novel_splits = COCO_STUFF_NOVEL_SPLITS
    layout = """expected (cocostuff-10k-v1.1.zip of github.com/nightrome/cocostuff10k unpacks so)
  <root>/images/COCO_train2014_000000000077.jpg
  <root>/annotations/COCO_train2014_000000000077.mat
  <root>/imageLists/train.txt
  <root>/imageLists/test.txt"""
    split_lists: ClassVar = {split: f"imageLists/{name}" for split, name in _LISTS.items()}

    def __init__(
        self,
        root: str,
        *,
        png_values: Literal["stuffthingmaps", "contiguous"] = "stuffthingmaps",
        image_labels: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image_labels=image_labels, **kwargs)
        self.png_values = png_values

    def find_id(self, name: str) -> str | None:
        """Find the id of the image that a list names; lists of COCO 2017 have its number alone."""
        return find_numbered(name, lambda: self.files.images)

    def open_source(self) -> OfficialMaskFiles:
        """Index images and label maps; ValueError if these are of release 1.0."""
        self.need("images", "annotations")
        images = files_in(self.root / "images", ".jpg")
        matrices = files_in(self.root / "annotations", ".mat")
        masks = matrices or files_in(self.root / "annotations", ".png")
        for folder, found in (("images", images), ("annotations", masks)):
            if not found:
                raise FileNotFoundError(f"{self.root / folder} is empty; {self.layout}")
        if matrices:
            _refuse_release_1_0(next(iter(matrices.values())))
        return OfficialMaskFiles(images, masks, self.index_map, self._table(png=not matrices), "S")

    def _table(self, *, png: bool) -> NDArray[np.int16]:
        if png and self.png_values == "contiguous":
            indices = dict(enumerate(self.index_map))
        else:
            numbers = (number - png for number in COCO_STUFF_LABELS)
            indices = dict(zip(numbers, self.index_map, strict=True))
        indices[IGNORE_INDEX if png else 0] = IGNORE_INDEX
        return number_table(indices, (IGNORE_INDEX if png else COCO_STUFF_LAST_LABEL) + 1)


def _refuse_release_1_0(path: str) -> None:
    if math.prod(variable_shapes(path).get("names", ())) == _NAMES_OF_RELEASE_1_0:
        raise ValueError(
            f"{path} is of COCO-Stuff's release 1.0, which numbers the classes differently; take "
            "cocostuff-10k-v1.1.zip"
        )
