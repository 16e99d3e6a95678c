"""Which image file an annotation is of, and its shapes in the upright image."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Crop, Points, Shape
from wsss_zoo.data.formats.image_index import ImageFile, ImageIndex, id_of
from wsss_zoo.data.formats.labelme import embedded_size
from wsss_zoo.files.shapes.outlines import BoolArray


@dataclass(frozen=True)
class Match:
    """An annotated image, its file (None where the annotations hold it) and its upright size."""

    image_id: str
    file: ImageFile | None
    height: int
    width: int


@dataclass
class Matcher:
    """Finds the files of annotated images, each once.

    Args:
        images: The image files.
    """

    images: ImageIndex
    #: Number of images by what was done about their EXIF orientation.
    turned: Counter[str] = field(default_factory=Counter)
    _places: dict[str, str] = field(default_factory=dict)

    def match(self, image: AnnotatedImage) -> Match:
        """Find the file, check the size, and turn the shapes upright, in place.

        ValueError if there is no file, two fit, another annotation has it, or the sizes differ.
        """
        file = self.images.find(image.names or (image.name,), loose=image.loose)
        if file is None and image.embedded is None:
            raise ValueError(
                f"image {image.name!r} is not in {self.images.root}"
                f"{self.images.hint(image.name)}; give the folder of the images (--images)"
            )
        image_id = id_of(image.name) if file is None else file.image_id
        other = self._places.get(image_id)
        if other is not None:
            where = "twice there" if other == image.place else f"in {other} too"
            raise ValueError(f"image {image_id!r} is annotated {where}; delete one of them")
        self._places[image_id] = image.place
        height, width = embedded_size(image) if file is None else file.size
        if image.height is None or image.width is None:
            image.height, image.width = height, width
        if file is None:
            self._check(image, height, width, image.place)
        else:
            self._turn(image, file)
        return Match(image_id, file, height, width)

    def _turn(self, image: AnnotatedImage, file: ImageFile) -> None:
        height, width = file.size
        declared = (image.height, image.width)
        if file.orientation > 1 and declared == (height, width):
            known = file.orientation > 4 and height != width and not image.fractions
            self.turned["known to be upright" if known else "taken as upright"] += 1
        elif file.orientation > 4 and declared == (width, height):
            image.shapes = [upright(s, file.orientation, width, height) for s in image.shapes]
            self.turned["turned with their photos"] += 1
        else:
            self._check(image, height, width, file.path)

    def _check(self, image: AnnotatedImage, height: int, width: int, path: str | Path) -> None:
        if (image.height, image.width) != (height, width):
            raise ValueError(
                f"it is for an image of {image.width}x{image.height} pixels (width x height), but "
                f"{path} has {width}x{height}; give the images that were annotated"
            )


def upright(shape: Shape, orientation: int, raw_height: int, raw_width: int) -> Shape:
    """Turn a shape as the EXIF orientations 5 to 8 turn an image of the raw size.

    Returns:
        A new shape, in an image of ``raw_width`` rows.
    """
    points = shape.points
    if shape.kind in ("polygon", "ignore") and points is not None:
        points = [_turn_points(ring, orientation, raw_height, raw_width) for ring in points]
    elif points is not None:
        flat = _turn_points(np.reshape(points, (-1, 2)), orientation, raw_height, raw_width)
        points = flat.reshape(np.shape(points))
    box = shape.box
    if box is not None:
        corners = _turn_points(np.reshape(box, (2, 2)), orientation, raw_height, raw_width)
        low, high = corners.min(0).tolist(), corners.max(0).tolist()
        box = (low[0], low[1], high[0], high[1])
    crop = shape.crop
    if crop is not None:
        top, left, pixels = crop
        far = (left + pixels.shape[1], top + pixels.shape[0])
        ends = np.array([(left, top), far], np.float64)
        low = _turn_points(ends, orientation, raw_height, raw_width).min(0).tolist()
        crop = Crop(int(low[1]), int(low[0]), _turn_pixels(pixels, orientation))
    size = None if shape.size is None else (shape.size[1], shape.size[0])
    return Shape(
        shape.kind, shape.label, points, None, box, shape.z, group=shape.group, crop=crop, size=size
    )


def _turn_points(points: Points, orientation: int, height: int, width: int) -> Points:
    x, y = points[:, 0], points[:, 1]
    turned = {5: (y, x), 6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x)}
    return np.stack(turned[orientation], 1)


def _turn_pixels(pixels: BoolArray, orientation: int) -> BoolArray:
    turned = {
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels, 1),
    }
    return turned[orientation]
