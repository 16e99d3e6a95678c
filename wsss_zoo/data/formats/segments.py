"""Masks as the shapes of annotation tools: one for each class and connected region."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.formats.annotated_image import Crop
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.shapes.outlines import Ring, mask_polygons, polygon_mask, ring_area, signed_area

#: Pixels that a simplified polygon may be away from its mask, where a tool takes no masks.
DEFAULT_TOLERANCE = 0.5


@dataclass(frozen=True)
class Segment:
    """A connected region of one class: class index, pixels, mean confidence in [0, 1]."""

    index: int
    crop: Crop
    score: float | None

    def rings(self, tolerance: float | None) -> list[tuple[Ring, bool]]:
        """Outline it, larger rings first; each with whether it is a hole.

        Parts that meet at a corner have rings of their own. Rings of holes go the other way round.
        """
        used = DEFAULT_TOLERANCE if tolerance is None else tolerance
        rings = mask_polygons(self.crop.pixels, used)
        rings.sort(key=ring_area, reverse=True)
        outer = signed_area(rings[0]) > 0
        offset = (self.crop.left, self.crop.top)
        return [(ring + offset, (signed_area(ring) > 0) != outer) for ring in rings]


@dataclass(frozen=True)
class Labeled:
    """A mask to be written for a tool.

    Args:
        image_id: The image.
        path_name: Name or path of the image file in the tool.
        mask: Class index per pixel, (H, W); 255 has no shape.
        first_fg: Index of the first class that has shapes.
        confidence: Probability of the class per pixel times 255, (H, W), if known.
        tolerance: Of polygons, pixels; None for masks where the tool takes them.
    """

    image_id: str
    path_name: str
    mask: UInt8Array
    first_fg: int = 1
    confidence: UInt8Array | None = None
    tolerance: float | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.mask.shape[1])

    def segments(self) -> list[Segment]:
        """Divide the mask; a region inside another one comes after it."""
        # Slow to import, and only needed here.
        import scipy.ndimage
        import skimage.measure

        measure: Any = skimage.measure  # without types
        values = self.mask.astype(np.int16) - (self.first_fg - 1)
        values[(self.mask < self.first_fg) | (self.mask == IGNORE_INDEX)] = 0
        regions: NDArray[np.int64] = measure.label(values, background=0, connectivity=2)
        segments = []
        for number, box in enumerate(scipy.ndimage.find_objects(regions), 1):
            pixels = regions[box] == number
            top, left = box[0].start, box[1].start
            index = int(self.mask[box][pixels][0])
            score = None
            if self.confidence is not None:
                score = float(self.confidence[box][pixels].mean()) / 255
            segments.append(Segment(index, Crop(top, left, pixels), score))
        # What lies inside another region has a smaller box.
        return sorted(segments, key=lambda segment: -segment.crop.pixels.size)


def bridge(rings: Sequence[Ring]) -> Iterator[Ring]:
    """Join the holes of a region to its outer ring, the first, by two-way lines of no width.

    For formats that know one ring a shape. Even-odd, the result has the pixels of all rings.
    """
    joined, *holes = rings
    for hole in holes:
        distances = ((joined[:, None] - hole[None]) ** 2).sum(-1)
        at, start = divmod(int(distances.argmin()), len(hole))
        around = np.roll(hole, -start, axis=0)
        joined = np.concatenate([joined[: at + 1], around, around[:1], joined[at:]])
    yield joined


def worst_overlap(image: Labeled) -> float:
    """Measure the lowest IoU of a region with its simplified polygon; 1 without regions."""
    worst = 1.0
    for segment in image.segments():
        rings = [ring for ring, _ in segment.rings(image.tolerance)]
        again = polygon_mask(rings, image.height, image.width)
        top, left, pixels = segment.crop
        inside = again[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        shared = int((inside & pixels).sum())
        worst = min(worst, shared / (int(again.sum()) + int(pixels.sum()) - shared))
    return worst
