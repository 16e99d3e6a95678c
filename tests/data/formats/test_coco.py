import json
import warnings

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from tests.data.formats.exports import coco, save_image
from tests.each import each
from wsss_zoo.data.formats import read_annotations
from wsss_zoo.data.formats.coco import read
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.data.formats.reading import Reading

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
INNER = [14, 14, 20, 14, 20, 20, 14, 20]


def read_shapes(path, *annotations):
    given = [{"category_id": 1, "iscrowd": 0, **a} for a in annotations]
    (image,) = read_annotations(coco(path / "a.json", given))
    return image.shapes


def union(shapes):
    mask = np.zeros((40, 60), bool)
    for shape in shapes:
        top, left, pixels = shape.region(40, 60)
        mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] |= pixels
    return mask


def random_mask(seed=0):
    return np.random.default_rng(seed).random((40, 60)) < 0.4


def test_rings_add_up_as_pycocotools_fills_them(tmp_path):
    for rings in ([SQUARE, INNER], [SQUARE, [40, 5, 50.75, 5, 50.75, 15.25, 40, 15.25]], [SQUARE]):
        shapes = read_shapes(tmp_path, {"segmentation": rings})
        code = coco_masks.merge(coco_masks.frPyObjects(rings, 40, 60))
        with warnings.catch_warnings(action="ignore"):  # pycocotools with numpy 2
            expected = coco_masks.decode(code)
        np.testing.assert_array_equal(union(shapes), expected)
    assert (
        len(
            read_shapes(
                tmp_path, {"segmentation": [SQUARE, [40, 5, 50.75, 5, 50.75, 15.25, 40, 15.25]]}
            )
        )
        == 1
    )


@each("is_list", [False, True])
def test_run_length_codes(tmp_path, is_list):
    mask = random_mask()
    code = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = code["counts"].decode()
    if is_list:
        flat = mask.T.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
    for crowd in (0, 1):
        outline = {"size": [40, 60], "counts": counts}
        (shape,) = read_shapes(tmp_path, {"segmentation": outline, "iscrowd": crowd})
        assert shape.kind == ("ignore" if crowd else "mask")
        np.testing.assert_array_equal(shape.mask, mask)


def test_boxes_crowds_and_what_is_left_out(tmp_path):
    shapes = read_shapes(
        tmp_path,
        {"segmentation": [], "bbox": [1, 2, 3, 4]},
        {"bbox": [1.5, 2, 3, 4], "category_id": 7},
        {"segmentation": None, "bbox": [1, 2, 3, 4], "area": 12},
        {"segmentation": [SQUARE], "iscrowd": 1},
        {"segmentation": [[1, 2, 3, 4], SQUARE]},
        {"segmentation": [[1, 2, 3, 4]], "bbox": [1, 2, 2, 2]},
        {"segmentation": SQUARE},
        {},
    )
    assert [s.kind for s in shapes] == ["box", "box", "box", "ignore", "polygon", "polygon"]
    assert shapes[0].box == (1, 2, 4, 6)
    assert shapes[1].label == "dog"


def test_smaller_areas_lie_on_top(tmp_path):
    shapes = read_shapes(
        tmp_path,
        {"segmentation": [INNER]},
        {"segmentation": [SQUARE], "area": 400},
        {"segmentation": [SQUARE], "area": 3},
    )
    assert [shape.z for shape in shapes] == [-36, -400, -3]


def test_folders_of_splits(tmp_path):
    """As Roboflow writes them: category 0 is the project, of which there is nothing."""
    categories = [(0, "animal"), (3, "dog"), (1, "cat")]
    for split in ("train", "valid"):
        save_image(tmp_path / split / "a.jpg")
        coco(tmp_path / split / "_annotations.coco.json", [], categories=categories)
    (tmp_path / "notes.json").write_text("{}")
    images = list(read_annotations(tmp_path))
    assert [(i.name, i.subset) for i in images] == [
        *(("train/a.jpg", "train"), ("valid/a.jpg", "valid"))
    ]


def test_sizes_come_from_the_image_where_they_lack(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    file = coco(tmp_path / "a.json", [])
    content = json.loads(file.read_text())
    del content["images"][0]["width"], content["annotations"]
    file.write_text(json.dumps(content))
    (image,) = read_annotations(file)
    assert (image.height, image.width) == (40, 60)


@each(
    ("annotation", "message"),
    [
        ({"category_id": 9}, "no category with the id 9"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "7 numbers"),
        ({"segmentation": [[1, 2, 3, 4, float("nan"), 6]]}, "no image has"),
        ({"segmentation": [[1, 2, 3, 4, 1e9, 6]]}, "no image has"),
        ({"segmentation": "x"}, "segmentation is no list"),
        ({"segmentation": {"size": [60, 40], "counts": "a"}}, "has the size"),
        ({"segmentation": {"size": [40, 60], "counts": [5]}}, "add up to 5"),
        ({"segmentation": {"size": [40, 60], "counts": "é"}}, "damaged"),
        ({"segmentation": {"size": [40, 60]}}, "'counts' is missing"),
        ({"bbox": [1, 2, 3]}, "not enough values"),
        ({"bbox": [1, 2, 3, None]}, "None is no number"),
        ({"segmentation": [SQUARE], "area": "big"}, "area 'big'"),
    ],
)
def test_bad_annotations(tmp_path, annotation, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_shapes(tmp_path, annotation)
    assert "a.json, image 'a.jpg', annotation 1" in str(caught.value)


@each(
    ("change", "message"),
    [
        ({"images": None}, "'images' is no list"),
        ({"images": [{"id": 1, "width": 6, "height": 4}]}, "'file_name' is missing"),
        ({"images": [{"id": 1, "file_name": "/etc/a.jpg"}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "..\\a.jpg"}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "C:\\x\\a.jpg"}]}, "leads out"),
        ({"images": [{"id": [1], "file_name": "a.jpg"}]}, "unhashable"),
        ({"images": [{"id": 1, "file_name": "a", "width": 6, "height": 4}] * 2}, "twice"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "twice"),
        ({"categories": [{"id": 1}]}, "'name' is missing"),
        ({"categories": 3}, "'categories' is no list"),
        ({"annotations": [{"image_id": 5, "category_id": 1}]}, "no image with the id 5"),
        ({"annotations": [{"image_id": 1, "segments_info": []}]}, "panoptic"),
        ({"annotations": [3]}, "annotation 1"),
    ],
)
def test_bad_files(tmp_path, change, message):
    file = coco(tmp_path / "bad.json", [])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message) as caught:
        list(read_annotations(file))
    assert str(file) in str(caught.value)


def test_results_are_refused(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([{"image_id": 1, "category_id": 1, "score": 0.5}]))
    with pytest.raises(ValueError, match="list of COCO results"):
        list(read_annotations(file))


def test_ids_as_text_and_sizes_of_zero(tmp_path):
    save_image(tmp_path / "a.jpg")
    annotation = {"segmentation": [SQUARE], "category_id": "10", "image_id": "1", "iscrowd": "0"}
    file = coco(tmp_path / "a.json", [annotation], categories=(("10", "dog"), ("2", "cat")))
    content = json.loads(file.read_text())
    content["images"][0] |= {"width": 0, "height": 0}
    file.write_text(json.dumps(content))
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    (image,) = read(file, reading)
    assert [(s.kind, s.label) for s in image.shapes] == [("polygon", "dog")]
    assert (image.height, image.width) == (40, 60)
    assert reading.classes == ["cat", "dog"]


def test_empty_rings_are_boxes_and_crowds_are_told(tmp_path):
    code = {"size": [40, 60], "counts": [0, 7, 2393]}
    annotations = [
        {"category_id": 1, "segmentation": [[]], "bbox": [5, 6, 10, 10]},
        {"category_id": 1, "segmentation": code, "iscrowd": 1},
    ]
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    (image,) = read(coco(tmp_path / "a.json", annotations), reading)
    assert [s.kind for s in image.shapes] == ["box", "ignore"]
    assert not reading.left_out
    assert "a.json has 1 crowds (iscrowd 1)" in "".join(reading.notes)


def test_rings_of_pairs(tmp_path):
    pairs = np.reshape(SQUARE, (4, 2)).tolist()
    (shape,) = read_shapes(tmp_path, {"segmentation": [pairs]})
    assert shape.points[0].tolist() == pairs


def test_the_name_of_the_file_tells_the_folder_of_its_images(tmp_path):
    """Two subsets of CVAT may have the same names."""
    for subset in ("Train", "Validation"):
        save_image(tmp_path / "images" / subset / "a.jpg")
        coco(tmp_path / "annotations" / f"instances_{subset}.json", [])
    index = ImageIndex(tmp_path / "images")
    found = [index.find(image.names).name for image in read_annotations(tmp_path)]
    assert found == ["Train/a.jpg", "Validation/a.jpg"]


def test_a_list_of_codes(tmp_path):
    """As COCO-Stuff has them."""
    mask = random_mask()
    code = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    code["counts"] = code["counts"].decode()
    (shape,) = read_shapes(tmp_path, {"segmentation": [code]})
    assert (shape.kind, shape.label) == ("mask", "cat")
    assert (shape.mask == mask).all()


def test_files_without_annotations_or_images(tmp_path):
    """Lists of images alone, and files of Segment Anything."""
    save_image(tmp_path / "a.jpg")
    file = coco(tmp_path / "a.json", [{"category_id": 1, "segmentation": [SQUARE]}])
    content = json.loads(file.read_text())
    annotations = content.pop("annotations")
    (tmp_path / "info.json").write_text(json.dumps(content))
    (image,) = read_annotations(tmp_path / "info.json")
    assert not image.annotated
    reading = Reading(tmp_path, ImageIndex(tmp_path))
    assert [len(image.shapes) for image in read(tmp_path, reading)] == [1]
    assert "info.json is left out: it lists images without annotations" in reading.notes
    file.write_text(json.dumps({"image": content["images"][0], "annotations": annotations}))
    with pytest.raises(ValueError, match=r"a\.json: 'images' is missing"):
        list(read_annotations(file))
    problems = []
    assert list(read_annotations(file, report=problems.append)) == []
    assert "'images' is missing" in problems[0]
