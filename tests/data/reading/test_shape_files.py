"""Shapes in JSON and CSV, as people save them."""

import json
import unicodedata

import pytest

from tests.each import each
from wsss_zoo.data.reading.shape_files import read_shape_files

CLASSES = ["background", "cat", "dog"]
EVERY_KIND = [
    {"class": "cat", "stroke": [[1, 2], [3.5, 4]], "width": 5},
    {"class": "dog", "point": [7, 8.5]},
    {"class": "cat", "polygon": [[[0, 0], [9, 0], [9, 9]], [[1, 1], [2, 1], [2, 2]]]},
    {"class": "background", "box": [9, 1, 2, 8]},
]


def read(root, report=None, ids=None, **files):
    for name, content in files.items():
        suffix = ".json" if name == "shapes" else ".csv"
        text = content if isinstance(content, str) else json.dumps(content)
        (root / f"{name}{suffix}").write_text(text, encoding="utf-8")
    arguments = {} if report is None else {"report": report}
    return read_shape_files(root, CLASSES, ids=ids, **arguments)


def test_every_kind_of_shape(tmp_path):
    stroke, point, polygon, box = read(tmp_path, shapes={"a/b": EVERY_KIND})["a/b"]
    assert (stroke.kind, stroke.name, stroke.width) == ("stroke", "cat", 5)
    assert stroke.points == ((1.0, 2.0), (3.5, 4.0))
    assert (point.kind, point.points, point.width) == ("point", ((7.0, 8.5),), 3)
    assert [len(ring) for ring in polygon.rings] == [3, 3]
    assert box.points == ((9.0, 1.0), (2.0, 8.0))
    assert box.origin.endswith("shapes.json, image 'a/b', shape 4")


def test_a_polygon_of_one_ring_needs_no_list_of_rings(tmp_path):
    (shape,) = read(
        tmp_path, shapes={"a": [{"class": "cat", "polygon": [[0, 0], [9, 0], [9, 9]]}]}
    )["a"]
    assert len(shape.rings) == 1


def test_tables_of_boxes_and_points_add_up(tmp_path):
    boxes = "image_id,class,x0,y0,x1,y1\na,cat,1,2,3,4\na,dog,5,6,7,8\n"
    points = "image_id;class;x;y\na;cat;1,5;2\nb.jpg;dog;3;40\n"
    ids = {"a": "a", "b.jpg": "b", "b": "b"}
    found = read(tmp_path, ids=ids, boxes=boxes, points=points, shapes={"a": EVERY_KIND[:1]})
    assert [shape.kind for shape in found["a"]] == ["stroke", "box", "box", "point"]
    assert found["a"][3].points == ((1.5, 2.0),)
    assert found["b"][0].name == "dog"


@each(
    "text",
    [
        "\ufeffimage_id\tclass\txmin\tymin\txmax\tymax\r\na\tcat\t1\t2\t3\t4\r\n",
        "class,y1,x1,y0,x0,id\ncat,4,3,2,1,a\n",
        "Image_ID, Class, X0, Y0, X1, Y1\n a , cat , 1, 2, 3, 4\n\n",
    ],
)
def test_what_programs_save(tmp_path, text):
    (box,) = read(tmp_path, boxes=text)["a"]
    assert (box.name, box.points) == ("cat", ((1.0, 2.0), (3.0, 4.0)))


def test_accented_ids_and_names_are_equal_however_encoded(tmp_path):
    name = unicodedata.normalize("NFD", "é")
    found = read(tmp_path, shapes={name: EVERY_KIND[:1]}, ids={"é": "é"})
    assert list(found) == ["é"]


BAD_SHAPES = [
    ({"class": "cat"}, "expected 'class' and one of 'stroke'"),
    ({"class": "cat", "point": [1, 2], "box": [1, 2, 3, 4]}, "expected 'class' and one of"),
    ({"point": [1, 2]}, "expected 'class'"),
    ("cat", "expected 'class'"),
    ({"class": "cow", "point": [1, 2]}, "unknown class 'cow'.*knows background, cat, dog"),
    ({"class": "Cat", "point": [1, 2]}, "did you mean 'cat'"),
    ({"class": "cat", "point": [1, "2"]}, r"'point' must be \[x, y\], numbers"),
    ({"class": "cat", "point": [1, float("nan")]}, "'point' must be"),
    ({"class": "cat", "box": [1, 2, 3]}, r"'box' must be \[x0, y0, x1, y1\], numbers"),
    ({"class": "cat", "point": [1, 1e300]}, "'point' must be"),
    ({"class": "cat", "stroke": [[1, 2]], "width": 1e9}, "give whole pixels"),
    ({"class": "cat", "stroke": []}, "'stroke' must be"),
    ({"class": "cat", "stroke": [[1, 2], [3]]}, "'stroke' must be"),
    ({"class": "cat", "polygon": [[[0, 0], [1, 1]]]}, "'polygon' must be"),
    ({"class": "cat", "polygon": []}, "'polygon' must be"),
    ({"class": "cat", "stroke": [[1, 2]], "width": 0}, "width is 0; give whole pixels"),
    ({"class": "cat", "stroke": [[1, 2]], "width": 2.5}, "width is 2.5; give whole pixels"),
]


@each(("shape", "message"), BAD_SHAPES)
def test_shapes_that_cannot_be_used(tmp_path, shape, message):
    content = {"a": [EVERY_KIND[0], shape]}
    with pytest.raises(ValueError, match=rf"shapes.json, image 'a', shape 2.*{message}"):
        read(tmp_path, shapes=content)
    problems: list[str] = []
    found = read(tmp_path, problems.append, shapes=content)
    assert [made.kind for made in found["a"]] == ["stroke"]
    assert len(problems) == 1


HEADER = "image_id,class,x0,y0,x1,y1\n"


@each(
    ("files", "message"),
    [
        ({"shapes": "{"}, "is not valid JSON"),
        ({"shapes": []}, "must hold {image id"),
        ({"shapes": {"a": {}}}, "'a' must have a list of shapes"),
        ({"shapes": '{"a": [], "a": []}'}, "'a' more than once"),
        ({"shapes": {"../a": []}}, "leads out of the data root; correct"),
        ({"shapes": {"zebra": []}}, "'zebra' is no image of this data set; correct"),
        ({"boxes": "a,cat,1,2,3,4\n"}, "header image_id,class,x0,y0,x1,y1 .*'a,cat,1,2,3,4'; add"),
        ({"boxes": "image_id,class,x,y,w,h\na,cat,1,2,3,4\n"}, "must be the header"),
        ({"boxes": ""}, "must be the header"),
        ({"boxes": HEADER + "a,cat,1,2,3\n"}, "line 2: expected 6 fields, got 5"),
        ({"boxes": HEADER + "a,cat,1,2,three,4\n"}, "line 2: 'three' is no number"),
        ({"boxes": HEADER + "a,cat,1,2,inf,4\n"}, "'inf' is no number"),
        ({"boxes": HEADER + "a,cow,1,2,3,4\n"}, "line 2, image 'a' has the unknown class 'cow'"),
        ({"boxes": HEADER + "a,cat,.1,.2,.3,.4\n"}, r"in \[0, 1\]; multiply them"),
        ({"points": "image_id,class,x,y\nzebra,cat,4,5\n"}, "'zebra' is no image"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, files, message):
    for old in tmp_path.iterdir():
        old.unlink()
    with pytest.raises(ValueError, match=message):
        read(tmp_path, ids={"a": "a"}, **files)


def test_a_folder_without_any_has_none(tmp_path):
    assert read(tmp_path) == {}


@each(
    "text",
    [
        ",image_id,class,x,y\n0,a,cat,1.5,2\n1,b,dog,3,40\n",
        "sep=;\nimage_id;class;x;y\na;cat;1,5;2\nb;dog;3;40\n",
        "# of 2024\nimage_id,class,x,y,,\na,cat,1.5,2,,\nb,dog,3,40,,\n",
        "image_id,class,x,y\nphotos/a.jpg,cat,1.5,2\nb.jpg,dog,3,40\n",
    ],
)
def test_tables_of_pandas_and_excel(tmp_path, text):
    """What the tags may be like."""
    ids = {"a": "a", "a.jpg": "a", "b": "b", "b.jpg": "b"}
    found = read(tmp_path, ids=ids, points=text)
    assert [(i, s.name, s.points) for i in found for s in found[i]] == [
        *(("a", "cat", ((1.5, 2.0),)), ("b", "dog", ((3.0, 40.0),)))
    ]
