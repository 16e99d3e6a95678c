"""Small islands of a prediction, which a person would have to delete one by one."""

import numpy as np
from scipy import ndimage

from wsss_zoo.files.decoding import UInt8Array

# Share of an image's pixels below which a connected area of a class is a speck.
_SPECK = 0.001


def without_specks(mask: UInt8Array, share: float = _SPECK) -> UInt8Array:
    """Give small connected areas the class of the nearest pixel of a large one.

    Areas are connected over edges, not corners. A mask of specks alone stays as it is.

    >>> without_specks(np.array([[0, 0, 0], [0, 2, 0], [0, 0, 3]], np.uint8), 0.3).max()
    np.uint8(0)

    Args:
        mask: Class index per pixel, (H, W).
        share: Share of the pixels below which an area is a speck, in [0, 1].
    """
    small = np.zeros(mask.shape, dtype=bool)
    for value in np.unique(mask):
        areas, _ = ndimage.label(mask == value)
        sizes = np.bincount(areas.ravel())
        sizes[0] = mask.size  # the pixels of other classes
        small |= sizes[areas] < share * mask.size
    if small.all() or not small.any():
        return mask
    _, (rows, columns) = ndimage.distance_transform_edt(small, return_indices=True)
    nearest: UInt8Array = mask[rows, columns]
    return nearest
