"""What the labels of a training set of ``sparse`` are, and what is wrong with them."""

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.reading.image_files import ImageSource, size_problem
from wsss_zoo.data.reading.sparse_files import SparseSource
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.supervision.possible import KnownPixels, image_classes, known_pixels
from wsss_zoo.data.transforms.crops import Labels, load_mask
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.files.text import Report, raise_problem

logger = logging.getLogger(__name__)

_THREADS = 4  # decoding and drawing release the interpreter lock
_MANY = 0.01  # share of an image's labelled pixels that may have two classes


@dataclass(frozen=True)
class LabelReader:
    """Reads what is known of the pixels of an image: its mask if it may be used, else its shapes.

    Args:
        source: Reads masks.
        sparse: Reads sparse labels.
        masked: Images whose masks may be used; no other mask is ever opened.
        complete_boxes: Whether the boxes of an image name all its objects.
        background: Whether class 0 is background.
    """

    source: ImageSource
    sparse: SparseSource
    masked: frozenset[str]
    complete_boxes: bool
    background: bool

    def read(
        self, image_id: str, size: tuple[int, int], report: Report = raise_problem
    ) -> KnownPixels:
        """Read the labels of an image of a size (H, W); all unknown if it has none."""
        if image_id in self.masked:
            mask = load_mask(self.source, image_id)
            if mask.shape != size:
                report(size_problem("", mask.shape, f"image {image_id}", size))
            return KnownPixels(mask)
        if image_id not in self.sparse:
            return KnownPixels(np.full(size, IGNORE_INDEX, dtype=np.uint8))
        label = self.sparse.read(image_id, size, report)
        if self.background and (label.box_classes == 0).any():
            report(f"image {image_id!r} has a box of the background, which says nothing; delete it")
        return known_pixels(label, complete_boxes=self.complete_boxes, background=self.background)


@dataclass(frozen=True)
class LabelRecord:
    """Labels of one image.

    Args:
        pixels: Number of labelled pixels by class index, (C,).
        box_classes: Class indices of its boxes.
        contradictions: Pixels that two classes claim.
        overruled: Labelled pixels that boxes say another class of.
        unboxed: Class indices that are labelled outside their complete boxes.
    """

    pixels: NDArray[np.int64]
    box_classes: frozenset[int]
    contradictions: int
    overruled: int
    unboxed: frozenset[int] = frozenset()

    @property
    def classes(self) -> list[int]:
        """Class indices of its pixels and boxes."""
        return sorted({*np.flatnonzero(self.pixels).tolist(), *self.box_classes})

    def tags(self, background: bool) -> NDArray[np.uint8]:
        """Mark the foreground classes of its labels, (K,)."""
        present = np.zeros(len(self.pixels), dtype=np.uint8)
        present[self.classes] = 1
        return present[int(background) :]


def survey_labels(
    labels: LabelReader,
    image_ids: Sequence[str],
    class_names: Sequence[str],
    report: Report = raise_problem,
) -> dict[str, LabelRecord]:
    """Draw the labels of all images once; report what cannot be used, warn of what is odd."""

    def one(image_id: str) -> LabelRecord:
        known = labels.read(image_id, labels.source.image_size(image_id), report)
        pixels = np.bincount(known.mask.ravel(), minlength=256)[: len(class_names)]
        return LabelRecord(
            pixels, known.box_classes, known.contradictions, known.overruled, known.unboxed
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(image_ids, pool.map(one, image_ids), strict=True))
    _warn(found, class_names, labels.background)
    return found


def possible_classes(
    images: Catalog,
    options: TrainingOptions,
    found: Mapping[str, LabelRecord],
    tags: Labels,
    image_ids: Sequence[str],
    masked: Collection[str],
) -> dict[str, NDArray[np.bool_]]:
    """Find the classes that each image may show, (C,) bool, for those where not all are possible.

    A class that an image is not tagged with but has a sparse label of is an error, or reported, as
    ``tag_conflicts`` says; then the label wins.
    """
    first_fg, names = int(images.background), images.class_names
    tagged = tags if options.complete_tags else {}
    drawn = {i: found[i] for i in image_ids if i in found and found[i].classes and i not in masked}
    labeled = {index for record in found.values() for index in record.classes}
    unseen = set(range(len(names))) - labeled
    allowed = {}
    if options.complete_sparse and images.background:
        _warn_of_no_background(drawn)
    if options.complete_boxes and images.background:
        _warn_of_no_box(drawn, tags, images.fg_names)
    for image_id in image_ids:
        record, own = found.get(image_id), tagged.get(image_id)
        classes = record.classes if record else []
        if own is not None and image_id not in masked:
            extra = [names[c] for c in classes if c >= first_fg and not own[c - first_fg]]
            if extra:
                tagged_names = [n for n, shown in zip(images.fg_names, own, strict=True) if shown]
                report_conflict(image_id, extra, tagged_names, options.tag_conflicts)
        # Nothing is complete where nothing is labelled.
        complete = options.complete_sparse and bool(classes)
        possible = image_classes(len(names), first_fg, classes, own, complete, unseen)
        if not possible.any():
            logger.warning("image %r: its tags leave no class, so all are possible", image_id)
        elif not possible.all():
            allowed[image_id] = possible
    return allowed


def _warn_of_no_background(drawn: Mapping[str, LabelRecord]) -> None:
    without = [image_id for image_id, record in drawn.items() if 0 not in record.classes]
    if without:
        logger.warning(
            "complete_sparse: %d of %d images with sparse labels, such as %r, have no label of the "
            "background, so it counts as absent in them; label some of it, or give complete_sparse "
            "false",
            *(len(without), len(drawn), without[0]),
        )


def _warn_of_no_box(drawn: Mapping[str, LabelRecord], tags: Labels, names: Sequence[str]) -> None:
    """Say that boxes are no complete list where a tag or another label names one class more."""
    missing: dict[str, str] = {}
    for image_id, record in drawn.items():
        if record.box_classes:
            own = tags.get(image_id, ())
            shown = {index for index, present in enumerate(own, 1) if present} | record.unboxed
            if absent := sorted(shown - record.box_classes - {0}):
                missing[image_id] = names[absent[0] - 1]
    if missing:
        first = next(iter(missing))
        logger.warning(
            "complete_boxes: %d of %d images with boxes show a class without a box, such as %r in "
            "%r; outside the boxes all that is not labelled counts as background: unless such "
            "objects are outlined, draw boxes of them, or give complete_boxes false",
            *(len(missing), sum(bool(r.box_classes) for r in drawn.values())),
            *(missing[first], first),
        )


def report_conflict(
    image_id: str, extra: Sequence[str], tagged: Sequence[str], how: Literal["error", "report"]
) -> None:
    """Say that an image has labels of classes ``extra`` that its complete tags do not name.

    Raises:
        ValueError: If ``how`` is "error".
    """
    text = (
        f"image {image_id!r} has a sparse label of {', '.join(extra)}, but its tags are "
        f"{', '.join(tagged) or 'empty'}"
    )
    if how == "error":
        raise ValueError(
            f"{text}; correct one of them, give complete_tags false if tags do not name all "
            "classes of an image, or tag_conflicts 'report' to go on with the sparse label"
        )
    logger.warning("%s; the sparse label counts", text)


def _warn(found: Mapping[str, LabelRecord], names: Sequence[str], background: bool) -> None:
    if not found:
        return
    for image_id, record in found.items():
        if record.contradictions > _MANY * (record.pixels.sum() + record.contradictions):
            text = "image %r: strokes or points of two classes claim %d pixels, which are ignored"
            logger.warning(text, image_id, record.contradictions)
    claimed = sum(record.contradictions for record in found.values())
    overruled = sum(record.overruled for record in found.values())
    if claimed:
        logger.info("%d pixels have labels of two classes and are ignored", claimed)
    if overruled:
        logger.info("%d labelled pixels contradict boxes; the labels count", overruled)
    totals = np.sum([record.pixels for record in found.values()], axis=0)
    boxed = {index for record in found.values() for index in record.box_classes}
    for index, name in enumerate(names):
        if totals[index] or index in boxed:
            continue
        if background and index == 0:
            logger.warning("no background is labelled: the net cannot learn it; label some of it")
        else:
            logger.warning("no training image has a sparse label or mask of class %r", name)
