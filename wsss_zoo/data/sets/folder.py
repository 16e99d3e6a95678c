"""The user's own images in a folder."""

import logging
import zlib
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.class_files import (
    ClassFile,
    check_background,
    find_class_file,
    is_background_name,
    read_class_file,
)
from wsss_zoo.data.reading.color_masks import ColorMaskFiles, ColorTable
from wsss_zoo.data.reading.image_files import BinaryMaskFiles, ImageFiles
from wsss_zoo.data.reading.shape_files import SHAPE_FILES
from wsss_zoo.data.reading.sparse_files import SparseSource, open_sparse_files
from wsss_zoo.data.reading.splits import find_by_end, read_split
from wsss_zoo.data.reading.tag_files import TAG_FILES, Tags, read_tag_file
from wsss_zoo.files.decoding import heif_hint, readable_suffixes
from wsss_zoo.files.images.pixels import PixelOptions, make_pixel_options
from wsss_zoo.files.listing import Listing, find_one, ids_by_name, list_files
from wsss_zoo.files.text import Report, raise_problem

logger = logging.getLogger(__name__)

_LAYOUT = """expected
  <root>/classes.txt        class names, one a line, in the order of the mask values, background
                            first; 'cat 128 0 0' where masks have colours (or classes.json)
  <root>/images/<id>.jpg    images of any format
  <root>/masks/<id>.png     masks of some or all images: class index per pixel, 255 = ignored, or
                            the colours of classes.txt
  <root>/image_labels.csv   optional tags: a header, then lines 'id,class;class' (or .json)
  <root>/sparse/<id>.png    optional masks of which only some pixels are drawn, the rest 255; see
                            also shapes.json, boxes.csv, points.csv
  <root>/splits/train.txt   optional lists of ids, one a line (train, val, test, any name)"""
#: What to do if the first class of a list is no background.
BACKGROUND_REMEDY = (
    "if it is a class like the others, write 'background' before it where masks hold 0 for the "
    "background, else give --data.background false"
)
_DEFAULT_SPLITS = ("train", "val", "all", "tagged", "masked", "sparse", "extra")


class Folder(BaseDataModule):
    """Your own images: ``images/``, some ``masks/``, some ``image_labels.csv``, ``classes.txt``.

    Sparse labels are read where supervision is ``sparse``: masks ``sparse/<id>.png`` in which 255
    is unknown, strokes, points, polygons and boxes of ``shapes.json``, ``boxes.csv`` and
    ``points.csv``. They count before the mask of the same image, unless ``labeled_split`` names it.

    An image's id is its path below ``images/`` without the suffix; tag files and lists may give it
    with the suffix. Images with neither mask nor tags are unlabelled. Masks hold class indices, 255
    = ignored. Where ``classes.txt`` or ``classes.json`` has colours, masks hold these instead.

    ``splits/<name>.txt`` lists the images of a split. Without the file:

    - ``train``: the images on no other list.
    - ``val``: images with masks that are on no list. All of them where there is a ``train.txt``,
      else the share ``val_fraction``, chosen by the ids: an added image changes it by one at most.
    - ``all``; of ``train`` the ``tagged`` (a mask gives tags too), the ``masked``, and the
      ``sparse`` ones, with a mask or sparse labels; and ``extra``, images of neither ``train``,
      ``val`` nor ``test``.

    ``test`` is only there with a ``test.txt``. A training image without a mask is unlabelled: a
    method that learns from masks alone leaves it out, and their number is logged. The same holds
    for tags, but images that ``train.txt`` lists must have them.

    Args:
        root: The folder.
        background: Whether the first line of ``classes.txt`` is a background class.
        value_range: Values of black and white in images of more than 8 bits, as ``[0, 4095]`` for
            12 bits in 16; else those of ``classes.json``. Checkpoints keep it. None reads 16 bits
            that are used in full, and refuses what has no defined white.
        bands: Numbers, from 1, of the three bands to show as red, green and blue, as ``[1, 2, 3]``
            where a fourth is near infrared; else those of ``classes.json``. Checkpoints keep them.
        val_fraction: Share of the images with masks to hold out without ``val.txt``, ``train.txt``;
            one at least, if there are two.
        binary_masks: Read 255 in ``masks/`` as class 1: black and white masks of two classes, in
            which no pixel is ignored.
        outside_links: Whether symbolic links may lead out of the root.
        **kwargs: See `BaseDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        background: bool = True,
        value_range: list[float] | None = None,
        bands: list[int] | None = None,
        val_fraction: float = 0.2,
        binary_masks: bool = False,
        outside_links: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be in [0, 1), but got {val_fraction}")
        self.root = Path(root)
        self.background = background
        self._given_pixels = make_pixel_options(value_range, bands)
        self.val_fraction = val_fraction
        self.binary_masks = binary_masks
        self.outside_links = outside_links
        # The inspection collects problems where training is refused.
        self.report: Report = raise_problem

    def setup(self, stage: str) -> None:
        """See `BaseDataModule.setup`; without any mask there is no validation."""
        if self.val_split == "val" and stage == "fit" and not self.ids_of("val"):
            logger.warning("%s: no images are held out, there will be no validation", self.root)
            self.val_split = None
        super().setup(stage)

    @property
    def known_classes(self) -> list[str]:
        """Names in ``classes.txt`` or ``classes.json``."""
        return self._class_file.names

    @property
    def stated_pixels(self) -> PixelOptions:
        """See `BaseDataModule.stated_pixels`: options, else ``classes.json``."""
        given, listed = self._given_pixels, self._class_file.pixels
        return PixelOptions(given.value_range or listed.value_range, given.bands or listed.bands)

    def split_ids(self, split: str) -> list[str]:
        """List the ids of ``splits/<split>.txt``, of a list file, or of a default split."""
        for path in (self._list(split), Path(split)):
            if path.is_file():
                return self.read_list(path)
        files = self.files
        if split == "all":
            return list(files.images)
        if split == "tagged":
            return [i for i in self.ids_of("train") if i in self._file_tags or i in files.masks]
        if split == "masked":
            return [i for i in self.ids_of("train") if i in files.masks]
        if split == "sparse":
            labels = self.sparse_labels
            return [i for i in self.ids_of("train") if i in labels or i in files.masks]
        if split not in ("train", "val", "extra"):
            own = sorted(path.stem for path in (self.root / "splits").glob("*.txt"))
            raise FileNotFoundError(
                f"split {split!r}: neither {self._list(split)} nor a list file of that path "
                f"exists; there are {', '.join(dict.fromkeys([*own, *_DEFAULT_SPLITS]))}"
            )
        lists = [name for name in ("train", "val", "test") if self._list(name).is_file()]
        listed = {image_id for name in lists for image_id in self.ids_of(name)}
        free = [image_id for image_id in files.images if image_id not in listed]
        val = set[str]() if "val" in lists else {i for i in free if i in files.masks}
        if not {"train", "val"} & set(lists):
            val = _hold_out(val, self.val_fraction)
        if split == "extra" and "train" not in lists:
            return []
        return [image_id for image_id in free if (image_id in val) == (split == "val")]

    def open_source(self) -> ImageFiles:
        """Index the image and mask folders, and report masks without an image."""
        colors = self._class_file.colors
        images, masks = (self._listings[name].files for name in ("images", "masks"))
        for name, listing in self._listings.items():
            if listing.others:
                first = ", ".join(Path(path).name for path in listing.others[:3])
                text = "%d files in %s are left out, as they are no images that can be read"
                first += heif_hint(listing.others)
                logger.warning(f"{text}, first: %s", len(listing.others), self.root / name, first)
        if not images:
            others = self._listings["images"].others
            hint = f" that can be read{heif_hint(others)}" if others else ""
            raise FileNotFoundError(f"{self.root / 'images'} has no images{hint}; {_LAYOUT}")
        other_case = {image_id.casefold(): image_id for image_id in images}
        for image_id in [image_id for image_id in masks if image_id not in images]:
            close = other_case.get(image_id.casefold())
            hint = f" ({close!r} has other capitals)" if close else ""
            self.report(
                f"mask {masks[image_id]} has no image of the same name in {self.root / 'images'}"
                f"{hint}; rename or remove it"
            )
        masks = {image_id: path for image_id, path in masks.items() if image_id in images}
        if self.binary_masks:
            self._check_binary()
            return BinaryMaskFiles(images, masks, self.index_map)
        if colors:
            return ColorMaskFiles(images, masks, self.index_map, table=ColorTable(colors))
        return ImageFiles(images, masks, self.index_map)

    def open_sparse_labels(self, report: Report | None = None) -> SparseSource:
        """Find the sparse labels of ``sparse_dir``, else those of the root."""
        report = report or self.report
        is_own = self.sparse_dir is None
        return open_sparse_files(
            Path(self.sparse_dir or self.root),
            images=self.files.images,
            known_classes=self.known_classes,
            class_names=self.class_names,
            colors=self._class_file.colors,
            root=self.root if is_own and not self.outside_links else None,
            report=report,
        )

    def mask_labeled_ids(self) -> list[str]:
        """List the images whose masks ``sparse`` may open.

        Without ``labeled_split`` those of the training images that have no sparse labels; none
        beside a ``sparse_dir``.
        """
        if self.labeled_split is not None or self.sparse_dir is not None:
            return super().mask_labeled_ids()
        masks, sparse = self.files.masks, self.sparse_labels
        return [i for i in self.train_ids() if i in masks and i not in sparse]

    def read_tags(self, image_ids: Sequence[str]) -> Tags:
        """Read tags from ``image_labels.csv`` or ``image_labels.json``, if there is one."""
        tags = self._file_tags
        return {image_id: tags[image_id] for image_id in image_ids if image_id in tags}

    def tagged_ids(self) -> list[str]:
        """List the training images with tags; see the class."""
        return self._usable("tagged")

    def labeled_ids(self) -> list[str]:
        """List the training images with masks that may be used; see the class."""
        if isinstance(self.labeled_split, str):
            return self.ids_of(self.labeled_split)
        return self._usable("masked") if self.labeled_split is None else super().labeled_ids()

    def labeled_pool(self) -> list[str]:
        """List the training images with masks, of which ``labeled_split`` may be a fraction."""
        return self._usable("masked")

    def own_test_split(self) -> str | None:
        """See `BaseDataModule.own_test_split`; its own is ``splits/test.txt``."""
        return self.test_split or ("test" if self._list("test").is_file() else None)

    def held_out_splits(self) -> list[str]:
        """See `BaseDataModule.held_out_splits`; ``splits/test.txt`` is one."""
        splits = (self.val_split, self.own_test_split())
        return [split for split in splits if split is not None]

    def unread_files(self) -> list[str]:
        """List what lies in the folder and is not read: files of other kinds, unknown names."""
        others = [path for listing in self._listings.values() for path in listing.others]
        others += list_files(
            self.root / "sparse", readable_suffixes(), report=lambda _: None
        ).others
        known = {"images", "masks", "sparse", "splits", find_class_file(self.root).name}
        known |= {*TAG_FILES, *SHAPE_FILES, "import.json"}
        entries = sorted(path for path in self.root.iterdir() if not path.name.startswith("."))
        return [str(path) for path in entries if path.name not in known] + others

    def _check_binary(self) -> None:
        names, colors = self._class_file.names, self._class_file.colors
        if len(names) != 2 or colors:
            has = "colours" if colors else f"{len(names)} classes: {', '.join(names)}"
            raise ValueError(
                f"binary_masks is for masks of two classes, black and white, but "
                f"{find_class_file(self.root)} has {has}; list two names without colours, or leave "
                "binary_masks out"
            )

    def _usable(self, split: str) -> list[str]:
        ids = self.ids_of(self.train_split)
        if split == "masked" and isinstance(self.source, ImageFiles):
            usable = [image_id for image_id in ids if image_id in self.files.masks]
        elif self.train_split != "train" or self._list("train").is_file():
            return ids
        else:
            usable = self.ids_of(split)
        if len(usable) < len(ids):
            text = "%s: %d of %d training images are %s"
            logger.info(text, self.root, len(usable), len(ids), split)
        if not usable:
            remedy = "add masks or tags, or take a method that needs none (wsss-zoo methods)"
            if any(image_id in self.sparse_labels for image_id in ids):
                remedy = "Sparse learns from their scribbles, points and boxes: --model Sparse"
            raise ValueError(
                f"none of the {len(ids)} training images in {self.root} is {split}; {remedy}"
            )
        return usable

    def _list(self, split: str) -> Path:
        return self.root / "splits" / f"{split}.txt"

    def find_id(self, name: str) -> str | None:
        """Find the image that a list names by id, or by a path, of which the end counts."""
        return find_by_end(name, self._id_by_name)

    def read_list(self, path: Path) -> list[str]:
        """See `Catalog.read_list`; names of images that do not exist are kept."""
        return read_split(path, self.report, self.find_id)

    @cached_property
    def _id_by_name(self) -> dict[str, str]:
        return ids_by_name(self.files.images)

    @cached_property
    def _class_file(self) -> ClassFile:
        if not self.root.is_dir():
            raise FileNotFoundError(f"data root {self.root} does not exist; {_LAYOUT}")
        path = find_class_file(self.root)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; {_LAYOUT}")
        found = read_class_file(path)
        if self.background:
            check_background(found.names, path)
            if not is_background_name(found.names[0]):
                text = "%s begins with %r, which is taken for the background: %s"
                logger.warning(text, path, found.names[0], BACKGROUND_REMEDY)
        return found

    @cached_property
    def _listings(self) -> dict[str, Listing]:
        root, suffixes = None if self.outside_links else self.root, readable_suffixes()
        return {
            name: list_files(self.root / name, suffixes, root=root, report=self.report)
            for name in ("images", "masks")
        }

    @cached_property
    def _file_tags(self) -> Tags:
        path = find_one(self.root, TAG_FILES)
        if path is None:
            return {}
        tags = read_tag_file(path, self.known_fg_names, self.report, self._id_by_name)
        first = self.known_classes[0]
        unmeant = self.background and "background" not in first.lower()
        if unmeant and any(first in names for names in tags.values()):
            self.report(
                f"{path} has tags of {first!r}, which is the background, as it stands first in "
                f"{find_class_file(self.root)}; write 'background' before it, or give "
                "--data.background false if the masks have none"
            )
        return self.check_tags(tags, path, self.report)


def _hold_out(ids: Collection[str], fraction: float) -> set[str]:
    """Choose a share of ids by the rank of their hash, at least one and not the only one."""
    count = min(max(1, round(fraction * len(ids))), len(ids) - 1) if fraction > 0 and ids else 0
    return set(sorted(ids, key=lambda image_id: (zlib.crc32(image_id.encode()), image_id))[:count])
