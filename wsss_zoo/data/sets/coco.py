"""COCO 2014 (Lin et al., ECCV 2014) as weakly supervised segmentation uses it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsss_zoo.data.reading.image_files import Checks, ImageFiles
from wsss_zoo.data.reading.tag_files import Tags
from wsss_zoo.data.sets.class_names.coco import COCO_THINGS
from wsss_zoo.data.sets.coco_annotations import (
    CocoImage,
    find_numbered,
    read_annotations,
    read_tags,
    write_tags,
)
from wsss_zoo.data.sets.coco_masks import build_masks, finished_masks
from wsss_zoo.data.sets.official import OfficialDataModule, files_in
from wsss_zoo.files.manifests import sha256_file

_CLASSES = ["background", *COCO_THINGS]  # in the order of their official numbers
_PARTS = {"train": "train2014", "val": "val2014"}


class COCO(OfficialDataModule):
    """COCO 2014: 80 classes and background; train 82081, val 40137 images with objects.

    An image's id is its file name without ``.jpg``. Tags are those of the annotated objects, crowds
    included. Masks are rasterised from the instance annotations once, before the first stage that
    reads them, into ``cache_dir`` (about 4 kB an image). Smaller objects lie on top of larger ones.
    Rasterising needs the extra ``coco``; training on tags does not.

    Args:
        root: The folder with ``train2014``, ``val2014`` and ``annotations``.
        cache_dir: Folder for masks and tags; None for ``<root>/wsss_zoo_cache``.
        empty_images: Keep images without objects in the splits (82783 and 40504 images).
        crowd_as_class: Give the pixels of crowds their class; else they are ignored, since their
            outlines are coarse.
        image_labels: See `OfficialDataModule`; the data set's own way are the annotations.
        **kwargs: See `BaseDataModule`; ``num_workers`` processes rasterise.
    """

    known_classes = _CLASSES
    layout = """expected (train2014.zip, val2014.zip and annotations_trainval2014.zip of
cocodataset.org/#download unpack so)
  <root>/train2014/COCO_train2014_000000000009.jpg
  <root>/val2014/COCO_val2014_000000000042.jpg
  <root>/annotations/instances_train2014.json
  <root>/annotations/instances_val2014.json"""

    def __init__(
        self,
        root: str,
        *,
        cache_dir: str | None = None,
        empty_images: bool = False,
        crowd_as_class: bool = False,
        image_labels: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image_labels=image_labels, **kwargs)
        self.cache_dir = self.root / "wsss_zoo_cache" if cache_dir is None else Path(cache_dir)
        self.empty_images, self.crowd_as_class = empty_images, crowd_as_class
        self._digests: dict[str, str] = {}
        self._tags_by_part: dict[str, Tags] = {}

    def prepare_data(self) -> None:
        """Rasterise the masks that the stage will read and that are not there yet."""
        state = self.trainer.state.fn if self.trainer else None
        self._rasterise_masks("fit" if state is None else state.value)

    def setup(self, stage: str) -> None:
        """See `BaseDataModule.setup`; rasterises masks if `prepare_data` was not called."""
        self._rasterise_masks(stage)
        super().setup(stage)

    def official_splits(self) -> list[str]:
        """List ``train`` and ``val``, if they have an annotation file."""
        return [split for split, part in _PARTS.items() if self._annotations(part).is_file()]

    def list_split(self, split: str) -> list[str]:
        """List the images in the split's annotation file that have objects."""
        tags = self._tags_of(_PARTS[split])
        return [image_id for image_id, names in tags.items() if names or self.empty_images]

    def find_id(self, name: str) -> str | None:
        """Find the id of the image that a list names; lists of COCO 2017 have its number alone."""
        return find_numbered(name, lambda: self.files.images)

    def open_source(self) -> ImageFiles:
        """Index the images, and the masks that are there already."""
        self.need()
        images: dict[str, str] = {}
        masks: dict[str, str] = {}
        for part in _PARTS.values():
            images |= files_in(self.root / part, ".jpg")
            if self._annotations(part).is_file() and self._has_masks(part):
                folder = self._masks(part)
                masks |= {i: str(folder / f"{i}.png") for i in self._tags_of(part)}
        if not images:
            raise FileNotFoundError(
                f"{self.root} has no images in {' or '.join(_PARTS.values())}; {self.layout}"
            )
        return ImageFiles(images, masks, self.index_map)

    def own_tags(self, image_ids: Sequence[str]) -> Tags:
        """Find the classes of the annotated objects of each image."""
        tags: Tags = {}
        for image_id in image_ids:
            part = _part_of(image_id)
            known = self._tags_of(part)
            if image_id not in known:
                raise ValueError(f"{image_id!r} is no image of {self._annotations(part)}")
            tags[image_id] = known[image_id]
        return tags

    def check_images(self, image_ids: Sequence[str], *, masks: bool) -> None:
        """See `Catalog.check_images`; the values of masks made here need no look."""
        with self.naming_archives(image_ids, masks=masks):
            self.source.check(image_ids, Checks(masks, False, self.check_files))

    def _rasterise_masks(self, stage: str) -> None:
        for part in sorted(self._parts_with_masks(stage)):
            if self._has_masks(part):
                continue
            images, digest = self._read(part), self._digest(part)
            folder, as_class = self._masks(part), self.crowd_as_class
            with self._writing():
                build_masks(folder, images, digest, as_class, self.num_workers)
            self.__dict__.pop("source", None)  # opened before, it does not know the new masks

    def _parts_with_masks(self, stage: str) -> set[str]:
        if self.supervision == "images":
            return set()
        splits: dict[str, list[str | None]] = {
            "fit": [*self._training_splits(), self.val_split],
            "validate": [self.val_split],
            "test": [self.own_test_split() or self.val_split],
            "predict": [self.predict_split],
        }
        parts: set[str] = set()
        for split in splits[stage]:
            if split in _PARTS:
                parts.add(_PARTS[split])
            elif split is not None:
                parts |= {_part_of(image_id) for image_id in self.ids_of(split)}
        return parts

    def _training_splits(self) -> list[str]:
        """Splits of which training reads true masks."""
        splits = [self.train_split] if self.image_labels == "masks" else []
        if self.supervision in ("image_labels", "pairs", "graphs"):
            return splits
        if isinstance(self.labeled_split, str):
            splits.append(self.labeled_split)
        elif self.labeled_split is not None or self.pseudo_label_dir is None:
            splits.append(self.train_split)
        if self.audit:
            splits.append(self.unlabeled_split or self.train_split)
        return splits

    def _tags_of(self, part: str) -> Tags:
        """Classes of each image's objects, in the order of the annotation file."""
        if part not in self._tags_by_part:
            stored = read_tags(self.cache_dir / f"tags_{part}.json", self._digest(part))
            if stored is None:
                self._read(part)
            else:
                self._tags_by_part[part] = stored
        return self._tags_by_part[part]

    def _read(self, part: str) -> dict[str, CocoImage]:
        images = read_annotations(self._annotations(part))
        tags = {image_id: image.tags for image_id, image in images.items()}
        with self._writing():
            write_tags(self.cache_dir / f"tags_{part}.json", tags, self._digest(part))
        self._tags_by_part[part] = tags
        return images

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                f"{self.cache_dir} cannot be written ({error}); give a folder with space for "
                "masks as --data.cache_dir"
            ) from error

    def _has_masks(self, part: str) -> bool:
        found = finished_masks(self._masks(part), self._digest(part), self.crowd_as_class)
        return bool(found) and found.issuperset(self._tags_of(part))

    def _digest(self, part: str) -> str:
        if part not in self._digests:
            self.need(f"annotations/{self._annotations(part).name}")
            self._digests[part] = sha256_file(self._annotations(part))
        return self._digests[part]

    def _annotations(self, part: str) -> Path:
        return self.root / "annotations" / f"instances_{part}.json"

    def _masks(self, part: str) -> Path:
        return self.cache_dir / f"masks_{part}"


def _part_of(image_id: str) -> str:
    for part in _PARTS.values():
        if image_id.startswith(f"COCO_{part}_"):
            return part
    raise ValueError(
        f"{image_id!r} is no image of COCO 2014; its ids are like COCO_train2014_000000000009"
    )
