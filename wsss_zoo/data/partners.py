"""Which image goes with which: partners by shared image-level labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class PairPartners:
    """Partner images that share at least one class (co-attention, ECCV 2020).

    One of the image's classes is drawn uniformly, then one of the *other* images with that class. A
    class that no other image has is left out of the draw; an image all of whose classes are its own
    only is its own partner (under another augmentation). The released code draws among all images
    with the class, the image itself included.

    Args:
        labels: Tags, (images, K), 0 or 1.
        image_ids: Their ids, for messages.

    Raises:
        ValueError: If an image has no tag at all.
    """

    def __init__(self, labels: NDArray[np.uint8], image_ids: Sequence[str]) -> None:
        untagged = np.flatnonzero(labels.sum(1) == 0)
        if len(untagged):
            raise ValueError(
                f"image {image_ids[untagged[0]]} has none of the classes, so it has no partner; "
                "take it off the split list"
            )
        self._classes = [np.flatnonzero(row) for row in labels]
        self._images = [np.flatnonzero(column) for column in labels.T]

    def draw(self, index: int, rng: np.random.Generator) -> int:
        """Index of the partner of image ``index``."""
        shared = [c for c in self._classes[index] if len(self._images[c]) > 1]
        if not shared:
            return index
        return _draw_other(self._images[shared[rng.integers(len(shared))]], index, rng)


class WeakShotPartners:
    """Reference images of weak-shot training, chosen from tags only.

    Uniform over the other images that share a novel class and a base class; where there is none,
    over those that share a novel class; else a base class; else over all others. The image itself
    only if it is the only one. SimFormer's released lists leave images with a single novel class
    without a partner for it; these do not.

    Args:
        labels: Tags of all foreground classes, (images, K), 0 or 1.
        novel: Which of the K classes are novel, (K,) bool.
    """

    def __init__(self, labels: NDArray[np.uint8], novel: NDArray[np.bool_]) -> None:
        self._novel = labels.astype(bool) & novel
        self._base = labels.astype(bool) & ~novel

    def candidates(self, index: int) -> NDArray[np.intp]:
        """Indices of the images that may be the reference of image ``index``."""
        shares_novel = (self._novel & self._novel[index]).any(1)
        shares_base = (self._base & self._base[index]).any(1)
        everyone = np.ones(len(shares_novel), dtype=bool)
        for allowed in (shares_novel & shares_base, shares_novel, shares_base, everyone):
            allowed[index] = False
            if allowed.any():
                return np.flatnonzero(allowed)
        return np.array([index])

    def draw(self, index: int, rng: np.random.Generator) -> int:
        """Index of the reference of image ``index``."""
        return int(rng.choice(self.candidates(index)))


def _draw_other(images: NDArray[np.intp], index: int, rng: np.random.Generator) -> int:
    """One of the sorted ``images`` but not ``index``, which is among them."""
    place = int(rng.integers(len(images) - 1))
    return int(images[place + (place >= np.searchsorted(images, index))])
