"""What a data set has of strokes, points, polygons and boxes, class by class."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.shape_files import Kind
from wsss_zoo.data.reading.sparse_files import SparseFiles
from wsss_zoo.files.text import Report

KINDS: tuple[Kind, ...] = ("stroke", "point", "polygon", "box")


@dataclass(frozen=True)
class SparseCounts:
    """Sparse labels of a data set.

    Args:
        images: Images with any, by id.
        shapes: Number of shapes by class name and kind.
        pixels: Labelled pixels by class index, (256,); 255: not labelled.
        contradictions: Pixels that two classes claim, by image id.
    """

    images: frozenset[str] = frozenset()
    shapes: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    contradictions: dict[str, int] = field(default_factory=dict)


def count_sparse_labels(
    data: BaseDataModule, sizes: Mapping[str, tuple[int, int]], report: Report
) -> SparseCounts | None:
    """Draw the sparse labels of images of known sizes (H, W), and count them.

    None if the data set has no files of sparse labels.
    """
    labels = data.open_sparse_labels(report)
    if not isinstance(labels, SparseFiles) or not (labels.maps.masks or labels.shapes):
        return None
    shapes: Counter[tuple[str, Kind]] = Counter()
    pixels, contradictions = np.zeros(256, dtype=np.int64), {}
    known = [image_id for image_id in sizes if image_id in labels]
    for image_id in known:
        shapes.update((shape.name, shape.kind) for shape in labels.shapes.get(image_id, []))
        try:
            label = labels.read(image_id, sizes[image_id], report)
        except (OSError, ValueError) as error:
            report(str(error))
            continue
        pixels += np.bincount(label.mask.ravel(), minlength=256)
        if label.contradictions:
            contradictions[image_id] = label.contradictions
    return SparseCounts(frozenset(known), shapes, pixels, contradictions)
