"""CVAT's "Segmentation mask 1.1": PNG files in the colours of ``labelmap.txt``; `read` only."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Crop, Shape
from wsss_zoo.data.formats.reading import BACKGROUND_NAMES, IGNORED_NAMES, Reading, size_of
from wsss_zoo.files.decoding import open_mask
from wsss_zoo.files.listing import list_files
from wsss_zoo.files.text import normalise, read_text

LABEL_MAP = "labelmap.txt"
MASKS = "SegmentationClass"
_LISTS = ("ImageSets", "Segmentation")
Color = tuple[int, int, int]


def find_label_map(path: Path) -> Path | None:
    """Find ``labelmap.txt`` of a folder of masks, given the folder or the file."""
    file = path / LABEL_MAP if path.is_dir() else path
    found = file.name == LABEL_MAP and file.is_file() and (file.parent / MASKS).is_dir()
    return file if found else None


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read the masks of a folder by their colours; every pixel is annotated."""
    label_map = find_label_map(path)
    assert label_map is not None
    colors = read_label_map(label_map)
    reading.add_classes(colors.values())
    for color, name in colors.items():
        key = "background" if name.lower() in BACKGROUND_NAMES else name
        reading.colors.setdefault("ignore" if name.lower() in IGNORED_NAMES else key, color)
    folder = label_map.parent / MASKS
    listing = list_files(folder, (".png",), root=reading.base, allow="", report=reading.problem)
    subsets = _subsets(label_map.parent.joinpath(*_LISTS), reading)
    for image_id, file in listing.files.items():
        image: AnnotatedImage | None = None
        with reading.entry(str(file)):
            image = _read_mask(image_id, Path(file), colors)
            image.subset = subsets.get(image_id)
        if image is not None:
            yield image


def read_label_map(path: Path) -> dict[Color, str]:
    """Read lines ``label:r,g,b:parts:actions``: names by colour; ``#`` begins a comment."""
    colors: dict[Color, str] = {}
    for position, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # A label may hold colons; the colour is the last field of three numbers.
        fields = line.split(":")
        places = [place for place, field in enumerate(fields) if _color(field) is not None]
        color = _color(fields[places[-1]]) if places and places[-1] > 0 else None
        if color is None:
            raise ValueError(
                f"{path}, line {position}: {line.strip()[:60]!r} is not 'label:r,g,b:parts:actions'"
            )
        name = normalise(":".join(fields[: places[-1]]))
        if color in colors:
            raise ValueError(
                f"{path}, line {position}: {name!r} and {colors[color]!r} have the colour {color}; "
                "give each its own in the tool"
            )
        colors[color] = name
    if not colors:
        raise ValueError(f"{path} has no labels; export it again")
    if not {name.lower() for name in colors.values()} & BACKGROUND_NAMES:
        colors.setdefault((0, 0, 0), "background")
    return colors


def _color(field: str) -> Color | None:
    numbers = field.split(",")
    if len(numbers) != 3 or not all(n.strip().isdecimal() and int(n) < 256 for n in numbers):
        return None
    red, green, blue = map(int, numbers)
    return red, green, blue


def _read_mask(image_id: str, file: Path, colors: dict[Color, str]) -> AnnotatedImage:
    with Image.open(file, formats=("PNG",)) as header:
        height, width = size_of(header.height, header.width)
    rgb = np.asarray(open_mask(str(file)).convert("RGB")).astype(np.uint32)
    keys = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    image = AnnotatedImage(image_id, height, width, [], place=str(file))
    for key in np.unique(keys).tolist():
        color = (key >> 16, key >> 8 & 255, key & 255)
        pixels = keys == key
        if color not in colors:
            raise ValueError(
                f"it has {int(pixels.sum())} pixels of the colour {color}, which {LABEL_MAP} does "
                "not name"
            )
        name = colors[color]
        is_ignored = name.lower() in IGNORED_NAMES
        label = "background" if name.lower() in BACKGROUND_NAMES else name
        shape = Shape(
            "ignore" if is_ignored else "mask",
            "" if is_ignored else label,
            crop=Crop.of(pixels),
            size=(height, width),
        )
        image.shapes.append(shape)
    return image


def _subsets(folder: Path, reading: Reading) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, file in list_files(folder, (".txt",), root=reading.base, allow="").files.items():
        for line in read_text(Path(file)).split("\n"):
            # Names with blanks are in quotes.
            found[normalise(line.strip().strip('"'))] = name
    return found
