"""Lists of image ids: read from files, or a labelled part drawn from a seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DRAWS = 1000


def read_split(path: Path) -> list[str]:
    """Ids of a list file, one a line (VOC's ``id flag`` lines: the first word), in its order.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it holds no id, or one twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"split list {path} is missing")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    ids = [line.split("\t")[0].strip() for line in lines if line.strip()]
    if not ids:
        raise ValueError(f"split list {path} is empty; write one image id a line")
    if len(set(ids)) != len(ids):
        twice = next(image_id for image_id in ids if ids.count(image_id) > 1)
        raise ValueError(f"split list {path} has {twice!r} more than once; delete the repetition")
    return ids


def draw_labeled_split(
    ids: Sequence[str], labels: NDArray[np.uint8], fraction: float, seed: int
) -> list[str]:
    """Draw a share of the ids in which every class occurs.

    The sorted ids are shuffled by the seed, again until the first part has every class that the
    whole
    has: the same list on every machine.

    Args:
        ids: Image ids.
        labels: Their tags, (images, K).
        fraction: Share to keep, in (0, 1].
        seed: Seed of the shuffle.

    Raises:
        ValueError: If the fraction is out of range, or no draw has every class.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"labeled_split as a fraction must be in (0, 1], but got {fraction}")
    order = np.argsort(np.array(ids, dtype=object))
    count = max(1, round(fraction * len(ids)))
    needed = labels.any(0)
    rng = np.random.default_rng(seed)
    for _ in range(_DRAWS):
        chosen = rng.permutation(order)[:count]
        if (labels[chosen].any(0) == needed).all():
            return [ids[index] for index in chosen]
    raise ValueError(
        f"no draw of {count} of {len(ids)} images (labeled_split {fraction}, seed {seed}) has all "
        f"{int(needed.sum())} classes; take a larger fraction or a list file"
    )
