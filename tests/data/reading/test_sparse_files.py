"""Maps and shapes drawn into one label."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_mask
from tests.each import each
from wsss_zoo.data.reading.sparse_files import open_sparse_files
from wsss_zoo.functional import draw_strokes

CLASSES = ["background", "cat", "dog", "cow"]
SIZE = (40, 60)


def opened(root, shapes=(), classes=CLASSES, **options):
    (root / "shapes.json").write_text(json.dumps({"a": list(shapes)}))
    return open_sparse_files(
        root, images={"a": "a.jpg"}, known_classes=CLASSES, class_names=classes, **options
    )


def label(root, *shapes, **options):
    return opened(root, shapes, **options).read("a", SIZE)


def stroke(name, *joints, width=3):
    return {"class": name, "stroke": [list(joint) for joint in joints], "width": width}


def test_strokes_are_drawn_as_the_function_draws_them(tmp_path):
    joints = [(3, 4), (30, 20), (50, 5)]
    found = label(tmp_path, stroke("dog", *joints))
    np.testing.assert_array_equal(found.mask, draw_strokes([joints], [2], SIZE))
    np.testing.assert_array_equal(found.drawn, found.mask != 255)
    assert found.contradictions == 0


def test_boxes_are_clipped_whatever_the_order_of_their_corners(tmp_path):
    found = label(tmp_path, {"class": "cat", "box": [70, 50, -100, 10]})
    assert found.boxes.tolist() == [[0, 10, 60, 40]]


def test_classes_that_are_not_in_use_are_drawn_in_maps_as_in_shapes(tmp_path):
    save_mask(tmp_path / "sparse" / "a.png", [2])
    every, found = label(tmp_path), label(tmp_path, classes=["background", "cat"])
    assert (every.mask == 2).any()
    np.testing.assert_array_equal(found.mask, np.where(every.mask == 2, 255, every.mask))
    np.testing.assert_array_equal(found.drawn, every.drawn)


def test_colours_of_the_data_set_are_those_of_maps_without_a_class_list(tmp_path):
    colors = {(0, 0, 0): 0, (9, 8, 7): 2, (1, 2, 3): 255}
    picture = np.full((*SIZE, 3), (1, 2, 3), np.uint8)
    picture[:9], picture[9:20] = (9, 8, 7), 0
    (tmp_path / "sparse").mkdir()
    Image.fromarray(picture).quantize().save(tmp_path / "sparse" / "a.png")
    found = label(tmp_path, colors=colors)
    assert [int(found.mask[y, 0]) for y in (3, 12, 30)] == [2, 0, 255]


def test_order_is_map_polygons_strokes_points(tmp_path):
    save_mask(tmp_path / "sparse" / "a.png", [3])
    square = [[20, 10], [40, 10], [40, 30], [20, 30]]
    hole = [[28, 18], [32, 18], [32, 22], [28, 22]]
    small = [[20, 10], [24, 10], [24, 14], [20, 14]]
    found = label(
        tmp_path,
        {"class": "cat", "point": [10.5, 20.5]},
        {"class": "cat", "polygon": [square, hole]},
        {"class": "dog", "polygon": [small]},
        stroke("background", (36, 20), (38, 20)),
    )
    assert found.mask[20, 10] == 1
    assert (found.mask[18:23, 8:13] == 1).sum() == 13
    assert found.mask[11, 21] == 2
    assert found.mask[20, 37] == 0
    assert found.mask[15, 25] == 1
    assert found.mask[20, 30] == 3  # in the hole the map shows
    assert found.mask[5, 59] == 255
    assert not found.drawn[5, 59]


def test_two_classes_on_one_pixel_are_ignored_and_counted(tmp_path):
    found = label(
        tmp_path,
        stroke("cat", (5, 10), (50, 10), width=1),
        stroke("cat", (5, 10), (50, 10), width=1),
        {"class": "dog", "point": [20.5, 10.5]},
    )
    assert found.contradictions == 5
    assert (found.mask[10, 18:23] == 255).all()
    assert found.drawn[10, 18:23].all()
    assert (found.mask == 2).sum() == 13 - 5
    assert found.mask[10, 30] == 1


def test_boxes_stand_beside_the_map(tmp_path):
    found = label(tmp_path, {"class": "dog", "box": [30, 25, 10, 5]})
    assert (found.mask == 255).all()
    assert found.boxes.tolist() == [[10, 5, 30, 25]]
    assert found.box_classes.tolist() == [2]


def test_classes_that_are_not_in_use_hide_what_is_below(tmp_path):
    square = [[20, 10], [40, 10], [40, 30], [20, 30]]
    shapes = (
        {"class": "cat", "polygon": square},
        {"class": "dog", "polygon": [[22, 12], [30, 12], [30, 28]]},
        {"class": "dog", "box": [1, 1, 9, 9]},
    )
    found = label(tmp_path, *shapes, classes=["background", "cow", "cat"])
    assert found.mask[15, 38] == 2
    assert found.mask[14, 27] == 255
    assert found.drawn[14, 27]
    assert found.box_classes.tolist() == [255]


def test_shapes_that_leave_the_image_are_cut_off(tmp_path):
    found = label(
        tmp_path,
        stroke("cat", (-20, 10), (5, 10)),
        {"class": "dog", "polygon": [[50, 30], [90, 30], [90, 90], [50, 90]]},
        {"class": "cow", "box": [-5, -5, 5, 5]},
    )
    assert found.mask[10, 0] == 1
    assert found.mask[39, 59] == 2
    assert found.boxes.tolist() == [[0, 0, 5, 5]]


@each(
    "shape",
    [
        stroke("cat", (-20, -20), (-9, -9)),
        {"class": "cat", "point": [-50, 5]},
        {"class": "cat", "polygon": [[70, 5], [80, 5], [80, 15]]},
        {"class": "cat", "polygon": [[5.6, 5.6], [5.8, 5.6], [5.8, 5.8]]},
        {"class": "cat", "box": [70, 5, 80, 9]},
        {"class": "cat", "box": [5, 5, 5, 9]},
        {"class": "cat", "box": [0.1, 0.1, 0.9, 0.9]},
        {"class": "cat", "box": [59.95, 5, 80, 9]},
    ],
)
def test_shapes_without_a_pixel_are_errors(tmp_path, shape):
    inside = stroke("dog", (5, 5))
    message = r"shapes.json, image 'a', shape 2: the \w+ has no pixel .* 60x40 .*correct or delete"
    with pytest.raises(ValueError, match=message):
        label(tmp_path, inside, shape)
    problems: list[str] = []
    found = opened(tmp_path, [inside, shape]).read("a", SIZE, problems.append)
    assert len(problems) == 1
    assert (found.mask == 2).any()
    assert not len(found.boxes)


def test_a_thin_box_and_rings_without_an_area_are_no_errors(tmp_path):
    rings = [[[20, 10], [40, 10], [40, 30]], [[1, 1], [2, 2]]]
    thin = {"class": "dog", "box": [5.6, 1, 6.4, 9]}
    found = label(tmp_path, {"class": "cat", "polygon": rings}, thin)
    assert (found.mask == 1).any()
    assert found.boxes.tolist() == [[5, 1, 7, 9]]  # between two centres: both pixels


def test_maps_have_the_classes_of_their_folder_or_of_the_data_set(tmp_path):
    save_mask(tmp_path / "sparse" / "a.png", [1, 2])
    assert set(np.unique(label(tmp_path).mask)) == {0, 1, 2, 255}
    (tmp_path / "classes.txt").write_text("dog\nbackground\ncow\n")
    assert set(np.unique(label(tmp_path).mask)) == {2, 0, 3, 255}
    (tmp_path / "classes.txt").write_text("dog 9 9 9\nbackground 0 0 0\nignore 255 255 255\n")
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[5], colors[6] = 9, 255
    Image.fromarray(colors).save(tmp_path / "sparse" / "a.png")
    found = label(tmp_path).mask
    assert (found[5] == 2).all()
    assert (found[6] == 255).all()
    assert (found[7] == 0).all()


def test_errors_of_the_folder(tmp_path):
    save_mask(tmp_path / "sparse" / "b.png", [1])
    with pytest.raises(ValueError, match=r"b.png has no image of the same name; rename"):
        label(tmp_path)
    (tmp_path / "sparse" / "b.png").unlink()
    save_mask(tmp_path / "sparse" / "a.png", [1], height=30)
    with pytest.raises(ValueError, match=r"60x30 .* but image a is 60x40"):
        label(tmp_path)
    (tmp_path / "classes.txt").write_text("background\nzebra\n")
    with pytest.raises(ValueError, match="class 'zebra', which is none of background, cat"):
        label(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is missing; expected a folder with"):
        open_sparse_files(
            tmp_path / "nowhere", images={}, known_classes=CLASSES, class_names=CLASSES
        )


def test_which_images_have_labels(tmp_path):
    assert "a" in opened(tmp_path, [stroke("cat", (1, 1))])
    assert "a" not in opened(tmp_path, [])
    save_mask(tmp_path / "sparse" / "a.png", [1])
    assert "a" in opened(tmp_path, [])
    assert "b" not in opened(tmp_path, [])
