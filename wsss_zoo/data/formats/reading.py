"""What the readers of all annotation formats share: checks, messages, and what they find out."""

import base64
import binascii
import io
import json
import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Crop, Kind, Points, Shape
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.files.listing import list_files
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem, read_text

#: Names that stand for background and for pixels that do not count, in lower case.
BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__"})
IGNORED_NAMES = frozenset({"__ignore__", "ignore", "void"})

MAX_PIXELS = 1 << 28  # of an image; more would be a damaged number
_FARTHEST = 1e7  # pixels from the corner of an image
_shortener = reprlib.Repr()
_shortener.maxlevel = 2
_shortener.maxlist = _shortener.maxdict = 3
# What wrong content raises when it is taken for right content.
_WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, OSError)


class ReportedError(ValueError):
    """A problem that has been reported already."""


@dataclass
class Reading:
    """Options of a reader, and what it found out besides the images.

    Args:
        base: Folder of the annotations; nothing outside it is read.
        images: Finds the image files.
        report: What to do with an entry that cannot be used; it is then left out.
        scores: Whether lines of YOLO end with a confidence.
        annotator: Of Label Studio's annotators the one to take; None for the newest annotation.
        key: Name of the image among the data of Label Studio's tasks.
    """

    base: Path
    images: ImageIndex
    report: Report = raise_problem
    scores: bool = False
    annotator: str | None = None
    key: str | None = None
    #: Names of the classes in the tool's own order; empty where it has none.
    classes: list[str] = field(default_factory=list)
    #: Colours of the classes, where the tool's masks have some.
    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    #: Places of what is left out, by the reason.
    left_out: dict[str, list[str]] = field(default_factory=dict)
    #: Number of shapes among it.
    lost: int = 0
    #: What a user should know, once each.
    notes: dict[str, None] = field(default_factory=dict)

    def leave_out(self, reason: str, place: str, *, drawn: bool = True) -> None:
        """Count an entry that is left out; ``drawn`` means that it marks something."""
        self.left_out.setdefault(reason, []).append(place)
        self.lost += drawn

    def problem(self, text: str) -> None:
        """Report a problem; `ReportedError` if that raises."""
        try:
            self.report(text)
        except ValueError as error:
            raise ReportedError(str(error)) from error

    @contextmanager
    def entry(self, place: str) -> Iterator[None]:
        """Report what is wrong in an entry of a file, and go on behind the block."""
        try:
            yield
        except ReportedError:
            raise
        except _WRONG as error:
            self.problem(f"{place}: {_describe(error)}; correct or delete the entry")

    def files(self, suffix: str) -> list[tuple[str, Path]]:
        """List the files below the base by id; those of the results are left out."""
        listing = list_files(self.base, (suffix,), root=self.base, allow="", report=self.problem)
        found = ((image_id, Path(path)) for image_id, path in listing.files.items())
        return [(i, path) for i, path in found if not self.images.leaves_out(path)]

    def find_renamed(self, image: AnnotatedImage, name: str) -> None:
        """Look for the image by the name of its annotation file, if that inside is not there.

        Both may have been renamed together, in which case the name inside is the old one.
        """
        found = None if self.images.find(image.names) else self.images.find((name,))
        stems = {
            PurePosixPath(n).stem.casefold() for n in (image.name, found.name if found else "")
        }
        # One name in other capitals is no other name, and an error.
        if found and len(stems) > 1:
            self.images.renamed[f"{image.place} names {image.name!r}"] = found.name
            image.names = (name,)

    def add_classes(self, names: Iterable[str]) -> None:
        """Append classes to the tool's order; those that are there already stay where they are."""
        known = set(self.classes)
        for name in map(normalise, names):
            if name and name not in known and not is_special(name):
                self.classes.append(name)
                known.add(name)

    def shape(self, kind: Kind, label: object, place: str, **geometry: Any) -> Iterator[Shape]:
        """Make a shape of a named class; one whose name means ignored becomes ``ignore``."""
        name = class_name(label)
        is_region = kind in ("polygon", "mask")
        if name.lower() in IGNORED_NAMES or not name:
            if not name:
                self.leave_out(f"{kind} without a label", place)
            if kind == "box" and name:
                x0, y0, x1, y1 = geometry.pop("box")
                geometry["points"] = [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])]
            if is_region or (kind == "box" and name):
                # Something is there: without a name it must not become background.
                yield Shape("ignore", "", **geometry)
            elif name:
                self.leave_out(f"{kind} labelled {name}", place)
        else:
            yield Shape(
                kind, "background" if name.lower() in BACKGROUND_NAMES else name, **geometry
            )


def is_special(name: str) -> bool:
    """Tell whether a name stands for background or for ignored pixels."""
    return name.lower() in BACKGROUND_NAMES | IGNORED_NAMES


def shortened(value: object) -> str:
    """Word a value in a message: a few lines of YAML may stand for more than the memory holds."""
    return _shortener.repr(value)


def class_name(label: object) -> str:
    """Normalise the name of a class; TypeError if it is none."""
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise TypeError(f"label {shortened(label)} is no name")
    name = normalise(str(label))
    if not name.isprintable():
        raise ValueError(f"label {name!r} has characters that cannot be printed")
    return name


def load_json(path: Path) -> Any:
    """Read a JSON file; ValueError that names it if it is damaged."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"{path} is empty" if not text.strip() else f"{path} is not valid JSON ({error})"
        raise ValueError(f"{where}; export it again") from error


def clean_name(value: object) -> str:
    """Check the path of an image as a file gives it; ValueError if it leads anywhere else."""
    if not isinstance(value, str):
        raise TypeError(f"image name {shortened(value)} is no text")
    windows = PureWindowsPath(value)
    name = normalise(value) if windows.is_absolute() else normalise(value.replace("\\", "/"))
    name = name.removeprefix("./")
    problem = id_problem(name)
    if problem:
        raise ValueError(f"image name {value!r} {problem}")
    return name


def last_part(value: object) -> str:
    """Take the file name of a path of any system; ValueError if that is none."""
    if not isinstance(value, str):
        raise TypeError(f"image name {shortened(value)} is no text")
    return clean_name(PurePosixPath(value.replace("\\", "/")).name)


def number(value: object, what: str) -> float:
    """Check a number, finite and of a size that an image can have."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{what} {shortened(value)} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{what} {str(value)[:40]!r} is no number of usual size") from None
    if not math.isfinite(found) or abs(found) > _FARTHEST:
        raise ValueError(f"{what} is {found:g}, which no image has")
    return found


def whole(value: object, what: str) -> int:
    """Check a whole number."""
    found = number(value, what)
    if found != int(found):
        raise ValueError(f"{what} is {found:g}, which is no whole number")
    return int(found)


def points_of(value: object) -> Points:
    """Check points x, y, (P, 2); P may be 0."""
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("its points are no pairs of numbers") from None
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError("its points are no pairs of numbers")
    # A negated comparison: it holds for NaN.
    if not (np.abs(points) <= _FARTHEST).all():
        raise ValueError("its points have a coordinate that no image has (NaN, infinite or far)")
    return points


def size_of(height: object, width: object) -> tuple[int, int]:
    """Check the size of an image, pixels."""
    size = whole(height, "height"), whole(width, "width")
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"its size is {size[1]}x{size[0]} pixels (width x height)")
    return size


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """Check a JSON object."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} is no object {{..}}")
    return value


def sequence(value: object, what: str) -> list[Any]:
    """Check a JSON list."""
    if not isinstance(value, list):
        raise TypeError(f"{what} is no list [..]")
    return value


def png_mask(code: object) -> Crop:
    """Decode a mask that is a PNG in base64: what is above 0 is inside."""
    if not isinstance(code, str):
        raise TypeError("its mask is no text in base64")
    try:
        content = base64.b64decode("".join(code.split()), validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            size_of(height, width)
            pixels = np.array(image)
    except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its mask is no PNG in base64 ({error})") from None
    inside = np.atleast_3d(pixels > 0)
    if inside.shape[2] in (2, 4) and inside[..., -1].all() and inside[..., :-1].any():
        inside = inside[..., :-1]  # nothing is transparent: the colours are the mask
    return Crop(0, 0, np.logical_or.reduce(inside, axis=-1))


def find_size(image: AnnotatedImage, reading: Reading) -> tuple[int, int]:
    """Read the size of an image, upright, from its file; ValueError if there is none."""
    found = reading.images.find(image.names or (image.name,), loose=image.loose)
    if found is None:
        raise ValueError(
            f"it gives no size of image {image.name!r}, which is not in {reading.images.root} "
            f"either{reading.images.hint(image.name)}; give the folder of the images (--images)"
        )
    return found.size


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing" if error.args else "something is missing"
    text = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, AttributeError | IndexError | TypeError) and "' object" in text:
        return f"it has another form than expected ({text})"
    return text
