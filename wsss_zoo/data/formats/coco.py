"""COCO JSON: polygons, run-length codes and boxes; `read` and `write`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Crop, Kind, Points, Shape
from wsss_zoo.data.formats.reading import (
    Reading,
    class_name,
    clean_name,
    find_size,
    load_json,
    mapping,
    number,
    points_of,
    sequence,
    size_of,
    whole,
)
from wsss_zoo.data.formats.segments import Labeled, bridge
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.shapes.outlines import ring_area
from wsss_zoo.files.shapes.run_lengths import decode_columns, encode_columns

#: Folders whose names are splits: Roboflow writes a file into each.
_SPLITS = {"train", "valid", "val", "test"}


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read a file, or all of a folder and its sub-folders.

    The smaller of two shapes lies on top, of equal ones the later. The rings of one annotation add
    up: COCO has no holes in polygons. Crowds are ignored, below all others.
    """
    files = [path] if path.is_file() else [file for _, file in reading.files(".json")]
    for file in files:
        content: Any = None
        with reading.entry(str(file)):
            content = load_json(file)
            if isinstance(content, list):
                raise ValueError(
                    "it is a list of COCO results, without images and categories; give the "
                    "annotation file"
                )
            content = mapping(content, "it")
        if not isinstance(content, Mapping):
            continue
        if "annotations" in content or ("images" in content and path.is_file()):
            yield from _read_content(content, file, reading)
        elif "images" in content:
            reading.notes[f"{file.name} is left out: it lists images without annotations"] = None
        elif path.is_file():
            reading.problem(f"{file} is no COCO file, as it has neither images nor annotations")
        else:
            reading.notes[f"{file.name} is left out: no COCO file"] = None


def _read_content(
    content: Mapping[str, Any], file: Path, reading: Reading
) -> Iterator[AnnotatedImage]:
    by_image: dict[Any, list[tuple[int, Any]]] = {}
    names: dict[Any, str] = {}
    images: list[Any] = []
    items: list[Any] = []
    with reading.entry(str(file)):
        images = sequence(content["images"], "'images'")
        items = sequence(content.get("annotations") or [], "'annotations'")
        names = _categories(content, items, reading)
        for position, item in enumerate(items, 1):
            with reading.entry(f"{file}, annotation {position}"):
                if "segments_info" in item:
                    raise ValueError(
                        "it is of panoptic segmentation; give the instance annotations"
                    )
                by_image.setdefault(_identity(item["image_id"]), []).append((position, item))
    crowds = sum(isinstance(item, Mapping) and _is_crowd(item) for item in items)
    if crowds:
        reading.notes[
            f"{file.name} has {crowds} crowds (iscrowd 1): their pixels are unknown (255). CVAT "
            "writes brushed masks as crowds; export 'CVAT for images 1.1' to keep their classes"
        ] = None
    seen: set[Any] = set()
    folder = file.parent.relative_to(reading.base).as_posix()
    prefix = "" if folder == "." else f"{folder}/"
    subset = file.parent.name if file.parent.name in _SPLITS else None
    for position, entry in enumerate(images, 1):
        image: AnnotatedImage | None = None
        place = f"{file}, image {position}"
        with reading.entry(place):
            identity = _identity(entry["id"])
            if identity in seen:
                raise ValueError(f"the image id {identity!r} stands there twice")
            seen.add(identity)
            name = clean_name(entry["file_name"])
            place = f"{file}, image {name!r}"
            image = AnnotatedImage(prefix + name, None, None, [], place=place, subset=subset)
            image.annotated = "annotations" in content  # a list of images alone says nothing
            # instances_Train.json may be of images/Train.
            told = f"{file.stem.rpartition('_')[2]}/{name}"
            image.names = (image.name, told, name) if prefix else (name, told)
            if not (entry.get("height") and entry.get("width")):
                image.height, image.width = find_size(image, reading)
            else:
                image.height, image.width = size_of(entry["height"], entry["width"])
            for number_of, item in by_image.get(identity, []):
                here = f"{place}, annotation {number_of}"
                with reading.entry(here):
                    image.shapes += _shapes(item, names, image.height, image.width, here, reading)
        if image is not None:
            yield image
    for image_id in [image_id for image_id in by_image if image_id not in seen]:
        number_of = by_image[image_id][0][0]
        reading.problem(
            f"{file}, annotation {number_of}: there is no image with the id {image_id!r}; delete "
            "the annotation or add the image"
        )


def _categories(
    content: Mapping[str, Any], items: Sequence[Any], reading: Reading
) -> dict[Any, str]:
    names: dict[Any, str] = {}
    parents: dict[str, set[Any]] = {}
    for category in sequence(content["categories"], "'categories'"):
        identity, name = _identity(category["id"]), class_name(category["name"])
        if identity in names:
            raise ValueError(f"the category id {identity!r} stands there twice")
        names[identity] = name
        parents.setdefault(str(category.get("supercategory")), set()).add(identity)
    used = {_identity(item.get("category_id")) for item in items if isinstance(item, Mapping)}

    def is_group(identity: Any) -> bool:
        return identity not in used and bool(parents.get(names[identity], set()) - {identity})

    groups = [names[identity] for identity in names if is_group(identity)]
    if groups:
        reading.notes[f"categories without annotations that only group others: {groups}"] = None
    order = sorted(names, key=lambda i: (not isinstance(i, int), i if isinstance(i, int) else 0))
    reading.add_classes(names[identity] for identity in order if not is_group(identity))
    return names


def _identity(value: Any) -> Any:
    """Make an id comparable: some tools write the same number here as a number, there as text."""
    is_number = isinstance(value, str) and value.isdecimal() and str(int(value)) == value
    return int(value) if is_number else value


def _is_crowd(item: Mapping[str, Any]) -> bool:
    return str(item.get("iscrowd")).lower() in ("1", "1.0", "true")


def _shapes(
    item: Any, names: Mapping[Any, str], height: int, width: int, place: str, reading: Reading
) -> Iterator[Shape]:
    category = _identity(item["category_id"])
    if category not in names:
        raise ValueError(f"there is no category with the id {category!r}")
    label, is_crowd = names[category], _is_crowd(item)
    outline = item.get("segmentation")
    group = item.get("id")
    area = item.get("area")
    area = None if area is None else number(area, "area")
    if item.get("keypoints"):
        reading.leave_out("key points of a skeleton", place, drawn=False)
    # COCO-Stuff has a list of one code.
    codes = outline if isinstance(outline, list) else [outline]
    if codes and all(isinstance(code, Mapping) for code in codes):
        for mask in [_decode(code, height, width) for code in codes]:
            z = -(area if area is not None and area > 0 else float(mask.pixels.sum()))
            yield from _regions("mask", label, is_crowd, place, reading)(
                crop=mask, size=(height, width), z=z, group=group
            )
        return
    rings = _rings(outline, place, reading)
    if rings:
        z = -(area if area is not None and area > 0 else sum(map(ring_area, rings)))
        for part in _parts(rings):
            yield from _regions("polygon", label, is_crowd, place, reading)(
                points=part, z=z, group=group
            )
    elif any(outline or []):
        pass  # rings that were left out, and counted
    elif item.get("bbox"):
        if is_crowd:
            reading.leave_out("crowd with a box only", place)
            return
        x, y, w, h = (number(value, "a number of its bbox") for value in item["bbox"])
        box = (min(x, x + w), min(y, y + h), max(x, x + w), max(y, y + h))
        yield from reading.shape("box", label, place, box=box, z=-abs(w * h), group=group)
    else:
        reading.leave_out("annotation without segmentation and bbox", place)


def _regions(kind: Kind, label: str, is_crowd: bool, place: str, reading: Reading) -> Any:
    def make(**geometry: Any) -> Iterator[Shape]:
        if is_crowd:
            yield Shape("ignore", "", **geometry)
        else:
            yield from reading.shape(kind, label, place, **geometry)

    return make


def _rings(outline: Any, place: str, reading: Reading) -> list[Points]:
    if outline is None:
        return []
    rings = sequence(outline, "segmentation")
    if rings and not isinstance(rings[0], list):
        rings = [rings]  # one ring without the list around it
    rings = [ring for ring in rings if ring != []]
    kept = []
    for ring in rings:
        if isinstance(ring, list) and isinstance(ring[0], list):
            kept.append(points_of(ring))  # pairs x, y in place of a flat list
        elif isinstance(ring, list) and len(ring) < 6:
            reading.leave_out(f"ring of {len(ring)} numbers", place)
        elif len(sequence(ring, "a ring")) % 2:
            raise ValueError(f"a ring has {len(ring)} numbers; x and y of its points are even")
        else:
            kept.append(points_of([ring[i : i + 2] for i in range(0, len(ring), 2)]))
    return kept


def _parts(rings: list[Points]) -> list[list[Points]]:
    """Rings to be read even-odd together: all if they lie apart, else each for itself."""
    boxes = [(ring.min(0), ring.max(0)) for ring in rings]
    for place, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:place]:
            if (low <= other_high).all() and (other_low <= high).all():
                return [[ring] for ring in rings]
    return [rings]


def _decode(outline: Mapping[str, Any], height: int, width: int) -> Crop:
    size = sequence(outline["size"], "size of the code")
    if [whole(side, "size of the code") for side in size] != [height, width]:
        raise ValueError(
            f"its code has the size {size} (height, width), but the image {[height, width]}"
        )
    return Crop.of(decode_columns(outline["counts"], height, width))


def write(folder: Path, images: Iterator[Labeled], class_names: Sequence[str]) -> Path:
    """Write ``annotations.json`` with a run-length code for each class and region; lossless.

    Category ids are the class indices. With a tolerance the outlines are polygons, whose holes are
    joined by lines of no width.
    """
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    first_fg = 1
    for number_of, image in enumerate(images, 1):
        first_fg = image.first_fg
        size = {"height": image.height, "width": image.width}
        entries.append({"id": number_of, "file_name": image.path_name, **size})
        for segment in image.segments():
            top, left, pixels = segment.crop
            outline: Any
            if image.tolerance is None:
                mask = np.zeros((image.height, image.width), np.bool_)
                mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
                outline = {"size": [image.height, image.width], "counts": encode_columns(mask)}
            else:
                rings = [ring for ring, _ in segment.rings(image.tolerance)]
                outline = [ring.round(3).ravel().tolist() for ring in bridge(rings)]
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": number_of},
                    **{"category_id": segment.index, "segmentation": outline, "iscrowd": 0},
                    **{"area": int(pixels.sum())},
                    "bbox": [left, top, pixels.shape[1], pixels.shape[0]],
                    **({} if segment.score is None else {"score": round(segment.score, 4)}),
                }
            )
    categories = [
        {"id": index, "name": name, "supercategory": ""}
        for index, name in enumerate(class_names)
        if index >= first_fg
    ]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    write_atomic(folder / "annotations.json", json.dumps(content, ensure_ascii=False))
    return folder / "annotations.json"
