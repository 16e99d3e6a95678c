"""Read every image, mask and tag of a data set, and collect what is wrong with them."""

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.image_files import ImageFiles, ImageSource, size_problem
from wsss_zoo.data.reading.tag_files import Tags
from wsss_zoo.data.sets.folder import Folder
from wsss_zoo.data.sets.official import OfficialDataModule
from wsss_zoo.data.supervision.mask import label_files, label_folders
from wsss_zoo.drawing.choice import image_miou
from wsss_zoo.files.decoding import ImageFacts, has_alpha, is_turned, undecided_problem
from wsss_zoo.files.pseudo_labels import read_manifest
from wsss_zoo.inspection.sparse_counts import SparseCounts, count_sparse_labels

Track = Callable[[Iterable["ImageRecord"], int], Iterable["ImageRecord"]]

_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class ImageRecord:
    """Contents and faults of one image and its mask.

    Args:
        image_id: The image.
        errors: Why the image or its mask cannot be used.
        size: Height and width, pixels; None if the image cannot be read.
        pixels: Number of pixels by class index, (256,); None without a usable mask.
        digest: Hash of the pixels; empty if the image cannot be read.
        is_flat: Whether all pixels have one colour.
        is_turned: Whether the image is turned by its EXIF data and has a mask.
        facts: What a check of the image file found; None without a readable file.
        mask_has_alpha: Whether the mask has opacity, which is not read.
    """

    image_id: str
    errors: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None
    pixels: NDArray[np.int64] | None = None
    digest: bytes = b""
    is_flat: bool = False
    is_turned: bool = False
    facts: ImageFacts | None = None
    mask_has_alpha: bool = False

    @property
    def is_unusable(self) -> bool:
        """Whether the image or its mask cannot be used."""
        return bool(self.errors) or (self.facts is not None and self.facts.is_undecided)


@dataclass(frozen=True)
class Inspection:
    """Contents and faults of a data set.

    Args:
        class_names: Names by class index.
        first_fg: Index of the first foreground class.
        splits: Ids by split.
        train: Name of the training split.
        held_out: Names of the validation and test splits.
        records: Records by id.
        tags: Names of the classes in use by id, for the images in tag files.
        errors: Why files cannot be used.
        unread: Files that the data set does not read.
        sparse: Its sparse labels; None if it has none.
        notes: What training would warn of.
        pseudo: Pseudo-labels by id: pixels by class index, (256,), and mean IoU with the mask.
    """

    class_names: list[str]
    first_fg: int
    splits: dict[str, list[str]]
    train: str
    held_out: list[str]
    records: dict[str, ImageRecord]
    tags: Tags
    errors: list[str]
    unread: list[str]
    sparse: SparseCounts | None = None
    notes: list[str] = field(default_factory=list)
    pseudo: dict[str, tuple[NDArray[np.int64], float]] = field(default_factory=dict)

    @property
    def fg_names(self) -> list[str]:
        """Names of the K foreground classes."""
        return self.class_names[self.first_fg :]

    def is_masked(self, image_id: str) -> bool:
        """Tell whether an image has a usable mask."""
        return self.records[image_id].pixels is not None

    def classes_in_mask(self, image_id: str) -> set[str]:
        """Collect the foreground classes in an image's mask, however few their pixels."""
        pixels = self.records[image_id].pixels
        fg = range(self.first_fg, len(self.class_names))
        return set() if pixels is None else {self.class_names[i] for i in fg if pixels[i]}

    def classes_of(self, image_id: str) -> set[str]:
        """Collect the foreground classes of an image by its mask or its tags."""
        return self.classes_in_mask(image_id) | set(self.tags.get(image_id, ()))

    def disagreements(self) -> dict[str, tuple[list[str], list[str]]]:
        """List by class: images tagged with it whose mask has none, and the reverse.

        Only images with mask and tags count; classes without disagreement are left out.
        """
        found: dict[str, tuple[list[str], list[str]]] = {}
        for image_id, names in self.tags.items():
            if not self.is_masked(image_id):
                continue
            tagged, masked = set(names), self.classes_in_mask(image_id)
            for name in tagged ^ masked:
                found.setdefault(name, ([], []))[name in masked].append(image_id)
        return {name: found[name] for name in self.fg_names if name in found}


def inspect_data(data: BaseDataModule, track: Track) -> Inspection:
    """Read every image, mask and tag of the splits of a data module; bad files raise nothing.

    Args:
        data: The data module; not set up, and of no use for training afterwards.
        track: Iterates over records, given their number; shows progress.
    """
    errors: list[str] = []
    unread: list[str] = []
    class_names = data.class_names
    if isinstance(data, Folder):
        data.report = errors.append
        unread = data.unread_files()
    splits: dict[str, list[str]] = {}
    records: dict[str, ImageRecord] = {}
    tags: Tags = {}
    sparse: SparseCounts | None = None
    pseudo: dict[str, tuple[NDArray[np.int64], float]] = {}
    notes: list[str] = []
    with _collecting(errors), _hearing(notes):
        data.prepare_data()
        source = data.source
        splits = _read_splits(data, errors)
        ids = list(dict.fromkeys(i for split in splits.values() for i in split))
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda image_id: inspect_image(source, image_id), ids)
            records = {record.image_id: record for record in track(found, len(ids))}
        tags = _read_tags(data, ids, errors)
        sizes = {i: record.size for i, record in records.items() if record.size is not None}
        sparse = count_sparse_labels(data, sizes, tags, errors.append)
        _check_overlap(data, splits, errors, notes)
        _check_needed_masks(data, splits, errors)
        pseudo = _read_pseudo_labels(data, ids, errors)
    for record in records.values():
        errors.extend(record.errors)
    problem = undecided_problem(facts_by_path(records, data))
    if problem is not None:
        errors.append(problem)
    held_out = [name for name in data.held_out_splits() if name in splits]
    return Inspection(
        class_names,
        int(data.background),
        splits,
        data.train_split,
        held_out,
        records,
        tags,
        # A list that is read twice reports its problems twice.
        list(dict.fromkeys(errors)),
        unread,
        sparse,
        list(dict.fromkeys(notes)),
        pseudo,
    )


def facts_by_path(
    records: Mapping[str, ImageRecord], data: BaseDataModule
) -> dict[str, ImageFacts]:
    """List what the checks of image files found, by their path."""
    found = {i: r.facts for i, r in records.items() if r.facts is not None}
    return {data.files.images[i]: facts for i, facts in found.items()}


def inspect_image(source: ImageSource, image_id: str) -> ImageRecord:
    """Read one image and its mask; whatever is wrong stands in the record."""
    errors: list[str] = []
    image = mask = facts = None
    files = source if isinstance(source, ImageFiles) else None
    try:
        with _collecting(errors):
            facts = files.examine(image_id) if files else None
            if facts is None or not facts.is_undecided:
                image = source.read_image(image_id)
    except KeyError:
        problem = f"id {image_id!r} is on a list, but has no image; add it or delete the line"
        return ImageRecord(image_id, [problem])
    with _collecting(errors):
        mask = source.read_mask(image_id)
    if image is None:
        return ImageRecord(image_id, errors, facts=facts)
    size = (image.shape[0], image.shape[1])
    if mask is not None and mask.shape != size:
        name = files.masks[image_id] if files else ""
        errors.append(size_problem(name, mask.shape, f"image {image_id}", size))
        mask = None
    return ImageRecord(
        image_id,
        errors,
        size=size,
        pixels=None if mask is None else np.bincount(mask.ravel(), minlength=256),
        digest=hashlib.blake2b(image.tobytes() + str(image.shape).encode()).digest(),
        is_flat=bool((image == image[0, 0]).all()),
        is_turned=mask is not None and files is not None and is_turned(files.images[image_id]),
        facts=facts,
        mask_has_alpha=mask is not None and files is not None and _mask_has_alpha(files, image_id),
    )


def _mask_has_alpha(files: ImageFiles, image_id: str) -> bool:
    path = files.masks[image_id]
    return not path.endswith(".mat") and has_alpha(path)


@contextmanager
def _collecting(errors: list[str]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        errors.append(str(error))


@contextmanager
def _hearing(notes: list[str]) -> Iterator[None]:
    """Collect what the package warns of, in place of logging it."""
    logger = logging.getLogger("wsss_zoo")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _check_overlap(
    data: BaseDataModule, splits: dict[str, list[str]], errors: list[str], notes: list[str]
) -> None:
    """Find held-out images among the training ones, as training does."""
    labeled = splits.get("labeled_split", [])
    used = {*splits.get(data.train_split, ()), *labeled}
    is_meant = data.allow_overlap or data.supervision == "images"
    with _collecting(errors):
        (notes if is_meant else errors).extend(data.overlaps(used))
        notes += data.overlaps({*splits.get(str(data.unlabeled_split), ())} - used)


def _check_needed_masks(
    data: BaseDataModule, splits: dict[str, list[str]], errors: list[str]
) -> None:
    """Name images without the mask that training and validation ask for, as these do."""
    source = data.source
    if not isinstance(source, ImageFiles) or data.supervision == "images":
        return
    needed = {name: splits[name] for name in data.held_out_splits() if name in splits}
    if "labeled_split" in splits:
        needed["labeled_split"] = splits["labeled_split"]
    elif isinstance(data, OfficialDataModule) and data.pseudo_label_dir is None:
        # A folder of the user's own may have masks of some images.
        reads_masks = data.supervision in ("mask", "semi", "weak_shot")
        needed[data.train_split] = splits.get(data.train_split, []) if reads_masks else []
    # Other faults of files stand in the records.
    data.check_files = False
    for ids in needed.values():
        with _collecting(errors):
            data.check_images([i for i in ids if i in source.images], masks=True)


def shown_labels(data: BaseDataModule) -> ImageFiles:
    """Index the label maps of ``pseudo_label_dir``; in a folder of ``wsss-zoo label`` its masks."""
    given = label_folders(data.pseudo_label_dir)
    inner = [folder / "masks" for folder in given]
    folders = [m if m.is_dir() else f for f, m in zip(given, inner, strict=True)]
    return label_files(folders, data.num_classes)


def _read_pseudo_labels(
    data: BaseDataModule, ids: Sequence[str], errors: list[str]
) -> dict[str, tuple[NDArray[np.int64], float]]:
    """Read the pseudo-labels of images, and compare them with the masks."""
    for folder in label_folders(data.pseudo_label_dir):
        with _collecting(errors):
            read_manifest(folder, data.class_names)
    labels = shown_labels(data)
    found: dict[str, tuple[NDArray[np.int64], float]] = {}
    for image_id in ids:
        if image_id not in labels.masks:
            continue
        with _collecting(errors):
            label, mask = labels.read_mask(image_id), None
            assert label is not None
            with suppress(OSError, ValueError):  # of the mask: they stand in its record
                mask = data.read_mask(image_id)
            if mask is not None and mask.shape != label.shape:
                path = labels.masks[image_id]
                errors.append(size_problem(path, label.shape, f"image {image_id}", mask.shape))
                continue
            pixels = np.bincount(label.ravel(), minlength=256)
            found[image_id] = pixels, math.nan if mask is None else image_miou(label, mask)
    given = ", ".join(map(str, label_folders(data.pseudo_label_dir)))
    if given and not labels.masks.keys() & {*ids}:
        errors.append(f"{given}: no label map <id>.png has the name of an image of the data set")
    return found


def _read_splits(data: BaseDataModule, errors: list[str]) -> dict[str, list[str]]:
    names = [data.train_split, *data.held_out_splits(), data.predict_split, data.unlabeled_split]
    if isinstance(data, Folder):
        names += ["extra", "all"]
    readers: dict[str, Callable[[], list[str]]] = {
        name: partial(data.ids_of, name) for name in names if name is not None
    }
    if data.labeled_split is not None:
        readers["labeled_split"] = data.labeled_ids
    splits: dict[str, list[str]] = {}
    for name, read in readers.items():
        with _collecting(errors):
            splits[name] = read()
    if not splits.get("extra", True):
        del splits["extra"]
    return splits


def _read_tags(data: BaseDataModule, ids: Sequence[str], errors: list[str]) -> Tags:
    tags: Tags = {}
    with _collecting(errors):
        tags = data.read_tags(ids)
    in_use = set(data.fg_names)
    return {i: [name for name in names if name in in_use] for i, names in tags.items()}
