"""The images whose masks may be used, sampled as a fraction."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 1000


def sample_labeled_split(
    ids: Sequence[str], labels: NDArray[np.uint8], fraction: float, seed: int
) -> list[str]:
    """Sample a share, in (0, 1], of the ids in which every class occurs.

    The sorted ids are shuffled by the seed until the first part has every class of the whole: the
    same list on every machine. ``labels`` are their tags, (images, K). ValueError if the fraction
    is out of range, or no shuffle has every class.

    It is none of the published lists, to which results of papers refer. Those are files, given by
    their path:

    - "1/8" of VOC's train_aug is one list in CPS and UniMatch (``1_8``), a second in U2PL
      (``u2pl_1_8``, images of train first: some 3 to 4 points of mIoU more) and a third in ST++
      (``1_8/split_0``).
    - The lists of 92, 183 and 366 images are the same in PseudoSeg, CPS, ST++ and UniMatch; 732
      differs between CPS and UniMatch.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"labeled_split as a fraction must be in (0, 1], but got {fraction}")
    order = np.argsort(np.array(ids, dtype=object))
    count = max(1, round(fraction * len(ids)))
    chosen = _draw(order, labels, count, seed)
    if chosen is not None:
        return [ids[index] for index in chosen]
    enough = count
    while enough < len(ids) and _draw(order, labels, enough, seed) is None:
        enough = min(2 * enough, len(ids))
    # Rounded up, so that it is no image fewer.
    larger = np.ceil(1000 * enough / len(ids)) / 1000
    raise ValueError(
        f"no draw of {count} of {len(ids)} images (labeled_split {fraction}, seed {seed}) has all "
        f"{int(labels.any(0).sum())} classes; take a larger fraction (labeled_split {larger:g} has "
        f"them in {enough} images) or a list file"
    )


def _draw(
    order: NDArray[np.intp], labels: NDArray[np.uint8], count: int, seed: int
) -> NDArray[np.intp] | None:
    """Shuffle until the first ``count`` images have every class; None if that never happens."""
    needed = labels.any(0)
    rng = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        chosen = rng.permutation(order)[:count]
        if (labels[chosen].any(0) == needed).all():
            return chosen
    return None
