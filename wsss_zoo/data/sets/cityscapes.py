"""Cityscapes (Cordts et al., CVPR 2016) in its official layout."""

import re
from pathlib import Path

from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.splits import name_in_path
from wsss_zoo.data.sets.official import OfficialDataModule, files_in, list_folders
from wsss_zoo.files.decoding import IGNORE_INDEX

# The classes of the benchmark in the order of their train ids, by label id.
_LABEL_IDS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip
_CLASSES = list(_LABEL_IDS.values())
_IMAGES, _MASKS = "leftImg8bit", "gtFine"
# A file's name without suffix: of an image, of a mask, or as CPS has renamed them.
_NAME = re.compile(r"(([a-z-]+)_\d{6}_\d{6})(?:_leftImg8bit|_gtFine\w*|_gtCoarse\w*)?")
_IMAGE_END, _MASK_END = "_leftImg8bit.png", "_gtFine_labelIds.png"


class Cityscapes(OfficialDataModule):
    """Cityscapes: 19 classes, no background; train 2975, val 500 images of 2048 x 1024 pixels.

    The masks are the files ``*_gtFine_labelIds.png``; label ids become train ids, the others are
    ignored. An image's id is ``<city>/<city>_<sequence>_<frame>``. ``test`` and ``train_extra``
    (``leftImg8bit_trainextra``) are splits without masks, to predict or as ``unlabeled_split``. The
    images are large: evaluate with sliding windows (``--evaluation.window 769``).

    Args:
        root: The folder that holds ``leftImg8bit`` and ``gtFine``.
        image_labels: See `OfficialDataModule`; the data set's own way are the masks.
        **kwargs: See `BaseDataModule`.
    """

    background = False
    known_classes = _CLASSES
    layout = """expected (leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of
www.cityscapes-dataset.com, which asks for an account, unpack so)
  <root>/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
  <root>/leftImg8bit/val/...
  <root>/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png
  <root>/gtFine/val/..."""

    def official_splits(self) -> list[str]:
        """List the folders of ``leftImg8bit``."""
        return list_folders(self.root / _IMAGES)

    def list_split(self, split: str) -> list[str]:
        """List the ids of the images of all cities in the split's folder."""
        return list(self._files_below(_IMAGES, split, _IMAGE_END))

    def find_id(self, name: str) -> str | None:
        """Find the id of the image that a list names by id or by the path of any of its files."""
        found = _NAME.fullmatch(name_in_path(name) or "")
        return f"{found[2]}/{found[1]}" if found else None

    def open_source(self) -> ImageFiles:
        """Index images and masks of all splits."""
        self.need(_IMAGES, _MASKS)
        images: dict[str, str] = {}
        masks: dict[str, str] = {}
        for split in self.official_splits():
            images |= self._files_below(_IMAGES, split, _IMAGE_END)
            # Its label maps are placeholders: only the bonnet and the border are drawn.
            if split != "test":
                masks |= self._files_below(_MASKS, split, _MASK_END)
        if not images:
            raise FileNotFoundError(f"{self.root / _IMAGES} has no images; {self.layout}")
        indices = dict(zip(_LABEL_IDS, self.index_map, strict=True))
        table = [indices.get(label, IGNORE_INDEX) for label in range(max(_LABEL_IDS) + 1)]
        return ImageFiles(images, masks, table)

    def mask_path(self, image_id: str) -> str:
        """See `OfficialDataModule.mask_path`."""
        image = Path(self.files.images[image_id])
        return f"{_MASKS}/{image.parts[-3]}/{image_id}{_MASK_END}"

    def missing_hint(self, image_id: str) -> str:
        """See `Catalog.missing_hint`; label files of another kind are named."""
        path = self.root / self.mask_path(image_id)
        others = sorted(path.parent.glob(f"{Path(image_id).name}_gt*_label*.png"))
        hint = f"; {others[0].name}, which is there, cannot stand for it" if others else ""
        return hint + super().missing_hint(image_id)

    def _files_below(self, kind: str, split: str, end: str) -> dict[str, str]:
        folder = self.root / kind / split
        return {
            f"{city}/{name}": path
            for city in list_folders(folder)
            for name, path in files_in(folder / city, end.lower()).items()
        }
