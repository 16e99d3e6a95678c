import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.exports import labelstudio, result, save_image, task
from tests.each import each
from wsss_zoo.data.formats import read_annotations
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.data.formats.labelstudio import read
from wsss_zoo.data.formats.reading import Reading
from wsss_zoo.files.shapes.outlines import polygon_mask
from wsss_zoo.files.shapes.run_lengths import encode_brush

TRIANGLE = {"points": [[10, 10], [50, 10], [50, 50]], "closed": True, "polygonlabels": ["cat"]}


def read_one(path, tasks):
    (image,) = read_annotations(labelstudio(path / "export.json", tasks))
    return image


def read_shapes(path, *results):
    return read_one(path, [task(list(results))]).shapes


def rectangle(**more):
    box = {"x": 10, "y": 25, "width": 50, "height": 25, "rotation": 0}
    return {**box, "rectanglelabels": ["dog"], **more}


def test_all_shapes(tmp_path):
    mask = np.random.default_rng(0).random((40, 60)) < 0.5
    shapes = read_shapes(
        tmp_path,
        result("polygonlabels", TRIANGLE, "a"),
        result("rectanglelabels", rectangle(), "b"),
        result(
            "ellipselabels",
            {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "ellipselabels": ["dog"]},
            "c",
        ),
        result("keypointlabels", {"x": 50, "y": 25, "width": 1, "keypointlabels": ["cat"]}, "d"),
        result(
            "brushlabels",
            {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["cat"]},
            "e",
        ),
        result("choices", {"choices": ["cat", "blurred"]}, "f"),
        {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"},
        result("textarea", {"text": ["hello"]}, "g"),
    )
    kinds = ["polygon", "box", "mask", "point", "mask", "tag", "tag"]
    assert [shape.kind for shape in shapes] == kinds
    assert shapes[0].points[0].tolist() == [[6, 4], [30, 4], [30, 20]]
    assert shapes[1].box == (6, 10, 36, 20)
    y, x = np.mgrid[:40, :60] + 0.5
    inside = ((x - 30) / 12) ** 2 + ((y - 20) / 4) ** 2 <= 1
    np.testing.assert_array_equal(shapes[2].mask, inside)
    assert shapes[3].points.tolist() == [30, 10]
    np.testing.assert_array_equal(shapes[4].mask, mask)


def test_rectangles_turn_about_their_corner_in_pixels(tmp_path):
    (shape,) = read_shapes(tmp_path, result("rectanglelabels", rectangle(rotation=90)))
    # 30x10 at (6, 10) becomes 10x30, to the left of the corner.
    np.testing.assert_allclose(shape.points[0], [(6, 10), (6, 40), (-4, 40), (-4, 10)])
    assert polygon_mask(shape.points, 40, 60).sum() == 6 * 30


def test_soft_rims_count_from_half(tmp_path):
    alpha = np.array([[0, 127, 128, 255]], np.uint8)
    text = f"{16:032b}{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 4, 8, 16))
    text += "".join(f"1{0:02b}{3:03b}{value:08b}" for value in alpha.ravel())
    text += "0" * (-len(text) % 8)
    rle = [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
    value = {"format": "rle", "rle": rle, "brushlabels": ["cat"]}
    (shape,) = read_shapes(tmp_path, result("brushlabels", value, size=(1, 4)))
    assert shape.mask.tolist() == [[False, False, True, True]]


def test_generic_labels_are_in_the_sister_result(tmp_path):
    outline = {key: TRIANGLE[key] for key in ("points", "closed")}
    for results in (
        [result("polygon", outline), result("labels", {**outline, "labels": ["dog"]})],
        [result("labels", {"labels": ["dog"]}), result("polygon", outline)],
        [result("labels", {**outline, "labels": ["dog"]})],
        [
            result("polygonlabels", {**TRIANGLE, "polygonlabels": ["dog"]}),
            result("choices", {**outline, "choices": ["cat"]}),
        ],
    ):
        shapes = read_shapes(tmp_path, *results)
        assert [(s.kind, s.label) for s in shapes if s.kind != "tag"] == [("polygon", "dog")]


def test_the_newest_annotation_counts(tmp_path):
    annotations = [
        {"result": [result("polygonlabels", TRIANGLE)] * number, "updated_at": date, **more}
        for number, date, more in (
            (1, "2026-01-02T00:00:00Z", {"completed_by": {"id": 5, "email": "a@b.c"}}),
            (2, "2026-01-03T00:00:00Z", {"completed_by": 6}),
            (3, "2026-01-04T00:00:00Z", {"was_cancelled": True}),
        )
    ]
    for i, annotation in enumerate(annotations):
        annotation["result"] = [{**r, "id": f"{i}{j}"} for j, r in enumerate(annotation["result"])]
    assert len(read_one(tmp_path, [task([], annotations=annotations)]).shapes) == 2
    none = read_one(tmp_path, [task([], annotations=[], predictions=[{"result": [1]}])])
    assert not none.annotated
    assert read_one(tmp_path, [task([])]).annotated
    old = task([])
    old["completions"] = old.pop("annotations")
    assert read_one(tmp_path, [old]).annotated


@each(
    ("address", "name"),
    [
        ("/data/upload/3/1a2b3c4d-my_photo_1.jpg", "my_photo_1.jpg"),
        ("/data/local-files/?d=set%20one/a%20b.jpg", "a b.jpg"),
        ("https://x.org/y/a.png?token=1&b=c.gif", "a.png"),
        ("s3://bucket/dir/a.jpg", "a.jpg"),
        ("a.jpg", "a.jpg"),
        ("C:\\photos\\a.jpg", "a.jpg"),
    ],
)
def test_names(tmp_path, address, name):
    assert read_one(tmp_path, [task([], address, file_upload=None)]).name == name


def test_the_image_among_the_data(tmp_path):
    texts = {"image": "/image2", "text": "hello"}
    image = read_one(tmp_path, [task([], data=texts, file_upload="e97d4735-025.jpg")])
    assert image.name == "025.jpg"
    with pytest.raises(ValueError, match=r"several images, a, b; name one with --key"):
        read_one(tmp_path, [task([], data={"a": "1.jpg", "b": "2.jpg"})])
    with pytest.raises(ValueError, match="none of its data"):
        read_one(tmp_path, [task([], data={"a": "x", "b": "y"}, file_upload=None)])


def test_json_min(tmp_path):
    mask = np.eye(4, dtype=bool)
    size = {"original_width": 4, "original_height": 4}
    entry = {
        **{"image": "/data/upload/1/deadbeef-a.jpg", "id": 8, "annotator": 1, "annotation_id": 3},
        **{"created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 3.5},
        "label": [
            {**rectangle(), **size},
            {**TRIANGLE, **size},
            {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["cat"], **size},
        ],
        "quality": "cat",
        "several": {"choices": ["cat", "dog"]},
    }
    older = {**entry, "updated_at": "2025-01-01", "label": [], "annotation_id": 2}
    for entries in ([entry, older], [older, entry]):
        image = read_one(tmp_path, entries)
        assert image.name == "a.jpg"
        kinds = ["box", "polygon", "mask", "tag", "tag", "tag"]
        assert sorted(s.kind for s in image.shapes) == sorted(kinds)
        masks = [s.mask for s in image.shapes if s.kind == "mask"]
        np.testing.assert_array_equal(masks[0], mask)


def test_sizes_come_from_the_image_where_they_lack(tmp_path):
    plain = {"type": "polygonlabels", "value": TRIANGLE}
    with pytest.raises(ValueError, match=r"task 1 .*gives no size"):
        read_shapes(tmp_path, plain)
    save_image(tmp_path / "a.jpg")
    assert read_shapes(tmp_path, plain)[0].points[0].tolist()[0] == [6, 4]


@each(
    ("change", "message"),
    [
        ({"image_rotation": 90}, "turned by 90 degrees"),
        ({"original_width": 0}, "its size is"),
        ({"value": 3}, "'value' is no object"),
        ({"value": {**TRIANGLE, "points": [[1, 2], [float("nan"), 3]]}}, "no image has"),
        ({"value": {**TRIANGLE, "points": "x"}}, "no pairs"),
        ({"value": {**TRIANGLE, "polygonlabels": [3.5]}}, "label 3.5"),
        ({"type": "brushlabels", "value": {"rle": [1, 2], "brushlabels": ["cat"]}}, "2 bytes"),
        ({"type": "brushlabels", "value": {"rle": "x", "brushlabels": ["cat"]}}, "no list"),
        ({"type": "rectanglelabels", "value": rectangle(x="a")}, "x 'a'"),
        ({"item_index": 1}, "image 2 of a task with a list of images"),
    ],
)
def test_bad_results(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_shapes(tmp_path, {**result("polygonlabels", TRIANGLE), **change})
    assert "export.json, task 1 (a.jpg), result 1" in str(caught.value)


@each(
    "tasks",
    [
        [task([], annotations=3)],
        [task([], data=3)],
        [3],
        [task([], annotations=[3])],
        [task([], "a\0.jpg", file_upload=None)],
        [task([], "data:image/png;base64,iVBORw0KGgo/AA", file_upload=None)],
        [task([], annotations=[{"result": 3}])],
        [task([], annotations=[{"result": [3]}])],
    ],
)
def test_bad_tasks(tmp_path, tasks):
    file = labelstudio(tmp_path / "export.json", tasks)
    with pytest.raises(ValueError, match=r"export\.json, task 1"):
        list(read_annotations(file, "labelstudio"))


def test_sizes_must_agree(tmp_path):
    results = [result("polygonlabels", TRIANGLE, str(n), (40, 60 + n)) for n in (0, 1)]
    with pytest.raises(ValueError, match="61x40"):
        read_shapes(tmp_path, *results)


def test_open_polygons_are_left_out(tmp_path):
    assert read_shapes(tmp_path, result("polygonlabels", {**TRIANGLE, "closed": False})) == []


def test_polygons_of_few_points_are_called_so(tmp_path):
    value = {**TRIANGLE, "points": [[10, 10], [50, 10]]}
    file = labelstudio(tmp_path / "export.json", [task([result("polygonlabels", value)])])
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    (image,) = read(file, reading)
    assert (image.shapes, list(reading.left_out)) == ([], ["polygon of 2 points"])


def test_nested_json(tmp_path):
    file = tmp_path / "deep.json"
    file.write_text("[" * 10**5 + "]" * 10**5)
    with pytest.raises(ValueError, match=r"deep\.json"):
        list(read_annotations(file, "labelstudio"))
    file.write_text(json.dumps({"id": 10**400}))
    with pytest.raises(ValueError, match=r"deep\.json"):
        list(read_annotations(file, "labelstudio"))


def test_bitmasks(tmp_path):
    """A picture of the size of the image, black on transparent ground."""
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[5:15, 5:25, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    picture = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    value = {"imageDataURL": picture, "bitmasklabels": ["cat"]}
    (shape,) = read_shapes(tmp_path, result("bitmasklabels", value))
    assert (shape.kind, shape.label) == ("mask", "cat")
    np.testing.assert_array_equal(shape.mask, rgba[..., 3] > 0)
    with pytest.raises(ValueError, match=r"60x40 pixels \(width x height\), the image 60x41"):
        read_shapes(tmp_path, result("bitmasklabels", value, size=(41, 60)))


def test_regions_of_tools_that_are_not_known_leave_no_empty_image(tmp_path):
    vertices = [{"x": 1, "y": 2}, {"x": 30, "y": 2}]
    value = {"vertices": vertices, "closed": True, "vectorlabels": ["cat"]}
    file = labelstudio(tmp_path / "export.json", [task([result("vectorlabels", value)])])
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    (image,) = read(file, reading)
    assert image.shapes == []
    assert list(reading.left_out) == ["result of the type vectorlabels"]
    assert reading.lost == 1


def test_regions_that_json_min_has_twice(tmp_path):
    size = {"original_width": 60, "original_height": 40}
    box = {"x": 10, "y": 25, "width": 50, "height": 25, "rotation": 0, **size}
    labels = {"tool": [box], "label": [{**box, "labels": ["cat"]}]}
    entry = {"image": "a.jpg", "id": 1, "annotation_id": 2, **labels}
    assert [s.label for s in read_one(tmp_path, [entry]).shapes] == ["cat"]
    (lone,) = read_one(tmp_path, [{**entry, "label": [{**box, "x": 11, "labels": ["cat"]}]}]).shapes
    assert lone.box == pytest.approx((6.6, 10, 36.6, 20))


def test_results_have_the_alias_of_a_label(tmp_path):
    (tmp_path / "label_config.xml").write_text(
        '<View><RectangleLabels name="l" toName="i"><Label value="Big dog" alias="dog"/>'
        '<Label value="cat"/></RectangleLabels></View>'
    )
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    list(read(labelstudio(tmp_path / "export.json", [task([])]), reading))
    assert reading.classes == ["dog", "cat"]


def test_several_images_in_a_task(tmp_path):
    results = [
        result("polygonlabels", {**TRIANGLE, "polygonlabels": [name]}, name, to_name=f"tag_{name}")
        for name in ("one", "two")
    ]
    file = labelstudio(tmp_path / "export.json", [task(results, data={"a": "1.jpg", "b": "2.jpg"})])
    reading = Reading(tmp_path, ImageIndex(tmp_path), key="b")
    with pytest.raises(ValueError, match=r"results are of tag_one, tag_two.*label_config\.xml"):
        list(read(file, reading))
    (tmp_path / "label_config.xml").write_text(
        '<View><Image name="tag_one" value="$a"/><Image name="tag_two" value="$b"/></View>'
    )
    (image,) = read(file, reading)
    assert [shape.label for shape in image.shapes] == ["two"]
    assert "result for tag_one" in reading.left_out


def test_names_of_files_in_other_folders(tmp_path):
    """The folder of the address tells which of two files of one name is meant."""
    for name in ("a.jpg", "sub/a.jpg", "sub/b.jpg", "other/b.jpg"):
        save_image(tmp_path / name)
    index = ImageIndex(tmp_path)

    def found(address, **more):
        reading = Reading(tmp_path, index)
        file = labelstudio(
            tmp_path / "x.json", [task([], address, **{"file_upload": None, **more})]
        )
        (image,) = read(file, reading)
        return index.find(image.names, loose=True).name

    assert found("/data/local-files/?d=photos/sub/a.jpg") == "sub/a.jpg"
    assert found("/data/local-files/?d=photos/a.jpg") == "a.jpg"
    assert found("/data/local-files/?d=sub/a.jpg") == "sub/a.jpg"
    assert found("s3://bucket/set/other/b.jpg") == "other/b.jpg"
    # Uploads have lost their folders.
    for address in ("/data/upload/3/1a2b3c4d-a.jpg", "/data/local-files/?d=photos/b.jpg"):
        with pytest.raises(ValueError, match=r"may be .*a\.jpg or|may be .*b\.jpg or"):
            found(address)
