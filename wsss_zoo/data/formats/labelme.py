"""labelme: one JSON file an image; `read` and `write`."""

import base64
import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Crop, Shape, ellipse_crop
from wsss_zoo.data.formats.reading import (
    Reading,
    clean_name,
    find_size,
    last_part,
    load_json,
    mapping,
    png_mask,
    points_of,
    sequence,
    size_of,
)
from wsss_zoo.data.formats.segments import Labeled
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.text import read_text

#: A file beside the annotations with the classes in their order, as labelme's own converters read.
LABELS = "labels.txt"
_VERSION = "5.7.0"  # mask shapes exist since 5.3
# How the description of a predicted shape begins.
_AUTHOR = "wsss_zoo"
_STROKES = {"line", "linestrip"}
# The last two are of X-AnyLabeling, which writes the same files.
_POLYGONS = {"polygon", "oriented_rectangle", "rotation", "quadrilateral"}


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read a labelme file, or all of a folder and its sub-folders.

    Later shapes lie on top. Image flags that are true become tags; ``group_id`` joins the parts of
    an object and means nothing for classes.
    """
    labels = reading.base / LABELS
    if labels.is_file():
        reading.add_classes(read_text(labels).split("\n"))
        reading.notes[f"classes in the order of {labels.name}"] = None
    files = [("", path)] if path.is_file() else reading.files(".json")
    predicted: list[Path] = []
    for image_id, file in files:
        image: AnnotatedImage | None = None
        with reading.entry(str(file)):
            content = mapping(load_json(file), "it")
            if file is not path and not {"shapes", "imagePath"} & content.keys():
                reading.notes[f"{file.name} is left out: no labelme file"] = None
                continue
            image = _read_content(content, file, image_id.rpartition("/")[0], reading, predicted)
        if image is not None:
            yield image
    if predicted:
        reading.notes[
            f"{len(predicted)} of {len(files)} files have only shapes that wsss-zoo predicted, "
            f"first: {predicted[0]}; remove those that you have neither corrected nor checked"
        ] = None


def _read_content(
    content: Any, file: Path, folder: str, reading: Reading, predicted: list[Path]
) -> AnnotatedImage:
    if "shapes" not in content:
        raise ValueError("it is no labelme file, as it has no 'shapes'")
    given = content.get("imagePath") or file.stem
    name = last_part(given)
    image = AnnotatedImage(
        name=f"{folder}/{name}" if folder else name,
        height=None,
        width=None,
        shapes=[],
        place=str(file),
        embedded=content.get("imageData") or None,
    )
    image.names = tuple(dict.fromkeys((_led_to(folder, given) or image.name, image.name)))
    reading.find_renamed(image, f"{folder}/{file.stem}" if folder else file.stem)
    if not isinstance(image.embedded, str | None):
        raise TypeError("'imageData' is no text in base64")
    declared = content.get("imageHeight"), content.get("imageWidth")
    if None not in declared:
        image.height, image.width = size_of(*declared)
    elif image.embedded and reading.images.find(image.names) is None:
        image.height, image.width = embedded_size(image)
    else:
        image.height, image.width = find_size(image, reading)
    shapes = sequence(content["shapes"], "'shapes'")
    if shapes and all(_is_predicted(item) for item in shapes):
        predicted.append(file)
    for position, item in enumerate(shapes, 1):
        place = f"{file}, shape {position}"
        with reading.entry(place):
            image.shapes += _shapes(mapping(item, "it"), image.height, image.width, place, reading)
    for flag, ticked in mapping(content.get("flags") or {}, "'flags'").items():
        if ticked is True:
            image.shapes += reading.shape("tag", flag, str(file))
    return image


def _led_to(folder: str, given: str) -> str | None:
    """Path that 'imagePath' leads to from the folder of its file; None if it is none."""
    path = posixpath.normpath(posixpath.join(folder, given.replace("\\", "/")))
    while path.startswith("../"):  # beside the folder of the annotations; --images tells where
        path = path.removeprefix("../")
    try:
        return clean_name(path)
    except ValueError:  # an absolute path of another computer
        return None


def _is_predicted(item: Any) -> bool:
    said = item.get("description") if isinstance(item, dict) else None
    return isinstance(said, str) and said.split(" ")[0] == _AUTHOR


def _shapes(item: Any, height: int, width: int, place: str, reading: Reading) -> Iterator[Shape]:
    kind = item.get("shape_type") or "polygon"
    label, group = item["label"], item.get("group_id")
    points = points_of(item["points"])
    if kind in _POLYGONS:
        if len(points) < 3:
            reading.leave_out(f"polygon of {len(points)} points", place)
        else:
            yield from reading.shape("polygon", label, place, points=[points], group=group)
    elif kind in _STROKES:
        if len(points) < 2:
            reading.leave_out(f"{kind} of {len(points)} points", place)
        else:
            yield from reading.shape("stroke", label, place, points=points, group=group)
    elif kind == "point":
        yield from reading.shape("point", label, place, points=_corners(points, 1)[0], group=group)
    elif kind == "rectangle":
        corners = _corners(points, 2, 4)
        box = (*corners.min(0).tolist(), *corners.max(0).tolist())
        yield from reading.shape("box", label, place, box=box, group=group)
    elif kind == "circle":
        center, rim = _corners(points, 2)
        radius = float(np.hypot(*(rim - center)))
        around = ellipse_crop((center[0], center[1]), (radius, radius), 0, height, width)
        yield from reading.shape(
            "mask", label, place, crop=around, size=(height, width), group=group
        )
    elif kind == "mask":
        # Dragging leaves fractional corners; the size is that of the picture.
        first = _corners(points, 2, 1)[0]
        pixels = png_mask(item["mask"]).pixels
        crop = Crop(round(first[1]), round(first[0]), pixels).clip(height, width)
        yield from reading.shape("mask", label, place, crop=crop, size=(height, width), group=group)
    else:
        reading.leave_out(f"shape of the type {kind}", place)


def _corners(points: Any, *counts: int) -> Any:
    if len(points) not in counts:
        raise ValueError(f"it has {len(points)} points; expected {counts[0]}")
    return points


def embedded_size(image: AnnotatedImage) -> tuple[int, int]:
    """Read height and width of the image inside an annotation file, from its header."""
    try:
        with Image.open(io.BytesIO(embedded_bytes(image))) as file:
            return size_of(file.height, file.width)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"'imageData' is no image ({error})") from None


def embedded_bytes(image: AnnotatedImage) -> bytes:
    """Decode the image file inside an annotation file."""
    try:
        return base64.b64decode("".join((image.embedded or "").split()), validate=True)
    except ValueError as error:
        raise ValueError(f"'imageData' is no text in base64 ({error})") from None


def write(folder: Path, images: Iterator[Labeled], class_names: Sequence[str]) -> Path:
    """Write a file an image, with a mask for each class and connected region; lossless.

    Copy them beside the images, or name them with ``labelme --output``. With a tolerance the shapes
    are polygons, one for each outer ring, and holes are polygons of the background on top.
    """
    for image in images:
        shapes = []
        for segment in image.segments():
            description = _AUTHOR + (f" {segment.score:.3f}" if segment.score is not None else "")
            fixed: dict[str, Any] = {"group_id": None, "description": description, "flags": {}}
            label = class_names[segment.index]
            if image.tolerance is None:
                top, left, pixels = segment.crop
                corners = [[left, top], [left + pixels.shape[1] - 1, top + pixels.shape[0] - 1]]
                shapes.append(
                    {
                        **{"label": label, "points": corners, "shape_type": "mask"},
                        **{"mask": _png(pixels), **fixed},
                    }
                )
                continue
            for ring, is_hole in segment.rings(image.tolerance):
                name = "_background_" if is_hole else label
                shapes.append(
                    {"label": name, "points": ring.tolist(), "shape_type": "polygon", **fixed}
                )
        content = {
            **{"version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": image.path_name},
            **{"imageData": None, "imageHeight": image.height, "imageWidth": image.width},
        }
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        write_atomic(folder / f"{image.image_id}.json", text)
    return folder


def _png(pixels: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
