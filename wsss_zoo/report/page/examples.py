"""The same images as several runs label them, out of sheets of pictures and label folders."""

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.groups import Group
from wsss_zoo.report.page.photos import read_photos
from wsss_zoo.report.runs import Run, read_json

# `wsss_zoo.callbacks.pictures.PANELS`; importing it would take Lightning.
_PANELS = "wsss_zoo panels"
_HEIGHT, _SHEET_WIDTH = 160, 660
_GROUPS = 8
# What reading a picture, or what a sheet says of its panels, may raise.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    SyntaxError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in the page.

    Args:
        uri: ``data:`` address.
        width: In pixels.
        height: In pixels.
    """

    uri: str
    width: int
    height: int


@dataclass
class Example:
    """An image and what is known of it.

    Args:
        image_id: Its name.
        photo: The image; None where it cannot be had.
        truth: Its mask.
        preds: Its label map of each group, by the group's place in the table.
    """

    image_id: str
    photo: Picture | None = None
    truth: Picture | None = None
    preds: dict[int, Picture] = field(default_factory=dict)


@dataclass
class Examples:
    """Pictures of a page.

    Args:
        images: Images that runs have label maps of.
        runs: Name of the run whose label maps stand for a group, by the group's place.
        sheets: Sheets of runs whose panels are not known apart, by the group's place.
        legend: Name and RGB colour of each class.
        notes: What is missing and why.
    """

    images: list[Example] = field(default_factory=list)
    runs: dict[int, str] = field(default_factory=dict)
    sheets: dict[int, Picture] = field(default_factory=dict)
    legend: list[tuple[str, tuple[int, int, int]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Source:
    """Where the label maps of a run are: a sheet with known panels, or a folder of label maps."""

    run: Run
    class_names: list[str]
    image_ids: list[str]
    boxes: dict[tuple[str, str], tuple[int, int, int, int]] = field(default_factory=dict)
    sheet: Image.Image | None = None
    folder: Path | None = None
    colors: list[list[int]] = field(default_factory=list)


def collect_examples(comparison: Comparison, count: int = 4) -> Examples:
    """Find images that the first groups have label maps of.

    Args:
        comparison: Of its first groups, the first run of each that has pictures counts.
        count: Images to show; 0 shows none and reads nothing.
    """
    found = Examples()
    if count <= 0:
        return found
    sources: dict[int, _Source] = {}
    for place, group in enumerate(comparison.groups):
        if len(sources) + len(found.sheets) >= _GROUPS:
            break
        source = _source_of(group, place, found)
        if source is not None:
            sources[place] = source
            found.runs[place] = source.run.name
    _drop_other_classes(sources, found)
    for image_id in _common_ids(list(sources.values()), count):
        try:
            found.images.append(_example(image_id, sources))
        except _DAMAGED as error:
            found.notes.append(f"{image_id}: its label maps cannot be read ({error})")
    _add_photos(found, sources)
    return found


def _source_of(group: Group, place: int, found: Examples) -> _Source | None:
    for run in group.runs:
        sheets = sorted((run.folder / "pictures").glob("*_epoch*.png"))
        labels = run.folder / "pseudo_labels"
        try:
            if sheets:
                source = _from_sheet(run, sheets[-1], place, found)
            elif (labels / "manifest.json").exists():
                source = _from_labels(run, labels)
            else:
                continue
        except _DAMAGED as error:
            found.notes.append(f"{run.name}: its pictures cannot be read ({error})")
            continue
        if source is not None:
            return source
        if place in found.sheets:
            return None
    return None


def _from_sheet(run: Run, path: Path, place: int, found: Examples) -> _Source | None:
    with Image.open(path) as file:
        sheet = file.convert("RGB")
        text = file.info.get(_PANELS)
    if text is None:
        sheet.thumbnail((_SHEET_WIDTH, 4 * _SHEET_WIDTH))
        found.sheets[place] = _jpeg(sheet)
        found.runs[place] = run.name
        return None
    content = json.loads(text)
    boxes = {
        (str(panel["image_id"]), str(panel["field"])): tuple(map(int, panel["box"]))
        for panel in content["panels"]
    }
    outside = [b for b in boxes.values() if not _is_inside(b, *sheet.size)]
    if outside:
        raise ValueError(f"{path.name} names a panel {outside[0]} outside of its picture")
    ids = [image_id for image_id, name in boxes if name == "preds"]
    if not ids:
        return None
    names = [str(name) for name in content["class_names"]]
    colors = [list(map(int, color)) for color in content["colors"]]
    return _Source(run, names, ids, boxes, sheet, colors=colors)  # type: ignore[arg-type]


def _is_inside(box: Sequence[int], width: int, height: int) -> bool:
    left, top, right, bottom = box
    return 0 <= left < right <= width and 0 <= top < bottom <= height


def _from_labels(run: Run, folder: Path) -> _Source | None:
    names = read_json(folder / "manifest.json").get("class_names")
    paths = sorted(folder.rglob("*.png"))
    if not paths or not isinstance(names, list):
        return None
    with Image.open(paths[0]) as first:
        palette = first.getpalette() or []
    colors = [palette[3 * i : 3 * i + 3] for i in range(len(names))]
    ids = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    return _Source(run, [str(name) for name in names], ids, folder=folder, colors=colors)


def _drop_other_classes(sources: dict[int, _Source], found: Examples) -> None:
    """Keep the sources whose classes are those of the first: a colour means one class."""
    if not sources:
        return
    first = next(iter(sources.values()))
    found.legend = [
        (name, (color[0], color[1], color[2]))
        for name, color in zip(first.class_names, first.colors, strict=False)
        if len(color) == 3
    ]
    for place, source in list(sources.items()):
        if source.class_names != first.class_names:
            del sources[place]
            del found.runs[place]
            found.notes.append(f"{source.run.name}: other classes; its pictures are left out")


def _common_ids(sources: Sequence[_Source], count: int) -> list[str]:
    """Images that most runs have, in the order of the first run that has them."""
    counts = Counter(image_id for source in sources for image_id in source.image_ids)
    # Sorting keeps the order of equals.
    return sorted(counts, key=lambda image_id: -counts[image_id])[:count]


def _example(image_id: str, sources: dict[int, _Source]) -> Example:
    example = Example(image_id)
    for place, source in sources.items():
        clear = source.class_names[:1] == ["background"]
        if source.sheet is not None:
            panels = {
                name: source.boxes.get((image_id, name)) for name in ("preds", "truth", "image")
            }
            if panels["preds"] is None:
                continue
            example.preds[place] = _label(source.sheet.crop(panels["preds"]), clear=clear)
            if example.truth is None and panels["truth"] is not None:
                example.truth = _label(source.sheet.crop(panels["truth"]), clear=clear)
            if example.photo is None and panels["image"] is not None:
                example.photo = _jpeg(source.sheet.crop(panels["image"]))
        elif source.folder is not None and image_id in source.image_ids:
            with Image.open(source.folder / f"{image_id}.png") as file:
                file.load()
                example.preds[place] = _label(_small(file), clear=clear)
    return example


def _add_photos(found: Examples, sources: dict[int, _Source]) -> None:
    """Read the photographs of images that only label folders have, from their data set."""
    missing = [example for example in found.images if example.photo is None]
    for place, source in sources.items():
        wanted = [e for e in missing if e.photo is None and place in e.preds]
        if not wanted:
            continue
        photos, error = read_photos(source.run.folder, [e.image_id for e in wanted])
        if error:
            found.notes.append(f"{source.run.name}: the images cannot be read ({error})")
            return
        clear = source.class_names[:1] == ["background"]
        for example in wanted:
            image, mask = photos[example.image_id]
            example.photo = _jpeg(_small(Image.fromarray(image)))
            if mask is not None and source.folder is not None:
                with Image.open(source.folder / f"{example.image_id}.png") as file:
                    palette = file.getpalette() or []
                truth = Image.fromarray(mask)
                truth.putpalette(palette)
                example.truth = _label(_small(truth), clear=clear)


def _small(image: Image.Image) -> Image.Image:
    size = (max(1, round(image.width * _HEIGHT / image.height)), _HEIGHT)
    method = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.BILINEAR
    return image.resize(size, method)


def _label(image: Image.Image, *, clear: bool) -> Picture:
    """A label map as a small PNG; ``clear`` makes black, the background, transparent."""
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
