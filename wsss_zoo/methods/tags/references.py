"""Reference images that stand for a class when another image is localised."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.modules import CoAttentionBlock


class Reference(NamedTuple):
    """What is kept of a reference image.

    Args:
        features: Feature map, (1, C, h, w).
        maps: Raw class maps of it, (1, K, h, w).
    """

    features: Tensor
    maps: Tensor


class References:
    """So many images of each class, the same for every image that is localised.

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
        self._kept: dict[str, Reference] = {}

    def needed(self) -> list[str]:
        """Ids of all reference images, each once."""
        return sorted({image_id for ids in self.ids for image_id in ids})

    def keep(self, image_id: str, reference: Reference) -> None:
        """Remember the feature map of one of them."""
        self._kept[image_id] = reference

    def of(self, label: int, image_id: str) -> list[str]:
        """Ids of the at most R references of a class for an image, which is none of them."""
        return [other for other in self.ids[label] if other != image_id][: self.count]

    def gather(
        self, features: Tensor, attention: CoAttentionBlock, label: int, image_id: str
    ) -> Tensor | None:
        """What an image gathers from the maps of a class in each of its references.

        Args:
            features: Feature maps of views of the image, (N, C, h, w).
            attention: Compares them.
            label: Index of the foreground class.
            image_id: The image, which is not its own reference.

        Returns:
            Raw scores by position, (R, N, h, w); None if the class has no other image.
        """
        ids = self.of(label, image_id)
        if not ids:
            return None
        views, w_p = len(features), attention.affinity()
        gathered = [
            attention.gather(
                features,
                kept.features.expand(views, -1, -1, -1),
                w_p,
                kept.maps[:, label : label + 1].expand(views, -1, -1, -1),
            )
            for kept in map(self._kept.__getitem__, ids)
        ]
        return torch.stack(gathered)[:, :, 0]

    def record(self, class_names: Sequence[str]) -> dict[str, list[str]]:
        """Ids by class name, for the manifest."""
        return dict(zip(class_names, self.ids, strict=True))
