"""Reference images that stand for a class when another image is localised."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.modules import CoAttentionBlock


class References:
    """Reference images of each class, the same for every image that is localised.

    Args:
        labels: Tags (K,) by image id, of the images to draw from.
        count: References of a class, R; one more is drawn where there is one.
        seed: Seed of the draw, which depends on nothing else.

    Raises:
        ValueError: If there is no image to draw from, or none of them has a class.
    """

    def __init__(self, labels: Mapping[str, NDArray[np.uint8]], count: int, seed: int) -> None:
        if not any(tags.any() for tags in labels.values()):
            raise ValueError(
                "multi_round needs tagged training images as references, and train_split has none; "
                "give it some, or set maps to 'single_round'"
            )
        rng = np.random.default_rng(seed)
        ids = np.array(list(labels), dtype=object)
        matrix = np.stack(list(labels.values()))
        self.count = count
        #: Ids by class, R + 1 of them where there are so many images.
        self.ids: list[list[str]] = []
        for column in matrix.T:
            having = ids[np.flatnonzero(column)]
            self.ids.append(rng.permutation(having)[: count + 1].tolist())
        #: Feature map (1, C, h, w) and raw class maps (1, K, h, w) of each.
        self.kept: dict[str, tuple[Tensor, Tensor]] = {}

    def needed(self) -> list[str]:
        """List the ids of all reference images, each once."""
        return sorted({image_id for ids in self.ids for image_id in ids})

    def of(self, label: int, image_id: str) -> list[str]:
        """List the at most R references of a class for an image, which is none of them."""
        return [other for other in self.ids[label] if other != image_id][: self.count]

    def gather(
        self, features: Tensor, attention: CoAttentionBlock, label: int, image_id: str
    ) -> Tensor | None:
        """Gather from the maps of a class in each reference of an image.

        Args:
            features: Feature maps of views of the image, (N, C, h, w).
            attention: Compares them with those of the references.
            label: Index of the foreground class.
            image_id: The image, which is not its own reference.

        Returns:
            Raw scores by position, (R, N, h, w); None if the class has no other image.
        """
        ids = self.of(label, image_id)
        if not ids:
            return None
        size, w_p, gathered = (len(features), -1, -1, -1), attention.affinity(), []
        for other, maps in map(self.kept.__getitem__, ids):
            values = maps[:, label : label + 1].expand(size)
            gathered.append(attention.gather(features, other.expand(size), w_p, values))
        return torch.stack(gathered)[:, :, 0]

    def record(self, class_names: Sequence[str]) -> dict[str, list[str]]:
        """Map class names to ids, for the manifest."""
        return dict(zip(class_names, self.ids, strict=True))
