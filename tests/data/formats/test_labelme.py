import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.exports import labelme, labelme_shape, png, save_image
from tests.each import each
from wsss_zoo.data.formats import read_annotations
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.files.shapes.outlines import polygon_mask

SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30]]


def read_one(path, **options):
    (image,) = read_annotations(path, **options)
    return image


def shape_of(path, *arguments, **more):
    (shape,) = read_one(labelme(path / "a.json", [labelme_shape(*arguments, **more)])).shapes
    return shape


def test_all_shapes(tmp_path):
    mask = np.random.default_rng(0).random((5, 8)) < 0.5
    shapes = [
        labelme_shape("cat", SQUARE),
        labelme_shape("dog", [[50, 30], [20, 5]], "rectangle"),
        labelme_shape("dog", [[20, 20], [23, 24]], "circle"),
        labelme_shape("cat", [[1, 2]], "point"),
        labelme_shape("cat", [[1, 2], [3, 4]], "line"),
        labelme_shape("cat", [[1, 2], [3, 4], [9, 4]], "linestrip"),
        labelme_shape("dog", [[30, 10], [37, 14]], "mask", mask=png(mask)),
        labelme_shape("dog", [[5, 5], [9, 9], [5, 13], [1, 9]], "oriented_rectangle"),
        labelme_shape("cat", [[1, 2], [3, 4]], "polygon"),
        labelme_shape("cat", [[1, 2], [3, 4]], "points"),
        {"label": "cat", "points": SQUARE},
    ]
    image = read_one(labelme(tmp_path / "a.json", shapes, "..\\photos\\a.jpg"))
    assert (image.name, image.height, image.width) == ("a.jpg", 40, 60)
    kinds = ["polygon", "box", "mask", "point", "stroke", "stroke", "mask", "polygon", "polygon"]
    assert [shape.kind for shape in image.shapes] == kinds
    by = image.shapes
    assert polygon_mask(by[0].points, 40, 60).sum() == 400
    assert by[1].box == (20, 5, 50, 30)
    y, x = np.mgrid[:40, :60] + 0.5
    np.testing.assert_array_equal(by[2].mask, np.hypot(x - 20, y - 20) <= 5)
    assert by[3].points.tolist() == [1, 2]
    assert by[5].points.tolist() == [[1, 2], [3, 4], [9, 4]]
    expected = np.zeros((40, 60), bool)
    expected[10:15, 30:38] = mask
    np.testing.assert_array_equal(by[6].mask, expected)
    assert by[8].label == "cat"


def test_masks_are_clipped_and_take_the_size_of_their_picture(tmp_path):
    mask = np.ones((5, 8), bool)
    # After dragging: fractional corners that no longer fit to the picture.
    shape = shape_of(tmp_path, "cat", [[-3.4, 36.6], [3.9, 41.1]], "mask", mask=png(mask))
    rows, columns = np.nonzero(shape.mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (37, 39, 0, 4)


@each(
    ("label", "kind", "expected"),
    [
        ("__ignore__", "polygon", ("ignore", "")),
        ("void", "polygon", ("ignore", "")),
        ("_background_", "polygon", ("polygon", "background")),
        ("background", "polygon", ("polygon", "background")),
        (" Cafe\u0301 ", "polygon", ("polygon", "Caf\u00e9")),
        ("", "polygon", ("ignore", "")),
        (7, "polygon", ("polygon", "7")),
        ("ignore", "rectangle", ("ignore", "")),
    ],
)
def test_names(tmp_path, label, kind, expected):
    points = SQUARE if kind == "polygon" else SQUARE[::2]
    shape = shape_of(tmp_path, label, points, kind)
    assert (shape.kind, shape.label) == expected
    assert shape.region(40, 60).pixels.sum() == 400


def test_flags_are_tags(tmp_path):
    file = labelme(tmp_path / "a.json", [], flags={"cat": True, "dog": False})
    assert [(shape.kind, shape.label) for shape in read_one(file).shapes] == [("tag", "cat")]


def test_sizes_come_from_the_image_where_they_lack(tmp_path):
    save_image(tmp_path / "a.jpg", orientation=6)
    for size in ((None, None), (40, None)):
        image = read_one(labelme(tmp_path / "a.json", [], size=size))
        assert (image.height, image.width) == (60, 40)
    inside = base64.b64encode((tmp_path / "a.jpg").read_bytes()).decode()
    (tmp_path / "a.jpg").unlink()
    file = labelme(tmp_path / "a.json", [], size=(None, None), imageData=inside)
    assert read_one(file).height == 40
    with pytest.raises(ValueError, match=r"a\.json.*gives no size of image 'a.jpg'.*--images"):
        read_one(labelme(tmp_path / "a.json", [], size=(None, None)))


def test_folders(tmp_path):
    for name in ("x/a", "y/a", "b"):
        labelme(tmp_path / f"{name}.json", [labelme_shape("cat", SQUARE)], "C:\\my\\a.jpg")
    (tmp_path / "._a.json").write_bytes(b"\0hidden")
    images = list(read_annotations(tmp_path))
    assert [image.name for image in images] == ["a.jpg", "x/a.jpg", "y/a.jpg"]
    outside = labelme(tmp_path.parent / "outside.json", [])
    (tmp_path / "link.json").symlink_to(outside)
    with pytest.raises(ValueError, match="leads out"):
        list(read_annotations(tmp_path))


def test_the_byte_order_mark_of_windows(tmp_path):
    file = labelme(tmp_path / "a.json", [labelme_shape("Größe", SQUARE)])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_one(file).shapes[0].label == "Größe"


@each(
    ("change", "message"),
    [
        ({"shapes": None}, "'shapes' is no list"),
        ({"shapes": [[1]]}, "shape 1: it is no object"),
        ({"shapes": [{"label": "cat"}]}, "shape 1: 'points' is missing"),
        ({"shapes": [{"points": SQUARE}]}, "shape 1: 'label' is missing"),
        ({"shapes": [labelme_shape(None, SQUARE)]}, "label None"),
        ({"shapes": [labelme_shape("a\0b", SQUARE)]}, "cannot be printed"),
        ({"shapes": [labelme_shape("cat", [[1e9, 1], [2, 3], [3, 3]])]}, "that no image has"),
        ({"shapes": [labelme_shape("cat", [[float("nan"), 1], [2, 3], [3, 3]])]}, "NaN"),
        ({"shapes": [labelme_shape("cat", [[1, 2, 3]])]}, "no pairs of numbers"),
        ({"shapes": [labelme_shape("cat", [[1, 2], [3]])]}, "no pairs of numbers"),
        ({"shapes": [labelme_shape("cat", ["ab"])]}, "no pairs of numbers"),
        ({"shapes": [labelme_shape("cat", {"x": 1})]}, "no pairs of numbers"),
        ({"shapes": [labelme_shape("cat", SQUARE, "point")]}, "4 points; expected 1"),
        ({"shapes": [labelme_shape("cat", SQUARE[::2], "mask", mask="?")]}, "no PNG in base64"),
        ({"shapes": [labelme_shape("cat", SQUARE[::2], "mask")]}, "no text in base64"),
        ({"imageHeight": 0}, "its size is 60x0"),
        ({"imageHeight": 10**6, "imageWidth": 10**6}, "its size is"),
        ({"imageHeight": "x"}, "no number"),
        ({"imagePath": 7}, "image name 7 is no text"),
        ({"imagePath": "a/.."}, "leads out"),
        ({"imagePath": "a\0.jpg"}, "no plain name"),
        ({"flags": [1]}, "'flags'"),
        ({"imageData": 5}, "'imageData'"),
    ],
)
def test_bad_files(tmp_path, change, message):
    given = {"shapes": [labelme_shape("cat", SQUARE)], **change}
    file = labelme(tmp_path / "bad.json", **given)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_annotations(file, "labelme"))
    assert str(file) in str(caught.value)
    problems = []
    list(read_annotations(file, "labelme", report=problems.append))
    assert len(problems) == 1


@each(
    "content", [b"", b"\0\xff", b'{"shapes": [', b"[" * 100_000, b'{"shapes": []}x', b"[1]", b"7"]
)
def test_damaged_files(tmp_path, content):
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.json"):
        list(read_annotations(file, "labelme"))
    with pytest.raises(ValueError, match=r"bad\.json"):
        list(read_annotations(file))


def test_unknown_keys_do_no_harm(tmp_path):
    file = labelme(tmp_path / "a.json", [labelme_shape("cat", SQUARE, new={"a": [1]})], brand="x")
    assert len(read_one(file).shapes) == 1
    content = json.loads(file.read_text())
    del content["version"], content["flags"], content["imageData"]
    file.write_text(json.dumps(content))
    assert len(read_one(file).shapes) == 1


@each(
    ("given", "name"),
    [
        ("..\\y\\a.jpg", "y/a.jpg"),
        ("../x/a.jpg", "x/a.jpg"),
        ("old.jpg", "ann/b.jpg"),  # renamed, as its file was
        ("D:\\y\\b.jpg", "ann/b.jpg"),
    ],
)
def test_images_in_other_folders_and_renamed(tmp_path, given, name):
    for folder in ("x", "y"):
        save_image(tmp_path / folder / "a.jpg")
    save_image(tmp_path / "ann" / "b.jpg")
    labelme(tmp_path / "ann" / "b.json", [], given)
    (image,) = read_annotations(tmp_path)
    index = ImageIndex(tmp_path)
    found = index.find(image.names)
    assert found is not None
    assert found.name == name


def test_shapes_of_x_anylabeling(tmp_path):
    """It writes labelme's files, with kinds of its own and boxes of four corners."""
    shapes = [labelme_shape("cat", SQUARE, kind) for kind in ("rotation", "quadrilateral")]
    shapes.append(labelme_shape("cat", SQUARE, "rectangle", direction=0))
    kinds = [s.kind for s in read_one(labelme(tmp_path / "a.json", shapes)).shapes]
    assert kinds == ["polygon", "polygon", "box"]


def test_other_json_files_and_broken_lines_of_base64(tmp_path):
    (tmp_path / "package.json").write_text('{"name": 1}')
    mask = png([[1, 0], [1, 1]])
    broken = "\n".join(mask[i : i + 20] for i in range(0, len(mask), 20))
    shape = labelme_shape("cat", [[3, 4], [4, 5]], "mask", mask=broken)
    labelme(tmp_path / "a.json", [shape])
    (image,) = read_annotations(tmp_path, "labelme")
    assert np.argwhere(image.shapes[0].mask).tolist() == [[4, 3], [5, 3], [5, 4]]


def test_pictures_without_transparency(tmp_path):
    mask = np.random.default_rng(0).random((5, 8)) < 0.5
    for mode in ("RGB", "RGBA", "LA"):
        buffer = io.BytesIO()
        Image.fromarray(mask).convert("L").convert(mode).save(buffer, "PNG")
        code = base64.b64encode(buffer.getvalue()).decode()
        shape = shape_of(tmp_path, "dog", [[30, 10], [37, 14]], "mask", mask=code)
        assert (shape.mask[10:15, 30:38] == mask).all()


def test_folders_of_its_own_converter_are_no_images(tmp_path):
    for name in ("a.png", "a_json/img.png", "a_json/label.png", "a_json/label_viz.png"):
        save_image(tmp_path / name)
    save_image(tmp_path / "sub" / "img.png")
    (tmp_path / "a_json" / "label_names.txt").write_text("_background_\ncat\n")
    assert [*ImageIndex(tmp_path).files] == ["a", "sub/img"]
