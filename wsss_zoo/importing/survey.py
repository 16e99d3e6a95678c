"""The first look at all annotations: what there is, before anything is written."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from wsss_zoo.data.formats import READERS
from wsss_zoo.data.formats.annotated_image import AnnotatedImage
from wsss_zoo.data.formats.reading import BACKGROUND_NAMES, Reading
from wsss_zoo.data.reading.class_files import ClassFile, find_class_file, read_class_file
from wsss_zoo.importing.label_files import class_file
from wsss_zoo.importing.matching import Match, Matcher
from wsss_zoo.importing.rasterise import MOST_CLASSES

_REGIONS = {"polygon", "mask", "ignore"}


@dataclass
class Survey:
    """What the annotations hold.

    Args:
        kinds: Number of shapes by kind.
        labels: Number of shapes by class name, without tags.
        tags: Number of tags by name.
        ids: Annotated images, in the order of the files.
        undrawn: Tags of those of them that have nothing else.
        empty: Those of them without any shape, or tag that is a class; known with the classes.
        listed: Images that the tool lists without an annotation.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    undrawn: dict[str, set[str]] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)
    listed: list[str] = field(default_factory=list)

    def add(self, image: AnnotatedImage, match: Match, *, complete: bool) -> None:
        """Count an image."""
        if not image.annotated:
            self.listed.append(match.image_id)
            return
        self.ids.append(match.image_id)
        if complete and all(shape.kind == "tag" for shape in image.shapes):
            self.undrawn[match.image_id] = {shape.label for shape in image.shapes}
        for shape in image.shapes:
            self.kinds[shape.kind] += 1
            if shape.kind == "tag":
                self.tags[shape.label] += 1
            elif shape.label and shape.label != "background":
                self.labels[shape.label] += 1

    def find_empty(self, classes: Iterable[str]) -> None:
        """Tell which images are empty: a tag such as 'checked', which is no class, is no shape."""
        self.empty = {i for i, tags in self.undrawn.items() if tags.isdisjoint(classes)}

    @property
    def has_regions(self) -> bool:
        """Whether any image has polygons or masks."""
        return any(self.kinds[kind] for kind in _REGIONS)

    @property
    def is_sparse(self) -> bool:
        """Whether any image has strokes or points."""
        return bool(self.kinds["stroke"] or self.kinds["point"])


def read_matched(
    name: str, path: Path, reading: Reading, matcher: Matcher
) -> Iterator[tuple[AnnotatedImage, Match, bool]]:
    """Read annotated images with their files, and whether all that is drawn was read."""
    lost = reading.lost
    for image in READERS[name](path, reading):
        complete, lost = reading.lost == lost, reading.lost
        match: Match | None = None
        with reading.entry(image.place):
            match = matcher.match(image)
        if match is not None:
            yield image, match, complete


def choose_classes(survey: Survey, reading: Reading, root: Path) -> ClassFile:
    """List the classes: those of an existing class list, else in the tool's order, else sorted.

    Raises:
        ValueError: If the annotations have a class that the existing list lacks, if that list has
            no background, or if there are too many classes.
    """
    used = list(survey.labels) or list(survey.tags)
    path = find_class_file(root)
    if path.is_file():
        given = read_class_file(path)
        _check_classes(given.names, [*survey.labels], path)
        return given
    names = list(reading.classes)
    late = sorted(name for name in used if name not in names)
    if names and late and survey.labels:
        reading.notes[f"classes that the tool's list lacks stand last: {', '.join(late)}"] = None
    names += late if survey.labels or not names else []
    names = ["background", *names]
    if len(names) > MOST_CLASSES:
        raise ValueError(
            f"there are {len(names)} classes with the background; a mask of 8 bits holds "
            f"{MOST_CLASSES}: unite some in the tool"
        )
    classes = ClassFile(names, _colors(names, reading) if reading.colors else {})
    class_file(classes, has_ignored=True)  # refuses a name that no list can hold
    return classes


def _colors(names: list[str], reading: Reading) -> dict[tuple[int, int, int], int]:
    index = {name: place for place, name in enumerate(names)} | {"ignore": 255}
    colors = {color: index[name] for name, color in reading.colors.items() if name in index}
    return colors if len(set(colors.values()) - {255}) == len(names) else {}


def _check_classes(names: list[str], labels: list[str], path: Path) -> None:
    if names[0].lower() not in BACKGROUND_NAMES and names[0] in labels:
        raise ValueError(
            f"{path} has {names[0]!r} first, where the background stands, but the annotations have "
            "shapes of it; write 'background' before it"
        )
    for name in labels:
        if name not in names:
            close = get_close_matches(name.lower(), names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"the annotations have the class {name!r}, which {path} does not name{hint}; add "
                "it there as a last line, or rename it in the tool"
            )
