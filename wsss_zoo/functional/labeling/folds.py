"""Folds of images, in each of which every class occurs about as often."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def assign_folds(image_labels: ArrayLike, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Assign images to folds of equal size in which classes are spread evenly.

    Images are taken class by class, the rarest first. Each goes into the fold that has fewest of
    the class, of these the smallest, of these one by chance; no fold gets more than its share.

    Args:
        image_labels: Which classes an image shows, (N, K); above 0 means present.
        folds: Number of folds, in [2, N].
        seed: Of the order and of chance.

    Returns:
        Fold of each image, (N,) in [0, folds); sizes differ by one at most.

    Sechidis et al., "On the Stratification of Multi-label Data", ECML PKDD 2011, in short: classes
    are ranked once.

    >>> assign_folds([[1], [1], [0], [0]], 2).tolist() in ([0, 1, 0, 1], [0, 1, 1, 0])
    True
    """
    shown = np.asarray(image_labels) > 0
    if shown.ndim != 2:
        raise ValueError(f"image_labels has shape {shown.shape}; give (N, K)")
    if not 2 <= folds <= len(shown):
        raise ValueError(f"folds is {folds} for {len(shown)} images; give a number from 2 to that")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(shown))
    found = np.full(len(shown), -1)
    rest, sizes = len(shown) % folds, np.zeros(folds, dtype=np.int64)
    most = len(shown) // folds
    rarest_first = np.argsort(shown.sum(0), kind="stable")
    groups = [order[shown[order, k]] for k in rarest_first] + [order]
    for group in groups:
        counts = np.zeros(folds)
        for image in group[found[group] >= 0]:
            counts[found[image]] += 1
        for image in group[found[group] < 0]:
            # So many folds may have one image more than the others.
            larger = int((sizes > most).sum())
            full = sizes >= most + (larger < rest)
            keys = np.where(full, np.inf, counts * (len(shown) + 1) + sizes)
            best = np.flatnonzero(keys == keys.min())
            fold = int(best[0] if len(best) == 1 else generator.choice(best))
            found[image] = fold
            counts[fold] += 1
            sizes[fold] += 1
    return found
