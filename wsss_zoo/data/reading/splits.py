"""Lists of image ids in files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem, read_text


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
