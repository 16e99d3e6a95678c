"""Lists of image ids: read from files, or a labelled part drawn from a seed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem, read_text

_ATTEMPTS = 1000


def read_split(path: Path, report: Report = raise_problem) -> list[str]:
    """Read the ids of a list file, one a line, in its order.

    What follows a tab is left out. A byte-order mark and Windows line ends are accepted; accented
    letters count as equal however they are encoded. A line that cannot be used is reported and left
    out: an id that stands there twice, or leads out of the folder of the images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"split list {path} is missing")
    lines = (normalise(line.split("\t")[0]) for line in read_text(path).split("\n"))
    times = Counter(line for line in lines if line)
    if not times:
        report(f"split list {path} is empty; write one image id a line")
    for image_id, count in times.items():
        if count > 1:
            report(f"split list {path} has {image_id!r} more than once; delete the repetition")
        problem = id_problem(image_id)
        if problem:
            report(
                f"split list {path}: id {image_id!r} {problem}; a line is the id of one image, no "
                "path: correct or delete it"
            )
    return [image_id for image_id in times if id_problem(image_id) is None]


def write_split(path: Path, image_ids: Sequence[str]) -> None:
    """Write a list file that `read_split` reads, its folder too."""
    write_atomic(path, "".join(f"{image_id}\n" for image_id in image_ids))


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
    needed = labels.any(0)
    rng = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        chosen = rng.permutation(order)[:count]
        if (labels[chosen].any(0) == needed).all():
            return [ids[index] for index in chosen]
    raise ValueError(
        f"no draw of {count} of {len(ids)} images (labeled_split {fraction}, seed {seed}) has all "
        f"{int(needed.sum())} classes; take a larger fraction or a list file"
    )
