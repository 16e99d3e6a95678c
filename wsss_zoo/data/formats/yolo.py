"""YOLO segmentation: a text file an image, with fractions of its size; `read` and `write`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Shape
from wsss_zoo.data.formats.reading import (
    Reading,
    class_name,
    clean_name,
    find_size,
    mapping,
    number,
    shortened,
    whole,
)
from wsss_zoo.data.formats.segments import Labeled, bridge
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.shapes.outlines import ring_area
from wsss_zoo.files.text import normalise, read_text

#: What the file that names classes and splits may be called.
DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASSES = "classes.txt"
#: Text files in such a folder that are no labels.
_OTHER_TEXTS = {CLASSES, "notes.txt", "readme.txt", "labels.txt"}
#: Class names of Darknet, one a line, as CVAT's "YOLO 1.1" has them.
_DARKNET_CLASSES = "obj.names"
# Lists of images, which lie beside the labels in Darknet's layout.
_LISTS = {f"{name}.txt" for name in ("train", "val", "valid", "validation", "test")}
_MOST = 1.5  # a fraction beyond it is a number of pixels


def data_file(path: Path) -> Path | None:
    """Find the YAML file of a data set; None if there is none."""
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    return next((path / name for name in DATA_FILES if (path / name).is_file()), None)


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read the label files of a folder, or of the folder of a ``data.yaml``.

    An empty file says that there is nothing in the image. The larger of two shapes lies below. Two
    way lines of no width, as such files have for holes and parts, enclose no pixels.
    """
    settings: Mapping[str, Any] = {}
    file = data_file(path)
    if file is not None:
        settings = _load(file)
        if settings.get("kpt_shape"):
            raise ValueError(
                f"{file} is of YOLO pose ('kpt_shape'): its lines have key points, not polygons; "
                "export YOLO segmentation"
            )
    names = _names(file, settings, reading)
    reading.add_classes(names)
    splits = _splits(settings, reading)
    for label_id, label_file in reading.files(".txt"):
        if not _is_label(label_file, label_id, reading):
            continue
        image: AnnotatedImage | None = None
        with reading.entry(str(label_file)):
            image = _read_file(label_file, label_id, names, reading)
            image.subset = next((s for s, ids in splits if _is_in(image.name, ids)), None)
        if image is not None:
            yield image


def _load(file: Path) -> Mapping[str, Any]:
    try:
        return mapping(yaml.safe_load(read_text(file)), f"{file}: it")
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        raise ValueError(f"{file} is no YAML of a data set ({error}); export it again") from None


def _names(file: Path | None, settings: Mapping[str, Any], reading: Reading) -> list[str]:
    """Class names by index, from a list or a mapping in the YAML file, or from classes.txt."""
    found = settings.get("names")
    if found is None:
        texts = [
            *sorted(reading.base.rglob(CLASSES)),
            *sorted(reading.base.rglob(_DARKNET_CLASSES)),
        ]
        texts = [t for t in texts if not t.is_symlink() and not reading.images.leaves_out(t)]
        if not texts:
            raise ValueError(
                f"{file or reading.base} does not name the classes; write data.yaml with 'names: "
                "[cat, dog]' beside the labels"
            )
        lines = map(normalise, read_text(texts[0]).split("\n"))
        found = [line for line in lines if line]
    try:
        if isinstance(found, str):
            raise TypeError(f"it is the text {found!r}")
        if isinstance(found, Mapping):
            by_index = {whole(key, "class index"): class_name(name) for key, name in found.items()}
            names = [by_index.get(index, "") for index in range(max(by_index, default=-1) + 1)]
        else:
            names = [class_name(name) for name in found]
    except (TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"{file}: 'names' is no list of class names ({error})") from None
    doubles = sorted({name for name in names if name and names.count(name) > 1})
    if doubles or len(names) > 100_000:
        raise ValueError(f"{file}: 'names' has {doubles[:3]} more than once; rename one of them")
    return names


def _splits(settings: Mapping[str, Any], reading: Reading) -> list[tuple[str, list[str]]]:
    """Names of the splits, each with the folders or images that it has, by their ids."""
    splits = []
    # CVAT has its subsets there, 'Train' and 'Validation'.
    given = {str(key).lower(): places for key, places in settings.items()}
    for name in ("train", "val", "valid", "validation", "test"):
        places = given.get(name) or []
        for place in [places] if isinstance(places, str) else places:
            if not isinstance(place, str):
                reading.notes[f"split {name} of the YAML file is left out: {shortened(place)}"] = (
                    None
                )
                continue
            parts = [
                p for p in PurePosixPath(place.replace("\\", "/")).parts if p not in ("..", "/")
            ]
            listing = reading.base.joinpath(*parts)
            if listing.suffix == ".txt" and listing.is_file() and not listing.is_symlink():
                lines = [line.strip() for line in read_text(listing).split("\n")]
                ids = [_plain_id(line.removeprefix("./")) for line in lines if line]
            else:
                # Where all lie in one folder, it tells nothing.
                ids = [f"{plain}/"] if (plain := _plain_id("/".join(parts))) else []
            splits.append(("val" if name.startswith("val") else name, ids))
    return splits


def _is_in(name: str, ids: Sequence[str]) -> bool:
    path = f"/{name}"
    # Lists of images may begin at another folder than the images do.
    return any(
        f"/{i}" in path
        if i.endswith("/")
        else path.endswith(f"/{i}") or ("/" in name and f"/{i}".endswith(path))
        for i in ids
    )


def _plain_id(path: str) -> str:
    """Path of an image or its labels, without the folders that only tell which it is."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    kept = [part for part in parts if part not in ("images", "labels", "/", "..", ".")]
    return str(PurePosixPath(*kept).with_suffix("")) if kept and "." in kept[-1] else "/".join(kept)


def _is_label(file: Path, label_id: str, reading: Reading) -> bool:
    if file.name.lower() in _OTHER_TEXTS:
        return False
    if "labels" in label_id.split("/")[:-1] or reading.base.name == "labels":
        return True
    # Labels may lie beside their images; other texts lie about.
    is_beside = reading.images.find((label_id,)) is not None
    if not is_beside and file.name.lower() not in _LISTS:
        reading.notes[f"{file.name} is left out: no image of that name, not in labels/"] = None
    return is_beside


def _read_file(file: Path, label_id: str, names: Sequence[str], reading: Reading) -> AnnotatedImage:
    parts = [part for part in label_id.split("/") if part != "labels"]
    name = clean_name("/".join(parts))
    image = AnnotatedImage(name, None, None, [], place=str(file), fractions=True)
    image.height, image.width = find_size(image, reading)
    size = np.array([image.width, image.height], np.float64)
    for position, line in enumerate(read_text(file).split("\n"), 1):
        fields = line.split()
        if fields:
            place = f"{file}, line {position}"
            with reading.entry(place):
                image.shapes += _shapes(fields, names, size, place, reading)
    return image


def _shapes(
    fields: Sequence[str], names: Sequence[str], size: Any, place: str, reading: Reading
) -> Iterator[Shape]:
    index = whole(fields[0], "class index")
    if not 0 <= index < len(names) or not names[index]:
        raise ValueError(f"class index {index} has no name; there are 0..{len(names) - 1}")
    values = [number(field, "a coordinate") for field in fields[1:]]
    if len(values) % 2:
        if not reading.scores:
            raise ValueError(
                f"it has {len(values)} numbers behind the class, which is odd; if the last is a "
                "confidence, give --scores true"
            )
        values.pop()
    wrong = next((value for value in values if not -0.5 <= value <= _MOST), None)
    if wrong is not None:
        raise ValueError(f"it has {wrong:g} where a fraction of the image is expected, 0..1")
    pairs = np.array(values, np.float64).reshape(-1, 2)
    if len(pairs) == 2:
        low, high = pairs[0] - pairs[1] / 2, pairs[0] + pairs[1] / 2
        box = (*(low.clip(0, 1) * size).tolist(), *(high.clip(0, 1) * size).tolist())
        area = (box[2] - box[0]) * (box[3] - box[1])
        yield from reading.shape("box", names[index], place, box=box, z=-area)
    elif len(pairs) < 3:
        raise ValueError(f"it has {len(values)} numbers behind the class; expected 4, 6 or more")
    else:
        ring = pairs.clip(0, 1) * size
        yield from reading.shape("polygon", names[index], place, points=[ring], z=-ring_area(ring))


def write(folder: Path, images: Iterator[Labeled], class_names: Sequence[str]) -> Path:
    """Write ``labels/<id>.txt`` and ``data.yaml``: a line for each class and connected region.

    Holes are joined to their ring by lines of no width. The background has no lines and no number.
    """
    first_fg = 1
    for image in images:
        first_fg = image.first_fg
        lines = []
        for segment in image.segments():
            rings = [ring for ring, _ in segment.rings(image.tolerance)]
            for ring in bridge(rings):
                shares = (ring / (image.width, image.height)).clip(0, 1).ravel()
                lines.append(
                    " ".join([str(segment.index - first_fg), *(f"{v:.6f}" for v in shares)])
                )
        text = "".join(f"{line}\n" for line in lines)
        write_atomic(folder / "labels" / f"{image.image_id}.txt", text)
    names = dict(enumerate(class_names[first_fg:]))
    settings = {"path": ".", "train": "images", "val": "images", "names": names}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    write_atomic(folder / "data.yaml", text)
    return folder
