"""What a data set has of strokes, points, polygons and boxes, class by class."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.shape_files import Kind
from wsss_zoo.data.reading.sparse_files import SparseFiles
from wsss_zoo.data.reading.tag_files import Tags
from wsss_zoo.data.supervision.possible import KnownPixels
from wsss_zoo.data.supervision.sparse_labels import LabelReader, report_conflict
from wsss_zoo.files.text import Report


@dataclass(frozen=True)
class SparseCounts:
    """Sparse labels of a data set.

    Args:
        images: Images with any, by id.
        shapes: Number of shapes by class name and kind.
        pixels: Labelled pixels by class index, (256,), the middles and outsides of boxes included;
            255: not labelled.
        contradictions: Pixels that two classes claim, by image id.
    """

    images: frozenset[str] = frozenset()
    shapes: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    contradictions: dict[str, int] = field(default_factory=dict)


def count_sparse_labels(
    data: BaseDataModule, sizes: Mapping[str, tuple[int, int]], tags: Tags, report: Report
) -> SparseCounts | None:
    """Draw the sparse labels of images of known sizes (H, W), and count them.

    Labels of classes that complete tags do not name are reported, if training refuses them.

    None if the data set has no files of sparse labels.
    """
    labels = data.open_sparse_labels(report)
    if not isinstance(labels, SparseFiles) or not (labels.maps.masks or labels.shapes):
        return None
    # As training reads them, so that the same is refused.
    reader = LabelReader(data.source, labels, frozenset(), data.complete_boxes, data.background)
    shapes: Counter[tuple[str, Kind]] = Counter()
    pixels, contradictions = np.zeros(256, dtype=np.int64), {}
    known = [image_id for image_id in sizes if image_id in labels]
    for image_id in known:
        shapes.update((shape.name, shape.kind) for shape in labels.shapes.get(image_id, []))
        try:
            label = reader.read(image_id, sizes[image_id], report)
            _check_tags(data, image_id, label, tags)
        except (OSError, ValueError) as error:
            report(str(error))
            continue
        pixels += np.bincount(label.mask.ravel(), minlength=256)
        if label.contradictions:
            contradictions[image_id] = label.contradictions
    return SparseCounts(frozenset(known), shapes, pixels, contradictions)


def _check_tags(data: BaseDataModule, image_id: str, label: KnownPixels, tags: Tags) -> None:
    """Do what training does where tags and labels contradict each other."""
    if image_id not in tags or not data.complete_tags or data.tag_conflicts != "error":
        return
    found = {*np.unique(label.mask).tolist(), *label.box_classes}
    names = [n for i, n in enumerate(data.class_names) if i in found and n in data.fg_names]
    extra = [name for name in names if name not in tags[image_id]]
    if extra:
        report_conflict(image_id, extra, tags[image_id], "error")
