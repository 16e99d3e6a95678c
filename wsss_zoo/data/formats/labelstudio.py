"""Label Studio: JSON and JSON-MIN; `read` and `write`."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from wsss_zoo.data.formats.annotated_image import (
    AnnotatedImage,
    Crop,
    Shape,
    box_ring,
    ellipse_crop,
    turn,
)
from wsss_zoo.data.formats.reading import (
    Reading,
    clean_name,
    find_size,
    load_json,
    mapping,
    number,
    png_mask,
    points_of,
    sequence,
    size_of,
)
from wsss_zoo.data.formats.segments import Labeled, bridge
from wsss_zoo.data.formats.xml_files import read_children
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.decoding import readable_suffixes
from wsss_zoo.files.shapes.run_lengths import decode_brush, encode_brush
from wsss_zoo.files.text import normalise

#: The labelling interface, beside the export: it gives the classes their order.
CONFIG = "label_config.xml"
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_INSIDE = 128  # alpha; the rim of a brush stroke is soft
# Types of results with geometry, without "labels" at the end.
_REGIONS = {"polygon", "rectangle", "ellipse", "keypoint", "brush", "bitmask"}
_PNG = "data:image/png;base64,"
# Fields of a task of JSON-MIN that hold no results.
_TASK_FIELDS = {"annotator", "annotation_id", "created_at", "updated_at", "lead_time", "id"}


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read an export, or all of a folder: "JSON" or "JSON-MIN".

    Of several annotations of a task the newest counts that is not cancelled. Predictions are no
    annotations. Later shapes lie on top.
    """
    config = reading.base / CONFIG
    if config.is_file():
        with reading.entry(str(config)):
            reading.add_classes(_config_classes(config))
        reading.notes[f"classes in the order of {CONFIG}"] = None
    files = [path] if path.is_file() else [file for _, file in reading.files(".json")]
    for file in files:
        tasks: list[Any] = []
        with reading.entry(str(file)):
            content = load_json(file)
            tasks = content if isinstance(content, list) else [mapping(content, "it")]
        for place, task in _newest(tasks, file, reading):
            image: AnnotatedImage | None = None
            with reading.entry(place):
                image = _read_task(task, place, reading)
            if image is not None:
                yield image


def _config_classes(config: Path) -> list[str]:
    regions: list[str] = []
    choices: list[str] = []
    for _, element in read_children(config):
        for item in element.iter():
            values = [
                # Results have the alias, where there is one.
                label.get("alias") or label.get("value") or ""
                for label in item
                if label.tag in ("Label", "Choice")
            ]
            (choices if item.tag == "Choices" else regions).extend(values)
    return [value for value in regions or choices if value]


def _newest(
    tasks: Sequence[Any], file: Path, reading: Reading
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tasks with their places; of JSON-MIN, which has one entry an annotation, the newest."""
    kept: dict[Any, tuple[str, Mapping[str, Any]]] = {}
    for position, task in enumerate(tasks, 1):
        place = f"{file}, task {position}"
        with reading.entry(place):
            task = mapping(task, "it")
            if "id" in task:
                place = f"{file}, task {task['id']}"
            is_min = "data" not in task
            if is_min and not _is_chosen(task.get("annotator"), reading):
                continue
            key = task.get("id") if is_min and task.get("id") is not None else ("", position)
            other = kept.get(key)
            if other is not None:
                reading.leave_out("older annotation of a task", place, drawn=False)
            if other is None or _date(task) >= _date(other[1]):
                kept[key] = (place, task)
    yield from kept.values()


def _date(item: Mapping[str, Any]) -> str:
    return str(item.get("updated_at") or item.get("created_at") or "")


def _is_chosen(annotator: Any, reading: Reading) -> bool:
    names = annotator.values() if isinstance(annotator, Mapping) else [annotator]
    return reading.annotator is None or reading.annotator in map(str, names)


def _read_task(task: Mapping[str, Any], place: str, reading: Reading) -> AnnotatedImage | None:
    if "data" in task:
        data = mapping(task["data"], "'data'")
        results, annotated = _results(task, place, reading)
    else:
        data = {name: value for name, value in task.items() if name not in _TASK_FIELDS}
        results, annotated = _min_results(data), True
        data = {name: value for name, value in data.items() if isinstance(value, str)}
    names = _image_names(data, task.get("file_upload"), results, reading)
    image = AnnotatedImage(
        name=names[-1],
        height=None,
        width=None,
        shapes=[],
        place=f"{place} ({names[-1]})",
        names=names,
        loose=True,
        annotated=annotated,
    )
    _add_shapes(image, _of_one_image(results, reading), reading)
    return image


def _of_one_image(
    results: Sequence[Mapping[str, Any]], reading: Reading
) -> Sequence[Mapping[str, Any]]:
    """Results for the image that ``--key`` names, where a task shows several."""
    names = {r.get("to_name") for r in results if isinstance(r.get("to_name"), str)}
    if reading.key is None or len(names) < 2:
        return results
    config, elements = reading.base / CONFIG, []
    if config.is_file():
        elements = [e for _, child in read_children(config) for e in child.iter()]
    image = next((e.get("name") for e in elements if e.get("value") == f"${reading.key}"), None)
    if image is None:
        raise ValueError(
            f"its results are of {', '.join(sorted(map(str, names)))}, and nothing says which is "
            f"{reading.key!r}; copy the labelling interface into {CONFIG} beside the export"
        )
    for other in (r for r in results if r.get("to_name") not in (image, None)):
        reading.leave_out(f"result for {other['to_name']}", reading.key, drawn=False)
    return [r for r in results if r.get("to_name") in (image, None)]


def _results(
    task: Mapping[str, Any], place: str, reading: Reading
) -> tuple[list[Mapping[str, Any]], bool]:
    given = sequence(task.get("annotations") or task.get("completions") or [], "'annotations'")
    annotations = [mapping(annotation, "an annotation") for annotation in given]
    valid = [a for a in annotations if not a.get("was_cancelled")]
    chosen = [a for a in valid if _is_chosen(a.get("completed_by"), reading)]
    if len(valid) < len(annotations):
        reading.leave_out("cancelled annotation", place, drawn=False)
    if len(valid) > 1:
        reading.leave_out("older annotation of a task, or another's", place, drawn=False)
    if not chosen:
        if task.get("predictions"):
            reading.leave_out("task with predictions only", place, drawn=False)
        return [], False
    newest = max(enumerate(chosen), key=lambda pair: (_date(pair[1]), pair[0]))[1]
    return [mapping(r, "a result") for r in sequence(newest.get("result") or [], "'result'")], True


def _min_results(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Results of JSON-MIN: they lack types and ids, and lie under the names of their controls.

    A region that was drawn with one control and labelled with another stands there twice.
    """
    results: list[Mapping[str, Any]] = []
    lists = [found for found in data.values() if isinstance(found, list)]
    regions = [value for found in lists for value in found if isinstance(value, Mapping)]
    labeled = [_outline(value) for value in regions if _labels(value)]
    for control, found in data.items():
        values = found if isinstance(found, list) else [found]
        for value in values:
            if isinstance(value, Mapping):
                if not _labels(value) and _geometry(value, None) and _outline(value) in labeled:
                    continue
                size = {k: value[k] for k in ("original_width", "original_height") if k in value}
                results.append({"value": value, "from_name": control, **size})
            elif isinstance(value, str) and not _is_image(value):
                results.append({"value": {"choices": [value]}, "type": "choices", "text": True})
    return results


def _outline(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in value.items() if not name.endswith("labels")}


def _add_shapes(
    image: AnnotatedImage, results: Sequence[Mapping[str, Any]], reading: Reading
) -> None:
    labels_by_id: dict[Any, list[Any]] = {}
    drawn: set[Any] = set()
    for result in results:
        value = result.get("value")
        if isinstance(value, Mapping) and isinstance(result.get("id"), str | int):
            labels_by_id.setdefault(result["id"], []).extend(_labels(value))
            if _geometry(value, result.get("type")):
                drawn.add(result["id"])
    done: set[Any] = set()
    for position, result in enumerate(results, 1):
        here = f"{image.place}, result {position}"
        with reading.entry(here):
            if result.get("type") == "relation" or "value" not in result:
                reading.leave_out(f"result of the type {result.get('type')}", here, drawn=False)
                continue
            value = mapping(result["value"], "'value'")
            if result.get("item_index"):
                raise ValueError(
                    f"it is of image {result['item_index'] + 1} of a task with a list of images, "
                    "which is not read; make a task of each image"
                )
            if result.get("image_rotation"):
                raise ValueError(
                    f"the image was turned by {result['image_rotation']} degrees in the tool, and "
                    "its shapes with it; turn the image file and label it again"
                )
            if isinstance(value.get("choices"), list):
                for choice in value["choices"]:
                    image.shapes += reading.shape("tag", choice, here)
                continue
            kind = _geometry(value, result.get("type"))
            if kind is None:
                # The labels of a region may stand apart from its shape.
                labels = _labels(value)
                if not (labels and result.get("id") in drawn):
                    kind = result.get("type") or ", ".join(value)
                    reading.leave_out(f"result of the type {kind}", here, drawn=bool(labels))
                continue
            # Several results tell of one region: its shape, its labels.
            if result.get("id") is not None:
                if result["id"] in done:
                    continue
                done.add(result["id"])
            labels = list(dict.fromkeys(_labels(value) or labels_by_id.get(result.get("id"), [])))
            if len(labels) > 1:
                reading.leave_out("further label of a region", here, drawn=False)
            size = _size(result, image, reading)
            label = labels[0] if labels else ""
            image.shapes += _shapes(kind, label, value, size, here, reading)


def _labels(value: Mapping[str, Any]) -> list[Any]:
    """Labels of a value: the list under "labels" or "polygonlabels", .."""
    lists = (found for name, found in value.items() if name.endswith("labels"))
    return [label for found in lists if isinstance(found, list) for label in found]


def _geometry(value: Mapping[str, Any], kind: Any) -> str | None:
    """Kind of a region, from its type or from what its value has."""
    named = str(kind or "").removesuffix("labels")
    if "points" in value:
        found = "polygon"
    elif "rle" in value:
        found = "brush"
    elif _picture(value):
        found = "bitmask"
    elif "radiusX" in value:
        found = "ellipse"
    elif "x" in value and "y" in value:
        found = "rectangle" if "height" in value and named != "keypoint" else "keypoint"
    else:
        return None
    # A list of points may also be a path of another tool.
    return found if named in ("", found) or named not in _REGIONS | {"vector"} else None


def _picture(value: Mapping[str, Any]) -> str | None:
    """PNG of a bitmask, base64."""
    texts = (text for text in value.values() if isinstance(text, str))
    found = next((text for text in texts if text.startswith(_PNG)), None)
    return None if found is None else found.removeprefix(_PNG)


def _size(result: Mapping[str, Any], image: AnnotatedImage, reading: Reading) -> tuple[int, int]:
    if result.get("original_height") is None or result.get("original_width") is None:
        size = find_size(image, reading) if image.height is None else (image.height, image.width)
    else:
        size = size_of(result["original_height"], result["original_width"])
    if image.height is not None and size != (image.height, image.width):
        raise ValueError(
            f"its size is {size[1]}x{size[0]} pixels, that of another result of the task "
            f"{image.width}x{image.height}"
        )
    image.height, image.width = size
    assert size[1] is not None
    return size[0], size[1]


def _shapes(
    kind: str,
    label: Any,
    value: Mapping[str, Any],
    size: tuple[int, int],
    place: str,
    reading: Reading,
) -> Iterator[Shape]:
    height, width = size

    def of(name: str, side: int) -> float:
        return number(value[name], name) * side / 100

    degrees = number(value.get("rotation") or 0, "rotation")
    if kind == "polygon":
        points = points_of(value["points"]) * (width, height) / 100
        if len(points) < 3:
            reading.leave_out(f"polygon of {len(points)} points", place)
        elif value.get("closed") is False:
            reading.leave_out("polygon that is not closed", place)
        else:
            yield from reading.shape("polygon", label, place, points=[points])
    elif kind == "rectangle":
        x, y, w, h = of("x", width), of("y", height), of("width", width), of("height", height)
        box = (x, y, x + w, y + h)
        if degrees % 360:
            # About the corner, in pixels: per cent of width and height are no right angles.
            ring = turn(box_ring(box), (x, y), degrees)
            yield from reading.shape("polygon", label, place, points=[ring])
        else:
            yield from reading.shape("box", label, place, box=box)
    elif kind == "ellipse":
        center, radii = (
            (of("x", width), of("y", height)),
            (of("radiusX", width), of("radiusY", height)),
        )
        crop = ellipse_crop(center, radii, degrees, height, width)
        yield from reading.shape("mask", label, place, crop=crop, size=size)
    elif kind == "keypoint":
        point = np.array([of("x", width), of("y", height)])
        yield from reading.shape("point", label, place, points=point)
    elif kind == "bitmask":
        # Black on transparent ground: what is above 0 is alpha.
        pixels = png_mask(_picture(value)).pixels
        if pixels.shape != size:
            raise ValueError(
                f"its bitmask has {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height), the "
                f"image {width}x{height}"
            )
        yield from reading.shape("mask", label, place, crop=Crop.of(pixels), size=size)
    else:
        alpha = decode_brush(sequence(value["rle"], "'rle'"), height, width)
        yield from reading.shape("mask", label, place, crop=Crop.of(alpha >= _INSIDE), size=size)


def _image_names(
    data: Mapping[str, Any], upload: Any, results: Sequence[Any], reading: Reading
) -> tuple[str, ...]:
    """Names to look for the image by, the last without folders and the prefix of an upload."""
    if reading.key is not None:
        if not isinstance(data.get(reading.key), str):
            raise ValueError(f"its data have no text {reading.key!r}; they have {sorted(data)}")
        value = data[reading.key]
    else:
        texts = {key: text for key, text in data.items() if isinstance(text, str)}
        looks = {key: text for key, text in texts.items() if _is_image(text)}
        if len(looks) > 1:
            raise ValueError(
                f"its data have several images, {', '.join(sorted(looks))}; name one with --key"
            )
        chosen = next(iter(looks.values()), None)
        if chosen is None and isinstance(upload, str) and _is_image(upload):
            chosen = upload
        value = (
            chosen or texts.get("image") or (next(iter(texts.values())) if len(texts) == 1 else "")
        )
        if not value:
            raise ValueError(
                f"none of its data ({', '.join(sorted(data))}) is the name of an image; name it "
                "with --key"
            )
    if value.startswith("data:"):
        raise ValueError(
            "its image is not a file, but text in base64 (data:..); save the images as files, and "
            "give tasks their names"
        )
    path = _path_of(value)
    name = clean_name(path.rpartition("/")[2])
    names = [path.lstrip("/"), name]
    if isinstance(upload, str) and _is_image(upload):
        names.append(clean_name(_path_of(upload).rpartition("/")[2]))
    stripped = [_UPLOAD.sub("", other) for other in (names[-1], name)]
    usable = [clean_name(other) for other in names[1:]] + stripped
    with suppress(ValueError):  # a path of the tool's server; its name is enough
        usable.insert(0, clean_name(names[0]))
    return (*dict.fromkeys(usable[:-1]), usable[-1])


def _path_of(value: str) -> str:
    """Path of an image from what the tool calls it: an upload, a local file, an address."""
    for mark in ("/data/local-files/?d=", "local-files?d="):
        if mark in value:
            return unquote(value.split(mark, 1)[1].split("&")[0])
    path = urlsplit(value).path if "://" in value else value.split("?")[0]
    return normalise(unquote(path).replace("\\", "/"))


def _is_image(value: str) -> bool:
    try:
        name = _path_of(value).rpartition("/")[2]
    except ValueError:
        return False
    return any(name.lower().endswith(suffix) for suffix in readable_suffixes())


def write(
    folder: Path, images: Iterator[Labeled], class_names: Sequence[str], *, prefix: str = ""
) -> Path:
    """Write ``label_studio.json``, tasks with predictions, and ``label_config.xml``; lossless.

    Paste the labelling interface into the project, then import the JSON. ``prefix`` stands before
    the names of the images: Label Studio cannot see paths. With a tolerance the regions are
    polygons, whose holes are joined by lines of no width.
    """
    tasks: list[dict[str, Any]] = []
    kind = "brushlabels"
    first_fg = 1
    for image in images:
        first_fg = image.first_fg
        results: list[dict[str, Any]] = []
        scores = []
        for number_of, segment in enumerate(image.segments()):
            fixed: dict[str, Any] = {
                **{"id": f"{len(tasks)}_{number_of}", "from_name": "label", "to_name": "image"},
                **{"original_width": image.width, "original_height": image.height},
                **{"image_rotation": 0},
            }
            if segment.score is not None:
                fixed["score"] = round(segment.score, 4)
                scores.append(segment.score)
            names = [class_names[segment.index]]
            if image.tolerance is None:
                mask = np.zeros((image.height, image.width), np.bool_)
                top, left, pixels = segment.crop
                mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
                value: dict[str, Any] = {"format": "rle", "rle": encode_brush(mask)}
                value["brushlabels"] = names
                results.append({"type": kind, "value": value, **fixed})
                continue
            kind = "polygonlabels"
            for ring in bridge([ring for ring, _ in segment.rings(image.tolerance)]):
                points = (ring * 100 / (image.width, image.height)).round(4).tolist()
                value = {"points": points, "closed": True, "polygonlabels": names}
                results.append({"type": kind, "value": value, **fixed})
        score = round(float(np.mean(scores)), 4) if scores else None
        prediction = {"model_version": "wsss_zoo", "score": score, "result": results}
        address = prefix + quote(image.path_name)
        tasks.append({"data": {"image": address}, "predictions": [prediction]})
    control = "BrushLabels" if kind == "brushlabels" else "PolygonLabels"
    labels = [f"    <Label value={quoteattr(name)}/>" for name in class_names[first_fg:]]
    config = [
        "<View>",
        '  <Image name="image" value="$image" zoom="true"/>',
        f'  <{control} name="label" toName="image">',
        *labels,
        f"  </{control}>",
        "</View>",
    ]
    write_atomic(folder / CONFIG, "\n".join(config) + "\n")
    write_atomic(folder / "label_studio.json", json.dumps(tasks, ensure_ascii=False))
    return folder / "label_studio.json"
