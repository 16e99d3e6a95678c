"""CVAT: "CVAT for images 1.1" (XML) and "Segmentation mask 1.1" (a folder); `read` and `write`."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from wsss_zoo.data.formats import cvat_masks
from wsss_zoo.data.formats.annotated_image import (
    AnnotatedImage,
    Crop,
    Points,
    Shape,
    box_ring,
    ellipse_crop,
    turn,
)
from wsss_zoo.data.formats.reading import (
    Reading,
    clean_name,
    find_size,
    number,
    points_of,
    size_of,
    whole,
)
from wsss_zoo.data.formats.segments import Labeled, bridge
from wsss_zoo.data.formats.xml_files import read_children, root_tag
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.shapes.run_lengths import decode_rows, encode_rows

_LEFT_OUT = {"cuboid", "skeleton"}


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read an XML file, a folder with some, or a folder of segmentation masks.

    Shapes of higher ``z_order`` lie on top, of equal ones later shapes. Subsets of a project become
    splits.
    """
    if cvat_masks.find_label_map(path) is not None:
        yield from cvat_masks.read(path, reading)
        return
    files = [path] if path.is_file() else [file for _, file in reading.files(".xml")]
    for file in files:
        with reading.entry(str(file)):
            if (root := root_tag(file)) not in ("annotations", ""):
                raise ValueError(f"it is no CVAT file, as its root is <{root}>")
            yield from _read_file(file, reading)


def _read_file(file: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    children = read_children(file)
    while True:
        image: AnnotatedImage | None = None
        with reading.entry(str(file)):
            _, element = next(children, ("", None))
            if element is None:
                return
            image = _read_child(element, file, reading)
        if image is not None:
            yield image


def _read_child(element: ET.Element, file: Path, reading: Reading) -> AnnotatedImage | None:
    image: AnnotatedImage | None = None
    if element.tag == "meta":
        labels = [label for label in element.iter("label") if label.find("parent") is None]
        reading.add_classes(label.findtext("name") or "" for label in labels)
    elif element.tag == "track":
        raise ValueError("it is 'CVAT for video', with tracks; export it as 'CVAT for images 1.1'")
    elif element.tag == "image":
        place = f"{file}, image {element.get('name')!r}"
        with reading.entry(place):
            image = _read_image(element, place, reading)
    return image


def _read_image(element: ET.Element, place: str, reading: Reading) -> AnnotatedImage:
    image = AnnotatedImage(
        name=clean_name(element.attrib["name"]),
        height=None,
        width=None,
        shapes=[],
        place=place,
        subset=element.get("subset"),
    )
    if image.subset:
        # A project may have one name in several subsets; its export has a folder for each.
        image.names = (f"{image.subset}/{image.name}", image.name)
    if {"height", "width"} & element.attrib.keys():
        height, width = size_of(element.attrib["height"], element.attrib["width"])
    else:  # as Datumaro writes it of images that it does not have
        height, width = find_size(image, reading)
    image.height, image.width = height, width
    for position, item in enumerate(element, 1):
        here = f"{place}, shape {position} ({item.tag})"
        with reading.entry(here):
            image.shapes += _shapes(item, height, width, here, reading)
    return image


def _shapes(
    item: ET.Element, height: int, width: int, place: str, reading: Reading
) -> Iterator[Shape]:
    def of(name: str) -> float:
        return number(item.attrib[name], name)

    label, kind = item.get("label", ""), item.tag
    group = item.get("group_id")
    z = number(item.get("z_order", "0") or "0", "z_order")
    degrees = number(item.get("rotation", "0") or "0", "rotation")
    fixed = {"z": z, "group": group}
    if kind == "tag":
        yield from reading.shape("tag", label, place)
    elif kind == "box":
        (x0, x1), (y0, y1) = sorted((of("xtl"), of("xbr"))), sorted((of("ytl"), of("ybr")))
        if degrees % 360:
            center = ((x0 + x1) / 2, (y0 + y1) / 2)
            ring = turn(box_ring((x0, y0, x1, y1)), center, degrees)
            yield from reading.shape("polygon", label, place, points=[ring], **fixed)
        else:
            yield from reading.shape("box", label, place, box=(x0, y0, x1, y1), **fixed)
    elif kind in ("polygon", "polyline", "points"):
        points = _points(item.attrib["points"])
        least = {"polygon": 3, "polyline": 2, "points": 1}[kind]
        if len(points) < least:
            reading.leave_out(f"{kind} of {len(points)} points", place)
        elif kind == "polygon":
            yield from reading.shape("polygon", label, place, points=[points], **fixed)
        elif kind == "polyline":
            yield from reading.shape("stroke", label, place, points=points, **fixed)
        else:
            for point in points:
                yield from reading.shape("point", label, place, points=point, **fixed)
    elif kind == "ellipse":
        crop = ellipse_crop((of("cx"), of("cy")), (of("rx"), of("ry")), degrees, height, width)
        yield from reading.shape("mask", label, place, crop=crop, size=(height, width), **fixed)
    elif kind == "mask":
        crop = _decode(item).clip(height, width)
        yield from reading.shape("mask", label, place, crop=crop, size=(height, width), **fixed)
    else:
        reading.leave_out(kind if kind in _LEFT_OUT else f"element <{kind}>", place)


def _points(text: str) -> Points:
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    return points_of([[float(x), float(y)] for x, y in pairs])


def _decode(item: ET.Element) -> Crop:
    left, top = whole(item.attrib["left"], "left"), whole(item.attrib["top"], "top")
    height, width = size_of(item.attrib["height"], item.attrib["width"])
    runs = [whole(run, "a run") for run in item.attrib["rle"].split(",") if run.strip()]
    return Crop.of(decode_rows(runs, height, width), top, left)


def write(folder: Path, images: Iterator[Labeled], class_names: Sequence[str]) -> Path:
    """Write ``annotations.xml`` with a mask for each class and connected region; lossless.

    Upload it to a task that has images of these names, as "CVAT 1.1". Larger regions lie below.
    With a tolerance the shapes are polygons, whose holes are joined by lines of no width.
    """
    names = "".join(f"<label><name>{escape(name)}</name></label>" for name in class_names)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "<version>1.1</version>",
        f"<meta><task><labels>{names}</labels></task></meta>",
    ]
    for number_of, image in enumerate(images):
        lines.append(
            f'<image id="{number_of}" name={quoteattr(image.path_name)} width="{image.width}" '
            f'height="{image.height}">'
        )
        for z, segment in enumerate(image.segments()):
            label = quoteattr(class_names[segment.index])
            fixed = f'label={label} source="auto" occluded="0" z_order="{z}"'
            if image.tolerance is None:
                top, left, pixels = segment.crop
                height, width = pixels.shape
                rle = ", ".join(map(str, encode_rows(pixels)))
                lines.append(
                    f'<mask {fixed} rle="{rle}" left="{left}" top="{top}" width="{width}" '
                    f'height="{height}"></mask>'
                )
                continue
            for ring in bridge([ring for ring, _ in segment.rings(image.tolerance)]):
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
                lines.append(f'<polygon {fixed} points="{points}"></polygon>')
        lines.append("</image>")
    write_atomic(folder / "annotations.xml", "\n".join([*lines, "</annotations>"]) + "\n")
    return folder / "annotations.xml"
