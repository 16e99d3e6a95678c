"""Sparse labels of images: maps in files, and shapes drawn over them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.reading.class_files import ClassFile, find_class_file, read_class_file
from wsss_zoo.data.reading.color_masks import ColorMaskFiles, ColorTable
from wsss_zoo.data.reading.image_files import ImageFiles, size_problem
from wsss_zoo.data.reading.shape_files import SHAPE_FILES, Shape, read_shape_files
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array, readable_suffixes
from wsss_zoo.files.listing import ids_by_name, list_files
from wsss_zoo.files.shapes.outlines import polygon_mask
from wsss_zoo.files.text import Report, raise_problem
from wsss_zoo.functional.sparse.drawing import box_mask, disc_mask, draw_strokes

BoolArray = NDArray[np.bool_]
#: Radius of the disc that a point stands for. Smaller ones vanish from crops that are shrunk.
POINT_RADIUS = 2


class SparseLabel(NamedTuple):
    """What is known of the pixels of one image.

    Boxes stand beside the map, as they only say where a class is possible.
    """

    #: Class index per pixel, (H, W), 255 where none is known.
    mask: UInt8Array
    #: Where something is drawn, (H, W), classes that are not in use and contradictions included.
    drawn: BoolArray
    #: Boxes x0, y0, x1, y1, (R, 4), and their class indices, (R,); 255: a class not in use.
    boxes: NDArray[np.float64]
    box_classes: NDArray[np.int64]
    #: Number of pixels that strokes or points of two classes claim; they are 255.
    contradictions: int = 0


class SparseSource(Protocol):
    """Reads sparse labels; light enough to be sent to loader workers."""

    def __contains__(self, image_id: object) -> bool:
        """Say whether an image has any sparse label."""

    def read(self, image_id: str, size: tuple[int, int], report: Report) -> SparseLabel:
        """Draw the labels of an image of a size (H, W); unusable shapes are reported."""


@dataclass(frozen=True)
class SparseFiles:
    """Sparse labels on disk.

    Args:
        maps: Files of maps as masks, by image id.
        shapes: Shapes by image id.
        indices: Class index by name; 255 for a class that is not in use.
    """

    maps: ImageFiles
    shapes: Mapping[str, list[Shape]]
    indices: Mapping[str, int]

    def __contains__(self, image_id: object) -> bool:
        """Say whether an image has a map or a shape."""
        return image_id in self.maps.masks or bool(self.shapes.get(str(image_id)))

    def read(
        self, image_id: str, size: tuple[int, int], report: Report = raise_problem
    ) -> SparseLabel:
        """Draw the labels of an image: the map, polygons in order, then strokes and points.

        Pixels that strokes or points of two classes claim are 255. A shape that leaves the image is
        cut off; one that has no pixel is reported.
        """
        mask = self._map(image_id, size, report)
        drawn = mask != IGNORE_INDEX
        mask[mask == _UNUSED] = IGNORE_INDEX
        shapes = self.shapes.get(image_id, [])
        for shape in shapes:
            if shape.kind == "polygon":
                inside = polygon_mask(shape.rings, *size)
                self._check(bool(inside.any()), shape, size, report)
                mask[inside], drawn[inside] = self.indices[shape.name], True
        claims = np.zeros(size, dtype=np.uint8)
        for index in dict.fromkeys(self.indices[s.name] for s in shapes if s.kind in _THIN):
            thin = [s for s in shapes if s.kind in _THIN and self.indices[s.name] == index]
            marked = np.zeros(size, dtype=bool)
            for shape in thin:
                inside = _thin_mask(shape, size)
                self._check(bool(inside.any()), shape, size, report)
                marked |= inside
            claims += marked
            mask[marked], drawn[marked] = index, True
        mask[claims > 1] = IGNORE_INDEX
        boxes = [shape for shape in shapes if shape.kind == "box"]
        boxes = [box for box in boxes if self._check(_is_box(box, size), box, size, report)]
        corners = np.array([_corners(box, size) for box in boxes], np.float64).reshape(-1, 4)
        classes = np.array([self.indices[box.name] for box in boxes], dtype=np.int64)
        return SparseLabel(mask, drawn, corners, classes, int((claims > 1).sum()))

    def _map(self, image_id: str, size: tuple[int, int], report: Report) -> UInt8Array:
        mask = self.maps.read_mask(image_id)
        if mask is not None and mask.shape == size:
            return mask
        if mask is not None:
            path = self.maps.masks[image_id]
            report(size_problem(path, mask.shape, f"image {image_id}", size))
        return np.full(size, IGNORE_INDEX, dtype=np.uint8)

    @staticmethod
    def _check(found: bool, shape: Shape, size: tuple[int, int], report: Report) -> bool:
        if found:
            return True
        report(
            f"{shape.origin}: the {shape.kind} has no pixel of the image, which is "
            f"{size[1]}x{size[0]} (width x height); it lies outside or is smaller than a pixel: "
            "correct or delete it (coordinates are pixels, 0, 0 is the top left corner)"
        )
        return False


def no_sparse_labels() -> SparseFiles:
    """Make a source without any label."""
    return SparseFiles(ImageFiles({}, {}, []), {}, {})


def open_sparse_files(
    folder: Path,
    *,
    images: Mapping[str, str],
    known_classes: Sequence[str],
    class_names: Sequence[str],
    colors: Mapping[tuple[int, int, int], int] | None = None,
    root: Path | None = None,
    report: Report = raise_problem,
) -> SparseFiles:
    """Find the sparse labels in a folder: ``sparse/`` and what `read_shape_files` reads.

    A ``classes.txt`` (or ``.json``) in it says what the values of its maps mean, as in a `Folder`.
    Without one they are those of the data set's masks.

    Args:
        folder: The folder.
        images: Paths of the images by id.
        known_classes: All class names of the data set, by the index in its masks.
        class_names: Names of the classes in use, by class index.
        colors: Colours of the data set's masks, if these have some: indices among all classes.
        root: Folder that symbolic links must not lead out of; None lets them lead anywhere.
        report: What to do with what cannot be used; it is then left out.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If the folder has another class than the data set.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing; expected a folder with sparse/<id>.png, {', '.join(SHAPE_FILES)}"
        )
    path = find_class_file(folder)
    of_data = ClassFile(list(known_classes), dict(colors or {}))
    own = read_class_file(path) if path.is_file() else of_data
    unknown = [name for name in own.names if name not in known_classes]
    if unknown:
        raise ValueError(
            f"{path} has the class {unknown[0]!r}, which is none of {', '.join(known_classes)}; "
            "give the classes the names of the data set"
        )
    place = {name: index for index, name in enumerate(class_names)}
    indices = {name: place.get(name, IGNORE_INDEX) for name in known_classes}
    found = list_files(folder / "sparse", readable_suffixes(), root=root, report=report)
    for image_id in [image_id for image_id in found.files if image_id not in images]:
        report(f"{found.files[image_id]} has no image of the same name; rename or remove it")
    maps = {image_id: file for image_id, file in found.files.items() if image_id in images}
    index_map = [place.get(name, _UNUSED) for name in own.names]
    files = (
        ColorMaskFiles({}, maps, index_map, table=ColorTable(own.colors))
        if own.colors
        else ImageFiles({}, maps, index_map)
    )
    shapes = read_shape_files(folder, known_classes, report, ids_by_name(dict(images)))
    return SparseFiles(files, shapes, indices)


_THIN = ("stroke", "point")
# What maps hold for classes that are not in use, while they are read: drawn, and no class. Of 254
# classes that masks can hold at least one is not in use then.
_UNUSED = 253


def _thin_mask(shape: Shape, size: tuple[int, int]) -> BoolArray:
    if shape.kind == "point":
        return disc_mask(*shape.points[0], POINT_RADIUS, size)
    inside: BoolArray = draw_strokes([shape.points], [0], size, shape.width) == 0
    return inside


def _corners(box: Shape, size: tuple[int, int]) -> list[float]:
    """Cut a box off at the borders of the image, (H, W): x0, y0, x1, y1.

    A thin one between the centres of pixels is widened to whole pixels.
    """
    (x0, x1), (y0, y1) = (
        sorted(min(max(point[axis], 0.0), float(size[1 - axis])) for point in box.points)
        for axis in (0, 1)
    )
    if not box_mask([x0, y0, x1, y1], size).any():
        return [*map(math.floor, (x0, y0)), *map(math.ceil, (x1, y1))]
    return [x0, y0, x1, y1]


def _is_box(box: Shape, size: tuple[int, int]) -> bool:
    """Say whether a box has an area of one pixel at least within the image, (H, W)."""
    (x0, y0), (x1, y1) = box.points
    width, height = (
        min(max(ends), side) - max(min(ends), 0)
        for ends, side in (((x0, x1), size[1]), ((y0, y1), size[0]))
    )
    return min(width, height) > 0 and width * height >= 1
