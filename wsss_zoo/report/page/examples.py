"""Collect the same images as several runs label them, from sheets and label folders."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.groups import Group
from wsss_zoo.report.page.choose_images import choose_images
from wsss_zoo.report.page.label_sources import DAMAGED, Source, from_labels, from_sheet, small
from wsss_zoo.report.page.photos import read_photos

_GROUPS = 8  # with pictures


@dataclass(frozen=True)
class Picture:
    """A picture in the page: a ``data:`` address, width and height in pixels."""

    uri: str
    width: int
    height: int


@dataclass
class Example:
    """An image: photograph, true mask and, by a group's place in the table, its label map."""

    image_id: str
    photo: Picture | None = None
    truth: Picture | None = None
    preds: dict[int, Picture] = field(default_factory=dict)


@dataclass
class Examples:
    """Pictures of a page: of some images and, by a group's place, the run they are from.

    With the name and RGB colour of each class, and notes on what is missing and why.
    """

    images: list[Example] = field(default_factory=list)
    runs: dict[int, str] = field(default_factory=dict)
    legend: list[tuple[str, Sequence[int]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect_examples(comparison: Comparison, count: int = 4) -> Examples:
    """Find ``count`` images that the first groups have label maps of; 0 reads nothing.

    Of each group the first run with pictures counts. Images are chosen so that every class occurs;
    a third are those whose labels agree least with the truth, the worst last.
    """
    found = Examples()
    sources: dict[int, Source] = {}
    for place, group in enumerate(comparison.groups if count > 0 else []):
        source = _source_of(group, found.notes) if len(sources) < _GROUPS else None
        if source is not None:
            sources[place] = source
    first = next(iter(sources.values()), None)
    if first is not None:
        # A colour means one class.
        for source in sources.values():
            if source.class_names != first.class_names:
                found.notes.append(f"{source.run.name}: other classes; its pictures are left out")
        sources = {p: s for p, s in sources.items() if s.class_names == first.class_names}
        colors = zip(*(first.palette[channel::3] for channel in range(3)), strict=False)
        found.legend = list(zip(first.class_names, colors, strict=False))
    found.runs = {place: source.run.name for place, source in sources.items()}
    for image_id in choose_images(sources, count):
        try:
            found.images.append(_example(image_id, sources))
        except DAMAGED as error:
            found.notes.append(f"{image_id}: its label maps cannot be read ({error})")
    _add_photos(found, sources)
    return found


def _source_of(group: Group, notes: list[str]) -> Source | None:
    for run in group.runs:
        sheets = sorted((run.folder / "pictures").glob("*_epoch*.png"))
        try:
            source = from_sheet(run, sheets[-1]) if sheets else from_labels(run)
        except DAMAGED as error:
            notes.append(f"{run.name}: its pictures cannot be read ({error})")
            continue
        if source is not None:
            return source
    return None


def _example(image_id: str, sources: dict[int, Source]) -> Example:
    example = Example(image_id)
    for place, source in sources.items():
        fields = source.panels.get(image_id, {})
        if fields:
            example.preds[place] = _label_of(source, source.open(image_id, "preds"))
        if example.truth is None and "truth" in fields:
            example.truth = _label_of(source, source.open(image_id, "truth"))
        if example.photo is None and "image" in fields:
            example.photo = _jpeg(source.open(image_id, "image"))
    return example


def _add_photos(found: Examples, sources: dict[int, Source]) -> None:
    """Read the photographs of images that only label folders have, from their data set."""
    for place, source in sources.items():
        wanted = [e for e in found.images if e.photo is None and place in e.preds]
        if not wanted:
            continue
        photos, error = read_photos(source.run.folder, [e.image_id for e in wanted])
        if error:
            found.notes.append(f"{source.run.name}: the images cannot be read ({error})")
            return
        for example in wanted:
            image, mask = photos[example.image_id]
            example.photo = _jpeg(small(Image.fromarray(image)))
            if mask is not None and source.sheet is None:
                truth = Image.fromarray(mask)
                truth.putpalette(source.palette)
                example.truth = _label_of(source, small(truth))


def _label_of(source: Source, image: Image.Image) -> Picture:
    """Make a picture of a label map; the background, if it has one, is transparent."""
    return _label(image, clear=source.class_names[:1] == ["background"])


def _label(image: Image.Image, *, clear: bool) -> Picture:
    """Encode a label map as a small PNG; ``clear`` makes black, the background, transparent."""
    pixels = np.asarray(image.convert("RGB"))
    flat, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if len(flat) > 256:
        raise ValueError(f"a label map with {len(flat)} colours")
    label = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8))
    label.putpalette(flat.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    black = np.flatnonzero((flat == 0).all(axis=1))
    options = {"transparency": int(black[0])} if clear and len(black) else {}
    label.save(buffer, format="PNG", optimize=True, **options)
    return Picture(_uri("png", buffer), *image.size)


def _jpeg(image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=82)
    return Picture(_uri("jpeg", buffer), *image.size)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
