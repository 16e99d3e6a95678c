"""Collect the same images as several runs label them, from sheets and label folders."""

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_zoo.files.atomic import read_json
from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.groups import Group
from wsss_zoo.report.page.photos import read_photos
from wsss_zoo.report.runs import Run

# `wsss_zoo.drawing.pictures.PANELS`; importing it would take Lightning.
_PANELS = "wsss_zoo panels"
_HEIGHT, _GROUPS = 160, 8
# What reading a picture, or what a sheet says of its panels, may raise.
_DAMAGED = (
    OSError, ValueError, TypeError, KeyError, OverflowError, SyntaxError,
    Image.DecompressionBombError,
)  # fmt: skip


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


@dataclass
class _Source:
    """A run with pictures.

    Args:
        run: The run.
        class_names: Its classes.
        palette: Red, green and blue of each index of a label map.
        panels: By image, what there is of it ("preds", "truth", "image"): a box of the sheet, or
            the file of a label map.
        sheet: Its sheet of pictures; None for a folder of label maps.
    """

    run: Run
    class_names: list[str]
    palette: list[int]
    panels: dict[str, dict[str, Any]]
    sheet: Image.Image | None = None

    def label(self, image: Image.Image) -> Picture:
        """Make a picture of a label map; the background, if it has one, is transparent."""
        return _label(image, clear=self.class_names[:1] == ["background"])

    def open(self, image_id: str, name: str) -> Image.Image:
        """Read a panel of the sheet or a label map, as large as on the page."""
        place = self.panels[image_id][name]
        if self.sheet is not None:
            return self.sheet.crop(place)
        with Image.open(place) as file:
            return _small(file)


def collect_examples(comparison: Comparison, count: int = 4) -> Examples:
    """Find ``count`` images that the first groups have label maps of; 0 reads nothing.

    Of each group the first run with pictures counts.
    """
    found = Examples()
    sources: dict[int, _Source] = {}
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
    # Images that most runs have, in the order of the first run that has them.
    counts = Counter(image_id for source in sources.values() for image_id in source.panels)
    for image_id, _ in counts.most_common(count):
        try:
            found.images.append(_example(image_id, sources))
        except _DAMAGED as error:
            found.notes.append(f"{image_id}: its label maps cannot be read ({error})")
    _add_photos(found, sources)
    return found


def _source_of(group: Group, notes: list[str]) -> _Source | None:
    for run in group.runs:
        sheets = sorted((run.folder / "pictures").glob("*_epoch*.png"))
        try:
            source = _from_sheet(run, sheets[-1]) if sheets else _from_labels(run)
        except _DAMAGED as error:
            notes.append(f"{run.name}: its pictures cannot be read ({error})")
            continue
        if source is not None:
            return source
    return None


def _from_sheet(run: Run, path: Path) -> _Source | None:
    with Image.open(path) as file:
        sheet, text = file.convert("RGB"), file.info.get(_PANELS)
    if text is None:
        raise ValueError(f"{path.name} does not tell its panels; validate draws it again")
    content = json.loads(text)
    panels: dict[str, dict[str, Any]] = {}
    for panel in content["panels"]:
        left, top, right, bottom = box = tuple(map(int, panel["box"]))
        if not (0 <= left < right <= sheet.width and 0 <= top < bottom <= sheet.height):
            raise ValueError(f"{path.name} names a panel {box} outside of its picture")
        panels.setdefault(str(panel["image_id"]), {})[str(panel["field"])] = box
    panels = {image_id: fields for image_id, fields in panels.items() if "preds" in fields}
    names = [str(name) for name in content["class_names"]]
    palette = [int(part) for color in content["colors"] for part in color[:3]]
    return _Source(run, names, palette, panels, sheet) if panels else None


def _from_labels(run: Run) -> _Source | None:
    folder = run.folder / "pseudo_labels"
    names = read_json(folder / "manifest.json").get("class_names")
    paths = sorted(folder.rglob("*.png"))
    if not paths or not isinstance(names, list):
        return None
    with Image.open(paths[0]) as first:
        palette = first.getpalette() or []
    ids = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    panels = {name: {"preds": path} for name, path in zip(ids, paths, strict=True)}
    return _Source(run, [str(name) for name in names], palette, panels)


def _example(image_id: str, sources: dict[int, _Source]) -> Example:
    example = Example(image_id)
    for place, source in sources.items():
        fields = source.panels.get(image_id, {})
        if fields:
            example.preds[place] = source.label(source.open(image_id, "preds"))
        if example.truth is None and "truth" in fields:
            example.truth = source.label(source.open(image_id, "truth"))
        if example.photo is None and "image" in fields:
            example.photo = _jpeg(source.open(image_id, "image"))
    return example


def _add_photos(found: Examples, sources: dict[int, _Source]) -> None:
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
            example.photo = _jpeg(_small(Image.fromarray(image)))
            if mask is not None and source.sheet is None:
                truth = Image.fromarray(mask)
                truth.putpalette(source.palette)
                example.truth = source.label(_small(truth))


def _small(image: Image.Image) -> Image.Image:
    size = (max(1, round(image.width * _HEIGHT / image.height)), _HEIGHT)
    method = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.BILINEAR
    return image.resize(size, method)


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
