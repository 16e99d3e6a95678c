"""Which classes a pixel may have, by tags, boxes and labels: one rule for all partial knowledge."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.data.reading.sparse_files import BoolArray, SparseLabel
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.functional.sparse.drawing import box_mask, boxes_to_mask


class Boxes(NamedTuple):
    """Where the boxes of an image lie that name all objects of their classes."""

    #: Union of the boxes of each class, (H, W) by class index.
    inside: dict[int, BoolArray]
    #: Union of the boxes of classes that are not in use, (H, W): nothing is known there.
    unused: BoolArray


class KnownPixels(NamedTuple):
    """Labels of one image, boxes included."""

    #: Class index per pixel, (H, W), 255 where it is not known.
    mask: UInt8Array
    #: Where something was drawn, (H, W); a pseudo-label does not fill it. None where nothing was.
    drawn: BoolArray | None = None
    #: Boxes that are complete; None without any.
    boxes: Boxes | None = None
    #: Classes of its boxes, complete or not.
    box_classes: frozenset[int] = frozenset()
    #: Pixels that two classes claim.
    contradictions: int = 0
    #: Labelled pixels that boxes say another class of.
    overruled: int = 0
    #: Classes that are labelled where no complete box of theirs lies.
    unboxed: frozenset[int] = frozenset()


def known_pixels(label: SparseLabel, *, complete_boxes: bool, background: bool) -> KnownPixels:
    """Join what is drawn with the boxes: their middles, and the background outside all of them.

    What is drawn wins. Without ``complete_boxes`` nothing is known outside the boxes.
    """
    if not len(label.boxes):
        return KnownPixels(label.mask, label.drawn, contradictions=label.contradictions)
    size = label.mask.shape[0], label.mask.shape[1]
    inside = {int(index): np.zeros(size, dtype=bool) for index in label.box_classes}
    for box, index in zip(label.boxes, label.box_classes.tolist(), strict=True):
        inside[index] |= box_mask(box, size)
    outside = ~np.logical_or.reduce(list(inside.values()))
    base = boxes_to_mask(label.boxes, label.box_classes, size)
    if not (complete_boxes and background):
        base[outside] = IGNORE_INDEX
    mask = np.where(label.drawn, label.mask, base)
    named = frozenset(inside) - {IGNORE_INDEX}
    if not complete_boxes:
        return KnownPixels(mask, label.drawn, None, named, label.contradictions)
    unused = inside.pop(IGNORE_INDEX, np.zeros(size, dtype=bool))
    boxes = Boxes(inside, unused)
    may = may_be(mask, boxes, background=background)
    in_box = ~outside & (mask == 0) if background else np.zeros(size, dtype=bool)
    overruled = label.drawn & (mask != IGNORE_INDEX) & (~may | in_box)
    count = int(overruled.sum())
    unboxed = frozenset(np.unique(mask[label.drawn & ~may]).tolist()) - {IGNORE_INDEX}
    return KnownPixels(mask, label.drawn, boxes, named, label.contradictions, count, unboxed)


def may_be(mask: UInt8Array, boxes: Boxes, *, background: bool) -> BoolArray:
    """Say of each pixel whether boxes allow the class that a map, (H, W), gives it."""
    allowed = boxes.unused | ((mask == 0) if background else False)
    for index, inside in boxes.inside.items():
        allowed |= inside & (mask == index)
    result: BoolArray = allowed
    return result


def fill_pseudo(
    known: KnownPixels, pseudo: UInt8Array, allowed: NDArray[np.bool_], *, background: bool
) -> UInt8Array:
    """Fill the unknown pixels with pseudo-labels of possible classes, (H, W).

    ``allowed``, (C,), are the possible classes of the image.
    """
    table = np.zeros(IGNORE_INDEX + 1, dtype=bool)
    table[: len(allowed)] = allowed
    fills = (known.mask == IGNORE_INDEX) & table[pseudo]
    if known.drawn is not None:
        fills &= ~known.drawn
    if known.boxes is not None:
        fills &= may_be(pseudo, known.boxes, background=background)
    return np.where(fills, pseudo, known.mask)


def image_classes(
    num_classes: int,
    first_fg: int,
    labeled: Collection[int],
    tags: NDArray[np.uint8] | None,
    labels_are_complete: bool,
    never_absent: Collection[int],
) -> NDArray[np.bool_]:
    """Find the classes that an image may show, (C,) bool; none in a contradiction.

    Args:
        num_classes: C.
        first_fg: Index of the first foreground class.
        labeled: Classes of its labels. They are always possible.
        tags: All its foreground classes, (K,); None if they are not known.
        labels_are_complete: Whether each of its classes is labelled.
        never_absent: Classes that nothing is known of in the whole set.
    """
    allowed = np.ones(num_classes, dtype=bool)
    if tags is not None:
        allowed[first_fg:] = tags
    if labels_are_complete:
        allowed &= np.isin(np.arange(num_classes), [*labeled, *never_absent])
    allowed[list(labeled)] = True
    return allowed


def possible_pixels(
    mask: Tensor,
    boxes: Boxes | None,
    allowed: NDArray[np.bool_],
    *,
    background: bool,
    cut: Callable[[BoolArray], Tensor],
) -> Tensor:
    """Find the classes that each pixel may have, (C, S, S) bool, of an image or a crop of it.

    Args:
        mask: Class index per pixel, (S, S), 255 unknown.
        boxes: Complete boxes of the whole image: a foreground class without one is nowhere.
        allowed: Possible classes of the image, (C,).
        background: Whether class 0 is background.
        cut: Takes what ``mask`` shows out of a plane (H, W) of the image.
    """
    if boxes is None:
        return pixel_classes(mask, allowed, {}, None)
    nowhere = torch.zeros(mask.shape, dtype=torch.bool)
    inside = {index: cut(plane) for index, plane in boxes.inside.items()}
    foreground = range(int(background), len(allowed))
    planes = {index: inside.get(index, nowhere) for index in foreground}
    return pixel_classes(mask, allowed, planes, cut(boxes.unused))


def pixel_classes(
    mask: Tensor, allowed: NDArray[np.bool_], boxes: Mapping[int, Tensor], unused: Tensor | None
) -> Tensor:
    """Find the classes that each pixel of a crop may have, (C, S, S) bool; all if nothing is left.

    Args:
        mask: Class index per pixel, (S, S), 255 unknown.
        allowed: Possible classes of the image, (C,).
        boxes: Where each class may be, (S, S) bool, by index: classes that are missing may be
            anywhere. It has all that boxes rule out.
        unused: Where boxes rule nothing out, (S, S) bool.
    """
    possible = torch.from_numpy(allowed)[:, None, None].repeat(1, *mask.shape)
    for index, inside in boxes.items():
        possible[index] &= inside if unused is None else inside | unused
    labeled = mask != IGNORE_INDEX
    one_hot = mask[None] == torch.arange(len(allowed))[:, None, None]
    possible = torch.where(labeled, one_hot, possible)
    return possible | ~possible.any(0)
