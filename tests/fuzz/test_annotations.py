"""Exports of annotation tools: any damage is read or refused by name, and masks come back."""

import copy
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.data.formats.exports import (
    coco,
    cvat,
    labelme,
    labelme_shape,
    labelstudio,
    png,
    result,
    task,
    voc,
)
from tests.fuzz.reading import read_or_refuse
from tests.fuzz.strategies import json_values
from wsss_zoo.data.formats import READERS, read_annotations
from wsss_zoo.files.shapes.outlines import mask_polygons, polygon_mask
from wsss_zoo.files.shapes.run_lengths import (
    decode_brush,
    decode_columns,
    decode_rows,
    encode_brush,
    encode_columns,
    encode_rows,
)

SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30]]
EVIL = st.sampled_from([
    *(1e9, -1e9, 1e308, 10**30, float("nan"), float("inf"), None, True, "", "\0", "..", "/etc/x"),
    *("C:\\x", "😀", [], {}, [[]], "../../a.jpg", 0, -1, "1e999"),
])  # fmt: skip


def places(value, path=()):
    """Paths of all parts of a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


def exports(folder):
    folder.mkdir(exist_ok=True)
    mask = np.eye(5, dtype=bool)
    shapes = [
        labelme_shape("cat", SQUARE),
        labelme_shape("cat", [[1, 1], [5, 5]], "mask", mask=png(mask)),
        labelme_shape("cat", [[9, 9], [5, 5]], "circle"),
    ]
    outline = {"size": [40, 60], "counts": [2000, 100, 300]}
    annotations = [
        {"category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], "bbox": [1, 1, 8, 8], "area": 3},
        {"category_id": 7, "segmentation": outline, "iscrowd": 1},
        {"category_id": 7, "bbox": [1, 2, 3, 4]},
    ]
    value = {"points": SQUARE, "closed": True, "polygonlabels": ["cat"]}
    brush = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["cat"]}
    results = [result("polygonlabels", value, "a"), result("brushlabels", brush, "b", (5, 5))]
    tasks = [task(results[:1]), task(results[1:], number=2), task([], number=3)]
    return {
        "labelme": labelme(folder / "labelme.json", shapes, flags={"cat": True}),
        "coco": coco(folder / "coco.json", annotations),
        "labelstudio": labelstudio(folder / "labelstudio.json", tasks),
    }


def read_all(file, name):
    for image in read_annotations(file, name):
        for shape in image.shapes:
            if shape.kind in ("polygon", "mask", "ignore"):
                shape.region(image.height, image.width)


@given(st.data())
def test_damaged_json(tmp_path, data):
    files = exports(tmp_path / "x")
    name = data.draw(st.sampled_from(sorted(files)))
    content = json.loads(files[name].read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(places(content), key=str)))
        content = replaced(content, path, data.draw(EVIL | json_values()))
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(content))
    read_or_refuse(lambda: read_all(file, name), file.name)


@given(st.data())
def test_damaged_text(tmp_path, data):
    shapes = '<polygon label="cat" points="1,2;3,4;6,5"/><mask label="cat" rle="1, 2, 3" left="1" '
    shapes += 'top="1" width="3" height="2"/><ellipse label="cat" cx="3" cy="4" rx="1" ry="2"/>'
    objects = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>"
    objects += "<ymax>4</ymax></bndbox></object>"
    files = exports(tmp_path / "x") | {
        "cvat": cvat(tmp_path / "x" / "cvat.xml", [("a.jpg", shapes, "")]),
        "voc": voc(tmp_path / "x" / "voc.xml", objects),
    }
    name = data.draw(st.sampled_from(sorted(files)))
    text = files[name].read_bytes()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    new = data.draw(
        st.binary(max_size=6) | st.sampled_from([b"1e9", b"nan", b'"', b"<", b"-1", b"&a;"])
    )
    file = tmp_path / f"bad{files[name].suffix}"
    file.write_bytes(text[:start] + new + text[end:])
    read_or_refuse(lambda: read_all(file, name), file.name)


@given(st.binary(max_size=80), st.sampled_from(sorted(set(READERS) - {"yolo"})))
def test_random_bytes(tmp_path, content, name):
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    read_or_refuse(lambda: read_all(file, name), file.name)
    read_or_refuse(lambda: read_all(file, None), file.name)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
def test_codes_and_outlines_are_exact(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    size = mask.shape
    np.testing.assert_array_equal(decode_rows(encode_rows(mask), *size), mask)
    np.testing.assert_array_equal(decode_columns(encode_columns(mask), *size), mask)
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), *size) > 0, mask)
    np.testing.assert_array_equal(polygon_mask(mask_polygons(mask, 0), *size), mask)


@given(st.lists(st.integers(0, 255), max_size=40), st.integers(1, 3), st.integers(1, 3))
def test_random_brushes(code, height, width):
    head = f"{4 * height * width:032b}{7:05b}000"
    start = [int(head[i : i + 8], 2) for i in range(0, 40, 8)]
    for given_code in (code, start + code):
        read_or_refuse(lambda given=given_code: decode_brush(given, height, width), "brush code")
