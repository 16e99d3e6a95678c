"""Shapes of one image as a mask, and as the sparse labels that `Folder` reads."""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Crop, Points, Shape, box_ring
from wsss_zoo.data.formats.reading import Reading
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.shapes.outlines import mask_polygons

Rest = Literal["background", "unknown"]
#: Marks pixels that no shape covers; no class has this index.
_NOTHING = 254
#: Most classes that a mask of 8 bits can hold, the background included.
MOST_CLASSES = 254


@dataclass
class Labels:
    """What becomes of one image.

    Args:
        mask: Class index per pixel, (H, W), 255 = unknown; None without regions.
        shapes: Entries of ``shapes.json``: strokes, and polygons where there are sparse labels.
        boxes: Class, x0, y0, x1, y1.
        points: Class, x, y.
        tags: Names of classes that the tool's tags name.
        drawn: Names of the foreground classes of all shapes.
        overlaps: Pixels that two classes both claim, by the pair.
    """

    mask: UInt8Array | None = None
    shapes: list[dict[str, Any]] = field(default_factory=list)
    boxes: list[tuple[Any, ...]] = field(default_factory=list)
    points: list[tuple[Any, ...]] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    drawn: set[str] = field(default_factory=set)
    overlaps: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Drawing:
    """How shapes become labels.

    Args:
        names: Class names by index, background first.
        rest: What pixels are that no shape covers.
        fill_boxes: Whether a box is a region.
        stroke_width: Width of strokes, pixels.
        sparse: Whether regions are listed among the sparse labels of all images; else they are of
            those with boxes.
    """

    names: list[str]
    rest: Rest
    fill_boxes: bool
    stroke_width: int
    sparse: bool

    def draw(self, image: AnnotatedImage, height: int, width: int, reading: Reading) -> Labels:
        """Draw the shapes of an image of a size; what cannot be drawn is left out and counted."""
        labels = Labels()
        index = {name: place for place, name in enumerate(self.names)} | {"background": 0}
        regions: list[tuple[Shape, Crop]] = []
        for position, shape in enumerate(image.shapes, 1):
            place = f"{image.place}, shape {position} ({shape.kind} {shape.label})".replace(
                " )", ")"
            )
            if shape.kind == "tag":
                self._add_tag(shape, index, labels, place, reading)
            elif shape.kind in ("polygon", "mask", "ignore") or (
                shape.kind == "box" and self.fill_boxes
            ):
                crop = shape.region(height, width)
                if crop.pixels.any():
                    regions.append((shape, crop))
                else:
                    reading.leave_out(f"{shape.kind} without a pixel in the image", place)
            elif shape.kind == "box":
                self._add_box(shape, height, width, labels, place, reading)
            else:
                self._add_line(shape, height, width, labels, place, reading)
        # The order of the tool; what is ignored lies lowest.
        regions.sort(key=lambda pair: (pair[0].kind != "ignore", pair[0].z))
        if regions:
            labels.mask = self._mask(regions, index, height, width, labels)
            # An image with sparse labels is trained on these alone: they have its regions too.
            if self.sparse or labels.boxes:
                drawn = [self._polygon(shape, crop) for shape, crop in regions if shape.label]
                if self.sparse and self.rest == "background":
                    drawn.insert(0, self._rest_of(labels.mask))
                labels.shapes = drawn + labels.shapes
        first = {self.names[0], "background", ""}
        labels.drawn = {shape.label for shape, _ in regions} - first
        entries = itertools.chain(labels.boxes, labels.points)
        labels.drawn |= ({entry[0] for entry in entries} | _strokes(labels)) - first
        return labels

    def _add_tag(
        self, shape: Shape, index: Mapping[str, int], labels: Labels, place: str, reading: Reading
    ) -> None:
        if index.get(shape.label, 0) > 0:
            labels.tags.add(shape.label)
        else:
            reading.leave_out(f"tag {shape.label!r}, which is no class", place, drawn=False)

    def _add_box(
        self, shape: Shape, height: int, width: int, labels: Labels, place: str, reading: Reading
    ) -> None:
        assert shape.box is not None
        x0, x1 = (float(np.clip(x, 0, width)) for x in sorted(shape.box[::2]))
        y0, y1 = (float(np.clip(y, 0, height)) for y in sorted(shape.box[1::2]))
        if (x1 - x0) * (y1 - y0) < 1:
            reading.leave_out("box of less than a pixel in the image", place)
        elif shape.label == "background":
            reading.leave_out("box of background", place, drawn=False)
        else:
            labels.boxes.append((shape.label, x0, y0, x1, y1))

    def _add_line(
        self, shape: Shape, height: int, width: int, labels: Labels, place: str, reading: Reading
    ) -> None:
        points = np.reshape(shape.points, (-1, 2))
        low, high = points.min(0), points.max(0)
        is_outside = bool((high < 0).any() or (low > (width, height)).any())
        if shape.kind == "stroke" and ((low < 0).any() or (high > (width, height)).any()):
            # It may pass by the image, or touch it with its width alone.
            is_outside = not self._marks(points, height, width)
        if is_outside:
            reading.leave_out(f"{shape.kind} outside the image", place)
            return
        name = self.names[0] if shape.label == "background" else shape.label
        if shape.kind == "point":
            labels.points.append((name, float(points[0, 0]), float(points[0, 1])))
        else:
            stroke = {"class": name, "stroke": points.tolist(), "width": self.stroke_width}
            labels.shapes.append(stroke)

    def _marks(self, points: Points, height: int, width: int) -> bool:
        """Whether a stroke has a pixel in the image, drawn as `draw_strokes` does."""
        canvas, half = Image.new("1", (width, height)), self.stroke_width / 2
        draw, joints = ImageDraw.Draw(canvas), [(x, y) for x, y in points.tolist()]
        draw.line(joints, 1, self.stroke_width, joint="curve")
        for x, y in joints:
            draw.ellipse((x - half, y - half, x + half, y + half), 1)
        return canvas.getbbox() is not None

    def _mask(
        self,
        regions: list[tuple[Shape, Crop]],
        index: Mapping[str, int],
        height: int,
        width: int,
        labels: Labels,
    ) -> UInt8Array:
        mask = np.full((height, width), _NOTHING, np.uint8)
        for shape, (top, left, inside) in regions:
            view = mask[top : top + inside.shape[0], left : left + inside.shape[1]]
            value = IGNORE_INDEX if shape.kind == "ignore" else index[shape.label]
            if 0 < value < _NOTHING:
                # A background polygon on top is a hole, and no contradiction.
                counts = np.bincount(view[inside], minlength=256)
                for other in np.flatnonzero(counts[1:_NOTHING]) + 1:
                    if other != value:
                        first, second = sorted((self.names[other], self.names[value]))
                        labels.overlaps[first, second] += int(counts[other])
            view[inside] = value
        # A box says that something is there, not where.
        for _, x0, y0, x1, y1 in labels.boxes:
            view = mask[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
            view[view == _NOTHING] = IGNORE_INDEX
        mask[mask == _NOTHING] = 0 if self.rest == "background" else IGNORE_INDEX
        return mask

    def _rest_of(self, mask: UInt8Array) -> dict[str, Any]:
        """Background that lies below all other shapes, but for what is unknown in a mask."""
        whole = box_ring((0, 0, mask.shape[1], mask.shape[0]))
        rings = [whole, *mask_polygons(mask == IGNORE_INDEX, 0)]
        return {"class": self.names[0], "polygon": [ring.tolist() for ring in rings]}

    def _polygon(self, shape: Shape, crop: Crop) -> dict[str, Any]:
        name = self.names[0] if shape.label == "background" else shape.label
        if shape.points is not None:
            rings = shape.points
        else:
            rings = [
                ring + np.array([crop.left, crop.top]) for ring in mask_polygons(crop.pixels, 0)
            ]
        return {"class": name, "polygon": [np.asarray(ring).tolist() for ring in rings]}


def _strokes(labels: Labels) -> set[str]:
    return {entry["class"] for entry in labels.shapes}
