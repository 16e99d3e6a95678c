import pytest

from tests.data.formats.exports import save_image, voc
from tests.each import each
from wsss_zoo.data.formats import read_annotations
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.data.formats.reading import Reading
from wsss_zoo.data.formats.voc import read

BOX = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"
OBJECT = f"<object><name>cat</name><difficult>1</difficult>{BOX}</object>"


def read_one(path, objects, **more):
    (image,) = read_annotations(voc(path / "a.xml", objects, **more))
    return image


def test_boxes_count_from_one(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part>"
    objects = OBJECT.format("1") + OBJECT.format("4.5").replace("</object>", f"{part}</object>")
    image = read_one(tmp_path, objects)
    assert (image.name, image.height, image.width) == ("a.jpg", 40, 60)
    assert [shape.box for shape in image.shapes] == [(0, 1, 10, 20), (3.5, 1, 10, 20)]


def test_polygons_of_roboflow(tmp_path):
    points = "".join(
        f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, x, y in ((1, 1, 2), (2, 9, 2.5), (3, 9, 8))
    )
    objects = f"<object><name>cat</name><polygon>{points}</polygon>{BOX.format(1)}</object>"
    (shape,) = read_one(tmp_path, objects).shapes
    assert shape.points[0].tolist() == [[1, 2], [9, 2.5], [9, 8]]


def test_names_and_sizes(tmp_path):
    save_image(tmp_path / "JPEGImages" / "b.jpg")
    file = voc(tmp_path / "Annotations" / "b.xml", "", name="/home/me/old.jpg", size=(0, 0))
    (image,) = read_annotations(tmp_path)
    assert (image.place, image.height, image.width) == (str(file), 40, 60)
    assert image.names == ("b",)


@each(
    ("content", "message"),
    [
        ("<a/>", "no VOC file"),
        ("", "no XML"),
        ("<annotation><object><name>c</name>" + BOX.format("x") + "</object></annotation>", "size"),
        (
            "<annotation><object><polygon><pt><x>1</x></pt></polygon></object></annotation>",
            "LabelMe",
        ),
        ("<annotation><source><sourceImage>x</sourceImage></source></annotation>", "LabelMe"),
        ("<!DOCTYPE x><annotation><size/></annotation>", "DOCTYPE"),
        ("<annotation><filename>a\x01</filename><size/></annotation>", "no XML"),
    ],
)
def test_bad_files(tmp_path, content, message):
    file = tmp_path / "bad.xml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_annotations(file, "voc"))
    assert str(file) in str(caught.value)


def test_bad_boxes(tmp_path):
    for value in ("x", "", "nan", "1e9"):
        with pytest.raises(ValueError, match=r"a\.xml, object 1: a side of its box"):
            read_one(tmp_path, OBJECT.format(value))
    with pytest.raises(ValueError, match="object 1"):
        read_one(tmp_path, OBJECT.format(1).replace("xmax", "x"))


def test_masks_beside_boxes_are_told(tmp_path):
    voc(tmp_path / "Annotations" / "a.xml", "")
    (tmp_path / "SegmentationClass").mkdir()
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    list(read(tmp_path, reading))
    assert "SegmentationClass is left out" in "".join(reading.notes)


def test_rotated_boxes_are_counted(tmp_path):
    box = "<robndbox><cx>9</cx><cy>9</cy><w>4</w><h>2</h><angle>0.5</angle></robndbox>"
    file = voc(tmp_path / "a.xml", f"<object><name>cat</name>{box}</object>")
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    (image,) = read(file, reading)
    assert image.shapes == []
    assert list(reading.left_out) == ["rotated box (robndbox)"]
