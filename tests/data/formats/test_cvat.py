import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.exports import cvat, save_image
from tests.each import each
from wsss_zoo.data.formats import read_annotations
from wsss_zoo.files.shapes.outlines import polygon_mask


def read_shapes(path, shapes):
    (image,) = read_annotations(cvat(path / "annotations.xml", [("a.jpg", shapes, "")]))
    return image.shapes


def test_all_shapes(tmp_path):
    # Rows 1, 5; 2, 3 zeros and ones, row by row in the box 3x4 at (10, 20).
    mask = '<mask label="cat" rle="1, 2, 0, 3, 6" left="10" top="20" width="3" height="4"></mask>'
    shapes = read_shapes(
        tmp_path,
        '<box label="dog" occluded="0" xtl="1.50" ytl="2.00" xbr="5.00" ybr="9.00" z_order="2">'
        '<attribute name="age">3</attribute></box>'
        '<polygon label="cat" points="10.00,10.00;30.00,10.00;30.00,30.00" z_order="1"/>'
        '<polyline label="cat" points="1,2;3,4"/>'
        '<points label="cat" points="1,2;3,4;5,6" z_order="0"/>'
        f'<tag label="dog"/>{mask}'
        '<ellipse label="dog" cx="30" cy="20" rx="10" ry="5" z_order="-1"/>'
        '<skeleton label="s"><points label="1" points="1,1"/></skeleton>'
        '<cuboid label="dog" xtl1="3"/>',
    )
    kinds = ["box", "polygon", "stroke", "point", "point", "point", "tag", "mask", "mask"]
    assert [shape.kind for shape in shapes] == kinds
    assert shapes[0].box == (1.5, 2, 5, 9)
    assert [shape.z for shape in shapes[:3]] == [2, 1, 0]
    assert polygon_mask(shapes[1].points, 40, 60).sum() == 20 * 19 / 2 + 20
    assert shapes[5].points.tolist() == [5, 6]
    rows, columns = np.nonzero(shapes[7].mask)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        *((20, 11), (20, 12), (21, 10), (21, 11), (21, 12))
    ]
    y, x = np.mgrid[:40, :60] + 0.5
    inside = ((x - 30) / 10) ** 2 + ((y - 20) / 5) ** 2 <= 1
    np.testing.assert_array_equal(shapes[8].mask, inside)


def test_rotation_is_clockwise_about_the_centre(tmp_path):
    box = '<box label="cat" xtl="20" ytl="15" xbr="40" ybr="25" rotation="{}"/>'
    ellipse = '<ellipse label="cat" cx="30" cy="20" rx="10" ry="5" rotation="{}"/>'
    (upright,) = read_shapes(tmp_path, box.format("90.00"))
    expected = np.zeros((40, 60), bool)
    expected[10:30, 25:35] = True
    np.testing.assert_array_equal(polygon_mask(upright.points, 40, 60), expected)
    (turned,) = read_shapes(tmp_path, box.format("30"))
    # The right end goes down: its middle is at 10 (cos 30, sin 30) from the centre.
    np.testing.assert_allclose(turned.points[0][1:3].mean(0), (30 + 8.66025, 25), atol=1e-4)
    (turned,) = read_shapes(tmp_path, ellipse.format("30"))
    rows, columns = np.nonzero(turned.mask)
    assert np.corrcoef(rows, columns)[0, 1] > 0.3
    (full,) = read_shapes(tmp_path, box.format("360"))
    assert full.kind == "box"


def test_images_labels_and_subsets(tmp_path):
    file = cvat(
        tmp_path / "annotations.xml",
        [("a.jpg", "", 'subset="Train"'), ("sub/b ä.jpg", "", ""), ("..hidden.jpg", "", "")],
    )
    images = list(read_annotations(file))
    assert [image.name for image in images] == ["a.jpg", "sub/b ä.jpg", "..hidden.jpg"]
    assert [image.subset for image in images] == ["Train", None, None]
    assert all(image.annotated and image.shapes == [] for image in images)


def test_a_shape_without_a_label_is_unknown(tmp_path):
    """As in datumaro's test data."""
    shapes = read_shapes(
        tmp_path,
        '<polygon label="" points="1,2;3,4;6,5" z_order="1"/><polyline label="" points="1,2;3,4"/>',
    )
    assert [shape.kind for shape in shapes] == ["ignore"]


@each(
    ("shape", "message"),
    [
        ('<mask label="cat" rle="1, 2" left="1" top="2" width="3" height="4"/>', "add up to 3"),
        ('<mask label="cat" rle="12" left="1" top="2" width="3"/>', "'height' is missing"),
        ('<mask label="cat" rle="a" left="1" top="2" width="3" height="4"/>', "a run"),
        ('<mask label="cat" rle="9" left="1" top="2" width="999999" height="999999"/>', "its size"),
        ('<polygon label="cat" points="1,2;x,4;3,3"/>', "could not convert"),
        ('<polygon label="cat" points="1,2;3"/>', "not enough values"),
        ('<polygon label="cat" points="1,2;nan,4;3,3"/>', "no image has"),
        ('<polygon label="cat" points="1,2;1e9,4;3,3"/>', "no image has"),
        ('<polygon label="cat"/>', "'points' is missing"),
        ('<box label="cat" xtl="1" ytl="2" xbr="inf" ybr="3"/>', "xbr is inf"),
        ('<box label="cat" xtl="1" ytl="2" xbr="3" ybr="3" rotation="x"/>', "rotation 'x'"),
    ],
)
def test_bad_shapes(tmp_path, shape, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_shapes(tmp_path, shape)
    assert "annotations.xml, image 'a.jpg', shape 1" in str(caught.value)


@each(
    ("content", "message"),
    [
        (b"", "no XML"),
        (b"\0\xff\xfe", "no XML"),
        (b"<annotations><image", "no XML"),
        (b"<annotations><track/></annotations>", "CVAT for video"),
        (b"<annotation/>", "root is <annotation>"),
        (b'<annotations><image name="../a.jpg" width="6" height="4"/></annotations>', "leads out"),
        (b'<annotations><image name="/etc/a" width="6" height="4"/></annotations>', "leads out"),
        (b'<annotations><image name="C:/a" width="6" height="4"/></annotations>', "leads out"),
        (b'<annotations><image name="a" width="0" height="4"/></annotations>', "its size is 0x4"),
        (b'<annotations><image name="a" height="4"/></annotations>', "'width' is missing"),
        (b"<!DOCTYPE a><annotations/>", "DOCTYPE"),
        (b"<annotations>" + b"<a>" * 99 + b"</a>" * 99 + b"</annotations>", "nested more than"),
    ],
)
def test_bad_files(tmp_path, content, message):
    file = tmp_path / "bad.xml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_annotations(file, "cvat"))
    assert str(file) in str(caught.value)


def test_entities_are_not_expanded(tmp_path):
    """Also in UTF-16, where a search for the word would miss it."""
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
    )
    bomb += "]><annotations>&j;</annotations>"
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "bomb.xml").write_bytes(bomb.encode(encoding))
        with pytest.raises(ValueError, match="DOCTYPE"):
            list(read_annotations(tmp_path / "bomb.xml", "cvat"))


def mask_folder(root, colors, label_map):
    folder = root / "SegmentationClass"
    folder.mkdir(parents=True)
    Image.fromarray(np.array(colors, np.uint8)).save(folder / "a.png")
    (root / "labelmap.txt").write_text(label_map)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "Train.txt").write_text("a\n")
    return root


LABEL_MAP = """# label:color_rgb:parts:actions
dog:10,20,30::
background:0,128,0::
cat:with:colon:1,1,1::
void:5,5,5::
"""


def test_segmentation_masks_go_by_colour(tmp_path):
    colors = [[(0, 128, 0), (10, 20, 30), (1, 1, 1)], [(5, 5, 5), (10, 20, 30), (0, 128, 0)]]
    root = mask_folder(tmp_path / "masks", colors, LABEL_MAP)
    (image,) = read_annotations(root)
    assert (image.name, image.height, image.width, image.subset) == ("a", 2, 3, "Train")
    counts = {(s.kind, s.label): int(s.mask.sum()) for s in image.shapes}
    assert counts == {
        **{("mask", "background"): 2, ("mask", "dog"): 2},
        **{("mask", "cat:with:colon"): 1, ("ignore", ""): 1},
    }
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for file in root.rglob("*.*"):
            archive.write(file, file.relative_to(root))
    (again,) = read_annotations(tmp_path / "masks.zip")
    assert [s.label for s in again.shapes] == [s.label for s in image.shapes]


@each(
    ("label_map", "message"),
    [
        ("dog:10,20,30::\n", r"1 pixels of the colour \(9, 9, 9\)"),
        ("dog\n", "line 1: 'dog' is not"),
        ("dog:1,2,3::\ncat:1,2,3::\n", "have the colour"),
        ("# nothing\n", "has no labels"),
    ],
)
def test_bad_label_maps(tmp_path, label_map, message):
    name = f"m{len(label_map)}"
    root = mask_folder(tmp_path / name, [[(0, 0, 0), (9, 9, 9)]], label_map)
    with pytest.raises(ValueError, match=message):
        list(read_annotations(root))


def test_zip_files(tmp_path):
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match="damaged"):
        list(read_annotations(bad))
    for name in ("../out.xml", "/abs.xml", "a/../../b.xml"):
        with zipfile.ZipFile(bad, "w") as archive:
            archive.writestr(name, "<annotations/>")
        with pytest.raises(ValueError, match=r"bad\.zip has the entry"):
            list(read_annotations(bad))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list(read_annotations(tmp_path / "none.zip"))


def test_archives_of_a_folder(tmp_path):
    """As made by hand on a Mac: one folder around the export, resource forks beside it."""
    file = cvat(tmp_path / "annotations.xml", [("a.jpg", "", "")])
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as archive:
        archive.write(file, "my export/annotations.xml")
        archive.writestr("__MACOSX/my export/._annotations.xml", b"\0")
    (image,) = read_annotations(tmp_path / "mac.zip")
    assert image.place.endswith("my export/annotations.xml, image 'a.jpg'")


def test_names_with_blanks_in_lists_of_masks(tmp_path):
    root = mask_folder(tmp_path, [[(0, 128, 0)]], LABEL_MAP)
    (root / "SegmentationClass" / "a.png").rename(root / "SegmentationClass" / "my photo 1.png")
    (root / "ImageSets" / "Segmentation" / "Train.txt").write_text('"my photo 1"\n')
    (image,) = read_annotations(root)
    assert (image.name, image.subset) == ("my photo 1", "Train")


def test_sizes_come_from_the_image_where_they_lack(tmp_path):
    save_image(tmp_path / "a.jpg")
    file = tmp_path / "a.xml"
    file.write_text('<annotations><image id="0" name="a.jpg"></image></annotations>')
    (image,) = read_annotations(file)
    assert (image.height, image.width) == (40, 60)
