"""What every annotation format becomes: images with shapes in one system of coordinates.

Coordinates are continuous pixels: (0, 0) is the top left corner of the top left pixel. Boxes are
half open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_zoo.files.shapes.outlines import BoolArray, polygon_crop

Kind = Literal["polygon", "mask", "box", "stroke", "point", "tag", "ignore"]
Points = NDArray[np.float64]
Box = tuple[float, float, float, float]


class Crop(NamedTuple):
    """The part of a mask that holds pixels, and where it lies in the image."""

    top: int
    left: int
    pixels: BoolArray

    @classmethod
    def of(cls, mask: BoolArray, top: int = 0, left: int = 0) -> Self:
        """Cut a mask, of which the first pixel is at (top, left), down to what it holds."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), np.bool_))
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        return cls(top + int(rows[0]), left + int(columns[0]), part)

    def clip(self, height: int, width: int) -> "Crop":
        """Cut off what lies outside an image."""
        top, left = max(-self.top, 0), max(-self.left, 0)
        part = self.pixels[top : max(height - self.top, 0), left : max(width - self.left, 0)]
        return Crop.of(part, self.top + top, self.left + left)


class Shape:
    """One annotation.

    Args:
        kind: What it is; ``ignore`` is a region whose pixels do not count.
        label: Name of its class; "" for ``ignore``.
        points: Of a polygon (or ``ignore``) the rings, each (P, 2), read together, even-odd; of a
            stroke its vertices (P, 2); of a point (2,).
        mask: Of a mask (or ``ignore``) its pixels, (H, W) bool.
        box: Of a box x0, y0, x1, y1.
        z: Shapes of higher z lie on top; of equal z later ones.
        group: Shapes of one object have one group.
        crop: In place of ``mask``, its part that holds pixels.
        size: Height and width of the image that ``crop`` is of.
    """

    __slots__ = ("box", "crop", "group", "kind", "label", "points", "size", "z")

    def __init__(
        self,
        kind: Kind,
        label: str,
        points: Any = None,
        mask: ArrayLike | None = None,
        box: Sequence[float] | None = None,
        z: float = 0,
        *,
        group: object = None,
        crop: Crop | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.kind, self.label, self.z, self.group = kind, label, z, group
        self.points = points
        self.box: Box | None = None if box is None else (box[0], box[1], box[2], box[3])
        self.crop, self.size = crop, size
        if mask is not None:
            pixels = np.asarray(mask, np.bool_)
            self.crop, self.size = Crop.of(pixels), (pixels.shape[0], pixels.shape[1])

    @property
    def mask(self) -> BoolArray | None:
        """Pixels of a mask, (H, W); None for a shape that has points or a box."""
        if self.crop is None or self.size is None:
            return None
        mask = np.zeros(self.size, np.bool_)
        top, left, pixels = self.crop
        mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return mask

    def region(self, height: int, width: int) -> Crop:
        """Rasterise a polygon, a mask, a box or an ignored region; ValueError for other kinds."""
        if self.crop is not None:
            return self.crop.clip(height, width)
        if self.box is not None:
            return Crop(*polygon_crop([box_ring(self.box)], height, width))
        if self.kind not in ("polygon", "ignore"):
            raise ValueError(f"a {self.kind} has no region")
        return Crop(*polygon_crop(self.points, height, width))

    def __repr__(self) -> str:
        return f"Shape({self.kind!r}, {self.label!r}, z={self.z})"


@dataclass(eq=False)
class AnnotatedImage:
    """One image as a tool saw it.

    Args:
        name: Path or name of the image in the annotations, with ``/``.
        height: Pixels; None where neither the annotations nor the image say.
        width: The same.
        shapes: Its shapes in the order of the file.
        place: File and entry, for messages.
        names: Names to look for the image by, in this order; default: ``name``.
        loose: Whether punctuation in the names may differ from that of the file.
        annotated: False where the tool lists the image, but nobody has annotated it.
        subset: Name of its split, if it has one.
        embedded: The image file itself, base64, where the annotations hold it.
        fractions: Whether the size was read from the image, as coordinates were fractions.
    """

    name: str
    height: int | None
    width: int | None
    shapes: list[Shape]
    place: str = ""
    names: tuple[str, ...] = ()
    loose: bool = False
    annotated: bool = True
    subset: str | None = None
    embedded: str | None = field(default=None, repr=False)
    fractions: bool = False


def box_ring(box: Box) -> Points:
    """List the corners of a box, (4, 2)."""
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def turn(points: Points, center: tuple[float, float], degrees: float) -> Points:
    """Turn points (P, 2) about a centre, clockwise on the screen."""
    if degrees % 90 == 0:  # exact where it can be
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[int(degrees // 90) % 4]
    else:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned: Points = (points - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center
    return turned


def ellipse_crop(
    center: tuple[float, float],
    radii: tuple[float, float],
    degrees: float,
    height: int,
    width: int,
) -> Crop:
    """Rasterise an ellipse: a pixel belongs to it if its centre is inside or on the rim."""
    if not min(radii) > 0:
        return Crop(0, 0, np.zeros((0, 0), np.bool_))
    reach = max(radii)
    left, right = (int(np.clip(center[0] + side, 0, width)) for side in (-reach - 1, reach + 1))
    top, bottom = (int(np.clip(center[1] + side, 0, height)) for side in (-reach - 1, reach + 1))
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    dx, dy = x - center[0], y - center[1]
    if degrees % 180:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
    return Crop.of((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2 <= 1, top, left)
