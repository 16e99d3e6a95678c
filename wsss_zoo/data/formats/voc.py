"""Pascal VOC: one XML file an image, with boxes; `read` only."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsss_zoo.data.formats.annotated_image import AnnotatedImage, Points, Shape
from wsss_zoo.data.formats.reading import Reading, find_size, last_part, number, size_of
from wsss_zoo.data.formats.xml_files import read_children


def read(path: Path, reading: Reading) -> Iterator[AnnotatedImage]:
    """Read a file, or all of a folder and its sub-folders.

    Boxes are 1-based and closed: they become [xmin - 1, xmax). Objects that are ``difficult`` count
    as others do. Files that many tools write count from 0, which nothing tells: half a pixel.
    """
    masks = path / "SegmentationClass"
    if masks.is_dir():
        reading.notes[
            f"{masks.name} is left out, as the masks have no list of classes; copy them to "
            "masks/ of a folder, or take --data VOC2012 for the data set itself"
        ] = None
    files = [("", path)] if path.is_file() else reading.files(".xml")
    for image_id, file in files:
        image: AnnotatedImage | None = None
        with reading.entry(str(file)):
            image = _read_file(file, image_id.rpartition("/")[0], reading)
        if image is not None:
            yield image


def _read_file(file: Path, folder: str, reading: Reading) -> AnnotatedImage:
    fields = list(read_children(file))
    if not fields or fields[0][0] != "annotation":
        raise ValueError("it is no VOC file, as its root is no <annotation>")
    root = ET.Element("annotation")
    root.extend(element for _, element in fields)
    if root.find("object/polygon/pt") is not None or root.find("source/sourceImage") is not None:
        raise ValueError(
            "it is XML of the old LabelMe (MIT), which is not read; export it as 'CVAT for images "
            "1.1' or 'COCO'"
        )
    # "Annotations" says where the files are, not where the images are.
    folder = "/".join(part for part in folder.split("/") if part and part != "Annotations")
    given = (root.findtext("filename") or "").strip()
    name = last_part(given) if given else file.stem
    image = AnnotatedImage(
        name=f"{folder}/{name}" if folder else name,
        height=None,
        width=None,
        shapes=[],
        place=str(file),
    )
    image.names = tuple(dict.fromkeys((image.name, name)))
    reading.find_renamed(image, f"{folder}/{file.stem}" if folder else file.stem)
    height, width = root.findtext("size/height"), root.findtext("size/width")
    if height and width and {height.strip(), width.strip()} != {"0"}:
        image.height, image.width = size_of(height, width)
    else:
        image.height, image.width = find_size(image, reading)
    for position, item in enumerate(root.iterfind("object"), 1):
        place = f"{file}, object {position}"
        with reading.entry(place):
            image.shapes += _shapes(item, place, reading)
    return image


def _shapes(item: ET.Element, place: str, reading: Reading) -> Iterator[Shape]:
    label = item.findtext("name") or ""
    polygon, box = item.find("polygon"), item.find("bndbox")
    if polygon is not None and len(polygon):
        yield from reading.shape("polygon", label, place, points=[_ring(polygon)])
    elif box is not None:
        values = [box.findtext(side) for side in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1 = (number(value, "a side of its box") for value in values)
        # Corners in any order; the smaller one counts from 1.
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        yield from reading.shape("box", label, place, box=(x0 - 1, y0 - 1, x1, y1))
    elif item.find("robndbox") is not None:
        reading.leave_out("rotated box (robndbox)", place)
    else:
        yield from reading.shape("tag", label, place)


def _ring(polygon: ET.Element) -> Points:
    """Points x1, y1, x2, y2, .."""
    values = {element.tag: element.text for element in polygon}
    count = len(values) // 2
    pairs = [(values[f"x{i}"], values[f"y{i}"]) for i in range(1, count + 1)]
    ring = [(number(x, "x of a point"), number(y, "y of a point")) for x, y in pairs]
    return np.array(ring, np.float64)
