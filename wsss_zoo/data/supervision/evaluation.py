"""Evaluation batches: whole images, one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from wsss_zoo.contract import EvaluationBatch
from wsss_zoo.data.reading.image_files import ImageSource
from wsss_zoo.data.supervision.label_gate import LabelGate
from wsss_zoo.data.transforms.crops import (
    Labels,
    Position,
    index_and_visit,
    labels_from_mask,
    load_image,
)
from wsss_zoo.data.transforms.joint import to_float


@dataclass(eq=False)
class EvaluationImages(Dataset[EvaluationBatch]):
    """Whole images at native size, with masks and tags where there are any.

    An image without any ``tags`` gets those of its mask, by the number of foreground classes K and
    the index of the first of them. With a ``gate`` it also gets what its labels say.
    """

    ids: Sequence[str]
    source: ImageSource
    tags: Labels
    num_fg_classes: int
    first_fg: int
    gate: LabelGate | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: Position) -> EvaluationBatch:
        image_id = self.ids[index_and_visit(position)[0]]
        sample: EvaluationBatch = {
            "image": to_float(load_image(self.source, image_id).contiguous()),
            "image_id": image_id,
        }
        mask, tags = self.source.read_mask(image_id), self.tags.get(image_id)
        if mask is not None:
            sample["mask"] = torch.from_numpy(mask).long()
            if tags is None:
                tags = labels_from_mask(mask, self.num_fg_classes, self.first_fg)
        if tags is not None:
            sample["image_labels"] = torch.from_numpy(tags).float()
        if self.gate is not None:
            height, width = sample["image"].shape[-2:]
            known = self.gate.read(image_id, (height, width))
            sample["possible"], sample["likely"] = known["possible"], known["likely"]
        return sample
