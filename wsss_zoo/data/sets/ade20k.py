"""ADE20K's scene parsing benchmark (Zhou et al., CVPR 2017) in its official layout."""

from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.sets.class_names.ade20k import ADE20K_CLASSES
from wsss_zoo.data.sets.class_names.novel_splits import ADE20K_NOVEL_SPLITS
from wsss_zoo.data.sets.official import OfficialDataModule, files_in
from wsss_zoo.files.decoding import IGNORE_INDEX

_FOLDERS = {"train": "training", "val": "validation", "test": "testing"}


class ADE20K(OfficialDataModule):
    """ADE20K scene parsing: 150 classes, no background; train 20210, val 2000 images.

    Value 0 of the masks, "other objects", is ignored as in the official evaluation; value v is
    class v - 1.

    Args:
        root: The folder ``ADEChallengeData2016``.
        image_labels: See `OfficialDataModule`; the data set's own way are the masks.
        **kwargs: See `BaseDataModule`.
    """

    background = False
    known_classes = ADE20K_CLASSES
    novel_splits = ADE20K_NOVEL_SPLITS
    layout = """expected (ADEChallengeData2016.zip of sceneparsing.csail.mit.edu unpacks so)
  <root>/images/training/ADE_train_00000001.jpg
  <root>/images/validation/ADE_val_00000001.jpg
  <root>/annotations/training/ADE_train_00000001.png
  <root>/annotations/validation/ADE_val_00000001.png"""

    def official_splits(self) -> list[str]:
        """List ``train``, ``val`` and, where its images were added, ``test``."""
        images = self.root / "images"
        return [split for split, folder in _FOLDERS.items() if (images / folder).is_dir()]

    def list_split(self, split: str) -> list[str]:
        """List the names of the images in the split's folder."""
        return list(files_in(self.root / "images" / _FOLDERS[split], ".jpg"))

    def open_source(self) -> ImageFiles:
        """Index images and masks of all splits."""
        self.need("images", "annotations")
        images: dict[str, str] = {}
        masks: dict[str, str] = {}
        for folder in _FOLDERS.values():
            images |= files_in(self.root / "images" / folder, ".jpg")
            masks |= files_in(self.root / "annotations" / folder, ".png")
        if not images:
            raise FileNotFoundError(f"{self.root / 'images'} has no images; {self.layout}")
        return ImageFiles(images, masks, [IGNORE_INDEX, *self.index_map])
