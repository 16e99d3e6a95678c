"""Lists of image ids in files, in the forms in which data sets and papers publish them."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem, read_text

logger = logging.getLogger(__name__)

#: Finds the id of the image that a list names by id, file name or path; None if it names none.
FindId = Callable[[str], str | None]

_SUFFIXES = r"\.(?:jpe?g|png|tiff?|bmp|gif|webp)"
_PATH = re.compile(rf"(?:.*/)?([^/]+){_SUFFIXES}", re.IGNORECASE)
# An image and its mask, as in UniMatch and ST++; names may have spaces.
_PAIR = re.compile(rf"(.+?{_SUFFIXES})[\s,;]+(.+)", re.IGNORECASE)
# VOC's lists of a class: its objects are present, absent, or difficult ones only.
_FLAGGED = re.compile(r"(.+?)\s+(1|-1|0)")


def read_split(path: Path, report: Report = raise_problem, find: FindId | None = None) -> list[str]:
    """Read the ids of a list file, one a line, in its order.

    With ``find`` these forms are read, too:

    - the path of an image, and then of its mask: ``JPEGImages/ID.jpg SegmentationClass/ID.png``
      (UniMatch, ST++), after a tab (CPS) or alone (U2PL);
    - ``ID 1``, ``ID -1`` and ``ID 0``, VOC's lists of a class. Images with 1 are taken; the number
      of the others is logged.

    What else follows a tab is left out. A byte-order mark and Windows line ends are accepted;
    accented letters count as equal however they are encoded. A line that cannot be used is reported
    and left out: an id that stands there twice, leads out of the folder of the images, or is paired
    with the mask of another image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"split list {path} is missing")
    lines = (_columns(line) for line in read_text(path).split("\n"))
    times = Counter(line for line in lines if line[0])
    if not times:
        report(f"split list {path} is empty; write one image id a line")
    found: dict[str, str] = {}
    left_out = Counter[str]()
    for (name, partner), count in times.items():
        if count > 1:
            report(f"split list {path} has {name!r} more than once; delete the repetition")
        image_id, mask, flag = _parse(name, partner, find)
        problem = id_problem(image_id)
        if problem:
            report(
                f"split list {path}: id {image_id!r} {problem}; a line is the id of one image, no "
                "path: correct or delete it"
            )
        elif mask is not None and mask != image_id:
            report(
                f"split list {path} has image {image_id!r} with the mask {mask!r}; a mask has the "
                "name of its image: correct the line or rename the mask"
            )
        elif flag in ("-1", "0"):
            left_out[flag] += 1
        elif found.setdefault(image_id, name) != name:
            report(
                f"split list {path} names image {image_id!r} more than once, as "
                f"{found[image_id]!r} and {name!r}; delete one"
            )
    if left_out:
        text = "%s is a list of a class: its %d images with 1 are taken; %d with -1 and %d with 0"
        text += " (difficult objects only) are left out"
        logger.warning(text, path, len(found), left_out["-1"], left_out["0"])
    return list(found)


def name_in_path(name: str) -> str | None:
    """Take the file name without suffix out of an image's path; a plain name is returned as it is.

    None for what is neither: a name with white space, or a path that is no image's.

    >>> name_in_path("JPEGImages/2007_000032.jpg"), name_in_path("2007_000032")
    ('2007_000032', '2007_000032')
    >>> name_in_path("../2007_000032"), name_in_path("2007_000032 1")
    (None, None)
    """
    path = _PATH.fullmatch(name)
    # A path is only a name here: files are found by listing folders.
    stem = path[1] if path else name
    if path is None and id_problem(name) is not None:
        return None
    stem = stem.rpartition("/")[2]
    return None if re.search(r"\s", stem) else stem


def find_by_end(name: str, ids: Mapping[str, str]) -> str | None:
    """Find a name, or the end of an image's path with or without suffix, among ids by name.

    >>> find_by_end("JPEGImages/cats/a.jpg", {"cats/a": "cats/a"})
    'cats/a'
    """
    if name in ids or not _PATH.fullmatch(name):
        return ids.get(name)
    parts = name.split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    found = (ids.get(key) for end in ends for key in (end, end.rpartition(".")[0]))
    return next(filter(None, found), None)


def write_split(path: Path, image_ids: Sequence[str]) -> None:
    """Write a list file that `read_split` reads, its folder too."""
    write_atomic(path, "".join(f"{image_id}\n" for image_id in image_ids))


def _columns(line: str) -> tuple[str, str]:
    """What stands before and after the first tab."""
    name, _, rest = line.partition("\t")
    return normalise(name), normalise(rest.partition("\t")[0])


def _parse(name: str, partner: str, find: FindId | None) -> tuple[str, str | None, str]:
    """Id of a line's image, id of its mask (None without one) and flag; the name if unknown."""
    if find is None:
        return name, None, ""
    image_id, pair = find(name), _PAIR.fullmatch(name)
    if pair and image_id != name and _PATH.fullmatch(pair[2]) and find(pair[1]) is not None:
        image_id, partner = find(pair[1]), pair[2]
    if image_id is None:
        flagged = _FLAGGED.fullmatch(name)
        image_id = find(flagged[1]) if flagged else None
        if flagged is None or image_id is None:
            return name, None, ""
        return image_id, None, flagged[2]
    if partner in ("1", "-1", "0"):
        return image_id, None, partner
    return image_id, (find(partner) or partner) if _PATH.fullmatch(partner) else None, ""
