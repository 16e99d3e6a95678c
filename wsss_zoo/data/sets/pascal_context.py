"""PASCAL-Context (Mottaghi et al., CVPR 2014) in its official layout."""

from pathlib import Path
from typing import Any, ClassVar

from wsss_zoo.data.reading.official_masks import OfficialMaskFiles, number_table
from wsss_zoo.data.sets.class_names.pascal_context import (
    PASCAL_CONTEXT_LABELS,
    PASCAL_CONTEXT_LAST_LABEL,
)
from wsss_zoo.data.sets.official import OfficialDataModule, files_in
from wsss_zoo.files.decoding import IGNORE_INDEX

# What lies there in place of the authors' files where the later release was unpacked.
_DETAIL = ("trainval_merged.json", "SegmentationClassContext")


class PascalContext(OfficialDataModule):
    """PASCAL-Context: 59 classes, with or without background; train 4998, val 5105 images.

    The masks are the authors' ``.mat`` files with 459 labels; those that are none of the 59 classes
    are background, or ignored with ``background: false``. Both protocols are in use, as "60" and
    "59 classes". Classes are in the order of the authors' ``59_labels.txt``, so VOC's twenty have
    the indices of VOC 2012. The splits are those of VOC 2010.

    ``trainval_merged.json`` of the later "PASCAL in Detail" is not read, nor PNG files made from it
    with its API (``SegmentationClassContext``): their numbers depend on the converter. Lists made
    from it (4996 and 5104 images) can be given by their path; for the PNG files use `Folder`.

    Args:
        root: The folder ``VOC2010``.
        background: Whether pixels of no class are class 0 (60 classes) or ignored (59).
        context_root: Folder that holds ``trainval`` with the ``.mat`` files; None for ``root``.
        image_labels: See `OfficialDataModule`; the data set's own way are the masks.
        **kwargs: See `BaseDataModule`.
    """

    layout = """expected
  <root>/JPEGImages/<id>.jpg            VOC 2010 (VOCtrainval_03-May-2010.tar unpacks to
  <root>/ImageSets/Main/train.txt       VOCdevkit/VOC2010; that folder is the root)
  <root>/ImageSets/Main/val.txt
  <root>/trainval/<id>.mat              trainval.tar.gz of cs.stanford.edu/~roozbeh/pascal-context
                                        (elsewhere: give its parent as --data.context_root)"""
    split_lists: ClassVar = {"train": "ImageSets/Main/train.txt", "val": "ImageSets/Main/val.txt"}

    def __init__(
        self,
        root: str,
        *,
        background: bool = True,
        context_root: str | None = None,
        image_labels: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image_labels=image_labels, **kwargs)
        self.background = background
        self.context_root = self.root if context_root is None else Path(context_root)

    @property
    def known_classes(self) -> list[str]:
        """The 59 classes, after the background where there is one."""
        return ["background"] * self.background + list(PASCAL_CONTEXT_LABELS)

    def open_source(self) -> OfficialMaskFiles:
        """Index images and label maps."""
        self.need("JPEGImages")
        images = files_in(self.root / "JPEGImages", ".jpg")
        masks = files_in(self.context_root / "trainval", ".mat")
        if not images:
            raise FileNotFoundError(f"{self.root / 'JPEGImages'} has no images; {self.layout}")
        if not masks:
            detail = [name for name in _DETAIL if (self.root / name).exists()]
            instead = f" ({' and '.join(detail)} of PASCAL in Detail is not read)" * bool(detail)
            raise FileNotFoundError(
                f"{self.context_root / 'trainval'} has no .mat files{instead}; {self.layout}"
            )
        numbers = range(PASCAL_CONTEXT_LAST_LABEL + 1)
        indices = dict.fromkeys(numbers, 0 if self.background else IGNORE_INDEX)
        in_use = self.index_map[int(self.background) :]
        indices |= zip(PASCAL_CONTEXT_LABELS.values(), in_use, strict=True)
        table = number_table(indices, len(numbers))
        return OfficialMaskFiles(images, masks, self.index_map, table, "LabelMap")
