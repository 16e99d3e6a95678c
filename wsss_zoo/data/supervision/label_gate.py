"""What sparse labels, boxes and tags allow in predictions of their own images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.supervision.possible import possible_pixels
from wsss_zoo.data.supervision.sparse_labels import LabelReader, possible_classes, survey_labels
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array


@dataclass(frozen=True)
class LabelGate:
    """Says which classes each pixel of an image may have.

    Args:
        labels: Reads the labels of pixels.
        allowed: Possible classes, (C,) bool, by image id; all for the other images.
        num_classes: Number of classes C.
    """

    labels: LabelReader
    allowed: Mapping[str, NDArray[np.bool_]]
    num_classes: int

    def read(self, image_id: str, size: tuple[int, int]) -> dict[str, Tensor]:
        """Find what the labels of an image of a size (H, W) say, as an `EvaluationBatch` has it.

        Returns:
            ``possible``, (C, H, W) bool: the classes that a pixel may have. In the middle of a box
            these are the classes of its boxes and the background. ``likely``: the same, but there
            the class of the box alone, as in training.
        """
        known = self.labels.read(image_id, size)
        mask = known.mask
        allowed = self.allowed.get(image_id, np.ones(self.num_classes, dtype=bool))

        def classes(mask: UInt8Array) -> Tensor:
            return possible_pixels(
                torch.from_numpy(mask),
                known.boxes,
                allowed,
                background=self.labels.background,
                cut=torch.from_numpy,
            )

        likely = classes(mask)
        if known.drawn is None:
            return {"possible": likely, "likely": likely}
        return {"possible": classes(np.where(known.drawn, mask, IGNORE_INDEX)), "likely": likely}


def make_label_gate(
    images: Catalog, options: TrainingOptions, image_ids: Sequence[str]
) -> LabelGate:
    """Check the labels of images; ValueError if nothing is known of any of them."""
    masked, sparse = frozenset(images.mask_labeled_ids()), images.sparse_labels
    labeled = [i for i in image_ids if i in masked or i in sparse]
    tags = {} if images.tags_show_masks else images.labels_of(image_ids, from_masks=False)
    if not labeled and not (tags and options.complete_tags):
        raise ValueError(
            f"evaluation.gate_by_labels: none of the {len(image_ids)} images to predict has a "
            "sparse label (--data.sparse_dir, or in a Folder sparse/, shapes.json, boxes.csv or "
            "points.csv); predict images that have one, or leave the option out"
        )
    reader = LabelReader(images.source, sparse, masked, options.complete_boxes, images.background)
    # What is labelled nowhere is known of the training images, not of those to predict.
    known = [i for i in images.train_ids() if i in masked or i in sparse]
    found = survey_labels(reader, list(dict.fromkeys([*known, *labeled])), images.class_names)
    allowed = possible_classes(images, options, found, tags, image_ids, masked)
    return LabelGate(reader, allowed, images.num_classes)
