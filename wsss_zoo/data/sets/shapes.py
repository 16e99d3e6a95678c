"""Generated images: a data set without files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.image_files import Checks, ImageSource
from wsss_zoo.data.reading.simulated_labels import Simulation, SparseKind
from wsss_zoo.data.reading.sparse_files import SparseLabel, SparseSource, open_sparse_files
from wsss_zoo.data.reading.tag_files import Tags, tags_from_masks
from wsss_zoo.data.sets.shapes_scenes import SHAPES_CLASSES, ShapesScene, shapes_scene
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.text import Report, raise_problem

# Scenes of a split are numbered from here, so that splits never share a scene whatever their sizes.
_FIRST_SCENE = {"train": 0, "val": 10_000_000, "test": 20_000_000}


class Shapes(BaseDataModule):
    """Objects on textured clutter, drawn on the fly: 6 classes and background, no files.

    Each object has a part of its own class and a larger part that several classes share, so that a
    class activation map finds too little of it, as it does on photographs. Splits are ``train``,
    ``val`` and ``test``; tags are those of the masks, which supervision ``sparse`` does not see.

    Args:
        num_train: Images of ``train``.
        num_val: Images of ``val`` and of ``test``.
        image_size: Side of the square images, pixels.
        scene_seed: Seed of the scenes; independent of the seed of training.
        sparse: Sparse labels of the training images without a ``sparse_dir``, see
            ``wsss-zoo simulate``.
        **kwargs: See `BaseDataModule`.
    """

    known_classes = SHAPES_CLASSES
    tags_show_masks = True
    #: Fraction of ``train`` that the command line calls labelled where the user names none.
    semi_share = 0.125

    def __init__(
        self,
        *,
        num_train: int = 400,
        num_val: int = 100,
        image_size: int = 128,
        scene_seed: int = 0,
        sparse: SparseKind = "scribbles",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sizes = {"train": num_train, "val": num_val, "test": num_val}
        self.image_size, self.scene_seed = image_size, scene_seed
        self.sparse: SparseKind = sparse

    def split_ids(self, split: str) -> list[str]:
        """List the ids ``<split>_<number>``, or those of a list file given by its path."""
        if Path(split).is_file():
            return self.read_list(Path(split))
        if split not in self.sizes:
            raise ValueError(f"Shapes has the splits {', '.join(self.sizes)}, but not {split!r}")
        return [f"{split}_{number:06d}" for number in range(self.sizes[split])]

    def own_test_split(self) -> str | None:
        """See `BaseDataModule.own_test_split`; its own is ``test``."""
        return self.test_split or "test"

    def open_source(self) -> ImageSource:
        """Make a source that draws scenes when they are read."""
        return ShapesSource(self.scene_seed, self.image_size, tuple(self.index_map))

    def open_sparse_labels(self, report: Report = raise_problem) -> SparseSource:
        """Simulate sparse labels, or read those of ``sparse_dir``."""
        source = ShapesSource(self.scene_seed, self.image_size, tuple(self.index_map))
        if self.sparse_dir is None:
            return ShapesLabels(source, self.sparse)
        return open_sparse_files(
            Path(self.sparse_dir),
            images={image_id: image_id for split in self.sizes for image_id in self.ids_of(split)},
            known_classes=self.known_classes,
            class_names=self.class_names,
            report=report,
        )

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Find the classes visible in each image."""
        return tags_from_masks(self.source, image_ids, self.fg_names, 1)


@dataclass(frozen=True)
class ShapesSource:
    """Draws scenes of a side of ``size`` pixels by id; for ``index_map`` see `ImageFiles`."""

    seed: int
    size: int
    index_map: tuple[int, ...]

    def read_image(self, image_id: str) -> UInt8Array:
        """Draw an RGB image, (size, size, 3)."""
        return _scene(self.seed, _scene_number(image_id), self.size).image.copy()

    def read_mask(self, image_id: str) -> UInt8Array:
        """Draw a mask: class index per pixel, (size, size), 255 = ignored."""
        mask = _scene(self.seed, _scene_number(image_id), self.size).mask
        return np.asarray(self.index_map, dtype=np.uint8)[mask]

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Return height and width, pixels."""
        return self.size, self.size

    def check(self, image_ids: Sequence[str], checks: Checks) -> None:
        """Raise ValueError for an id that is not ``<split>_<number>``."""
        for image_id in image_ids:
            _scene_number(image_id)


@dataclass(frozen=True)
class ShapesLabels:
    """Simulates sparse labels of a kind for scenes, all of them."""

    source: ShapesSource
    kind: SparseKind

    def __contains__(self, image_id: object) -> bool:
        """Every scene has labels."""
        return True

    def read(
        self, image_id: str, size: tuple[int, int], report: Report = raise_problem
    ) -> SparseLabel:
        """Simulate the label of a scene."""
        return (_kept_small_label if self.source.size <= 128 else _label)(self, image_id)


def _label(labels: ShapesLabels, image_id: str) -> SparseLabel:
    source = labels.source
    return Simulation(labels.kind, source.seed).label(source.read_mask(image_id), image_id)


_kept_small_label = lru_cache(maxsize=1024)(_label)


# Drawing a scene takes milliseconds. Image and mask share one; epochs share small ones (64 MiB).
_kept_small = lru_cache(maxsize=1024)(shapes_scene)
_kept = lru_cache(maxsize=4)(shapes_scene)


def _scene(seed: int, number: int, size: int) -> ShapesScene:
    return (_kept_small if size <= 128 else _kept)(seed, number, size)


def _scene_number(image_id: str) -> int:
    split, _, number = image_id.partition("_")
    if split not in _FIRST_SCENE or not number.isdigit():
        raise ValueError(f"{image_id!r} is no image of Shapes; its ids are like train_000012")
    return _FIRST_SCENE[split] + int(number)
