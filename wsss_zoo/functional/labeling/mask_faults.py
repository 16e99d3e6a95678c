"""Signs that a given mask is wrong, from a prediction by a network that has not seen it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsss_zoo.files.decoding import IGNORE_INDEX

Probs = NDArray[np.floating]
Mask = NDArray[np.integer]

# Radius of a forgotten object that counts in full, and how far a predicted outline may lie from
# the given one to be compared with it, as shares of the square root of the image's area.
_FULL_RADIUS, _REACH = 0.05, 0.05


class Fault(NamedTuple):
    """The worst sign of one kind in a mask."""

    #: In [0, 1]; 0 where there is nothing to compare.
    score: float
    #: Index of the class that the mask has there; None where it has none, or there is no sign.
    given: int | None = None
    #: Index of the class that is suspected in its place.
    suspected: int | None = None


def swapped_class(probs: Probs, mask: Mask, first_fg: int = 1, min_pixels: int = 25) -> Fault:
    """Score the suspicion that a region of the mask has the class of another one.

    For a class c of the mask, m is the mean probability over its pixels. The score is the largest
    (1 + m_d - m_c) / 2 over all c and all other foreground classes d. A region that the network
    takes for background is no swap: both are near 0 there, and the score is 1/2 at most.

    Args:
        probs: Class probabilities, (C, H, W).
        mask: Given class index per pixel, (H, W); 255 does not count.
        first_fg: Index of the first foreground class, 0 or 1.
        min_pixels: A class with fewer pixels is left out.
    """
    _check(probs, mask)
    worst = Fault(0.0)
    for given in range(first_fg, len(probs)):
        region = mask == given
        others = [d for d in range(first_fg, len(probs)) if d != given]
        if np.count_nonzero(region) < min_pixels or not others:
            continue
        means = probs[:, region].mean(1, dtype=np.float64)
        suspected = max(others, key=lambda d: means[d])
        score = (1 + float(means[suspected] - means[given])) / 2
        if score > worst.score:
            worst = Fault(score, given, suspected)
    return worst


def missing_object(probs: Probs, mask: Mask) -> Fault:
    """Score the suspicion that an object was left as background.

    Regions are connected pixels (8 neighbours) that the mask calls background, 0, and for which
    another class is the most probable. The score of a region is the mean of 1 - p(background),
    times its depth: the radius of the largest disk in it as a share of 5 % of sqrt(H W), at most 1.
    Predictions that only run over an outline are therefore low.

    Args:
        probs: Class probabilities, class 0 background, (C, H, W).
        mask: Given class index per pixel, (H, W); 255 does not count.
    """
    _check(probs, mask)
    extra = (mask == 0) & (probs.argmax(0) != 0)
    if not extra.any():
        return Fault(0.0)
    regions, count = ndimage.label(extra, np.ones((3, 3)))
    index = np.arange(1, count + 1)
    # Without the border of the image, behind which an object may go on.
    depth = ndimage.distance_transform_edt(extra) if not extra.all() else np.full(mask.shape, 1e9)
    radius = ndimage.maximum(depth, regions, index)
    sureness = ndimage.mean(1 - probs[0].astype(np.float64), regions, index)
    full = _FULL_RADIUS * math.sqrt(mask.size)
    scores = sureness * np.minimum(1, radius / full)
    worst = int(scores.argmax())
    inside = probs[1:, regions == worst + 1].sum(1)
    return Fault(float(scores[worst]), None, 1 + int(inside.argmax()))


def sloppy_outline(probs: Probs, mask: Mask, first_fg: int = 1) -> Fault:
    """Score the suspicion that outlines of the mask do not follow the objects.

    In a band around the given outlines, 5 % of sqrt(H W) to both sides, it adds p(predicted) -
    p(given) over the pixels where another class is predicted than given, and divides by the pixels
    of the outline and by the width of one side: about the mean distance of a sure outline from the
    given one, as a share of the band. With ``first_fg`` 1 only background and foreground are told
    apart, so that a wrong class is no sloppy outline. An object that the network misses altogether
    does not count: its foreground must be predicted somewhere inside.

    Args:
        probs: Class probabilities, (C, H, W).
        mask: Given class index per pixel, (H, W); 255 does not count.
        first_fg: 1 if class 0 is background, else 0.
    """
    _check(probs, mask)
    known = mask != IGNORE_INDEX
    if first_fg:
        foreground = 1 - probs[0]
        probs = np.stack([probs[0], foreground])
        labels = np.where(known, (mask > 0).astype(np.int64), IGNORE_INDEX)
        if not (foreground[labels == 1] > 0.5).any():
            return Fault(0.0)
    else:
        labels = mask.astype(np.int64)
    edge = _edge(labels, known)
    if not edge.any():
        return Fault(0.0)
    width = max(1.0, _REACH * math.sqrt(mask.size))
    band = known & (ndimage.distance_transform_edt(~edge) <= width)
    given = np.take_along_axis(probs, np.where(known, labels, 0)[None], 0)[0]
    excess = (probs.max(0) - given)[band].sum(dtype=np.float64)
    # Both sides of a line are edge pixels.
    length = np.count_nonzero(edge) / 2
    return Fault(float(min(1.0, excess / (length * width))))


def _edge(labels: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find pixels next to a pixel of another class; a ring of 255 is taken for a line."""
    # Each ignored pixel gets the class of the nearest known one.
    if not known.any():
        return known
    rows, columns = ndimage.distance_transform_edt(
        ~known, return_distances=False, return_indices=True
    )
    filled = labels[rows, columns]
    edge = np.zeros(labels.shape, dtype=bool)
    below, right = filled[1:] != filled[:-1], filled[:, 1:] != filled[:, :-1]
    edge[1:] |= below
    edge[:-1] |= below
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _check(probs: Probs, mask: Mask) -> None:
    if probs.ndim != 3 or probs.shape[1:] != mask.shape or not mask.size:
        raise ValueError(
            f"probs {probs.shape} and mask {mask.shape} do not fit; give (C, H, W) and (H, W)"
        )
    values = mask[mask != IGNORE_INDEX]
    if values.size and not 0 <= values.min() <= values.max() < len(probs):
        raise ValueError(
            f"mask has the class index {values.max()}, but probs has {len(probs)} classes"
        )
