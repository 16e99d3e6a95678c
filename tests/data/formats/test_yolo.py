import pytest

from tests.data.formats.exports import save_image
from tests.each import each
from wsss_zoo.data.formats import read_annotations
from wsss_zoo.files.shapes.outlines import polygon_mask


def data_set(root, labels, yaml="names: [cat, dog]\ntrain: images/train\nval: images/val\n"):
    """``labels`` are texts by path below labels/."""
    for name, text in labels.items():
        save_image(root / "images" / f"{name}.jpg")
        if text is not None:
            file = root / "labels" / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root


def read_shapes(root, line, **options):
    (image,) = read_annotations(data_set(root, {"train/a": line}), **options)
    return image.shapes


def test_polygons_boxes_and_their_order(tmp_path):
    shapes = read_shapes(
        tmp_path,
        "0 0.5 0.5 0.1 0.2\n1 0 0 0.5 0 0.5 0.5 0 0.5\n\n0.0 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.1\n",
    )
    assert [(s.kind, s.label) for s in shapes] == [
        *(("box", "cat"), ("polygon", "dog"), ("polygon", "cat"))
    ]
    assert shapes[0].box == pytest.approx((27, 16, 33, 24))
    assert polygon_mask(shapes[1].points, 40, 60).sum() == 30 * 20
    assert shapes[1].z == -600
    assert shapes[1].z < shapes[2].z


def test_bridges_are_holes(tmp_path):
    line = "1 0 0 1 0 1 1 0 1 0 0 .25 .25 .25 .75 .75 .75 .75 .25 .25 .25 0 0"
    (shape,) = read_shapes(tmp_path, line)
    assert polygon_mask(shape.points, 40, 60).sum() == 40 * 60 - 20 * 30


def test_missing_and_empty_files_and_splits(tmp_path):
    labels = {"train/a": "", "train/sub/b": "0 0 0 1 0 1 1", "val/c": "", "val/d": None}
    images = list(read_annotations(data_set(tmp_path, labels)))
    assert [(i.name, i.subset, len(i.shapes)) for i in images] == [
        *(("train/a", "train", 0), ("train/sub/b", "train", 1), ("val/c", "val", 0))
    ]
    assert all((i.height, i.width) == (40, 60) for i in images)


def test_roboflow_layout_and_names_as_a_mapping(tmp_path):
    for split in ("train", "valid"):
        save_image(tmp_path / split / "images" / "a.jpg")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "a.txt").write_text("3 0 0 1 0 1 1")
    yaml = "path: /somewhere/else\ntrain: ../train/images\nval: ../valid/images\nnc: 2\n"
    (tmp_path / "data.yaml").write_text(yaml + "names: {3: dog, 0: cat}\n")
    images = list(read_annotations(tmp_path / "data.yaml"))
    assert [(i.name, i.subset) for i in images] == [("train/a", "train"), ("valid/a", "val")]
    assert images[0].shapes[0].label == "dog"


def test_lists_of_images_and_other_texts(tmp_path):
    yaml = "names: [cat]\ntrain: train.txt\nval: [images/b, 3]\n"
    root = data_set(tmp_path, {"a": "", "b/c": ""}, yaml)
    (root / "train.txt").write_text("./images/a.jpg\n")
    images = list(read_annotations(root))
    assert [(i.name, i.subset) for i in images] == [("a", "train"), ("b/c", "val")]


def test_classes_txt_and_labels_beside_images(tmp_path):
    save_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "readme.txt").write_text("hello")
    (image,) = read_annotations(tmp_path)
    assert image.shapes[0].label == "dog"


def test_scores(tmp_path):
    line = "0 0 0 1 0 1 1 0.87\n1 0.5 0.5 0.1 0.1 0.9\n"
    root = data_set(tmp_path, {"a": line})
    with pytest.raises(ValueError, match=r"7 numbers behind the class.*--scores true"):
        list(read_annotations(root))


def test_values_are_clipped(tmp_path):
    (shape,) = read_shapes(tmp_path, "0 -0.01 0 1.02 0 1 1.3 0 1")
    assert shape.points[0].max(0).tolist() == [60, 40]
    assert shape.points[0].min() == 0


@each(
    ("line", "message"),
    [
        ("2 0 0 1 0 1 1", "class index 2 has no name"),
        ("-1 0 0 1 0 1 1", "class index -1"),
        ("0.5 0 0 1 0 1 1", "no whole number"),
        ("cat 0 0 1 0 1 1", "class index 'cat'"),
        ("0 0 0 30 0 30 20", "has 30 where a fraction"),
        ("0 0 0 nan 0 1 1", "is nan"),
        ("0 0 0 1e9 0 1 1", "no image has"),
        ("0 0 0", "2 numbers behind"),
        ("0", "0 numbers behind"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_shapes(tmp_path, f"0 0 0 1 0 1 1\n{line}\n")
    assert "a.txt, line 2" in str(caught.value)


@each(
    ("yaml", "message"),
    [
        ("names: [cat, cat]", "more than once"),
        ("names: 3", "no list of class names"),
        ("names: {a: cat}", "no list of class names"),
        ("names: [[1]]", "no list of class names"),
        ("names: cat", "no list of class names"),
        ("names: [cat]\nkpt_shape: [17, 3]", "YOLO pose"),
        ("names: [", "no YAML"),
        ("- 1", "no YAML"),
        ("names: !!python/object:os.system x", "no YAML"),
        ("nc: 3", "does not name the classes"),
    ],
)
def test_bad_settings(tmp_path, yaml, message):
    root = data_set(tmp_path / "x", {"a": ""}, yaml)
    with pytest.raises(ValueError, match=message):
        list(read_annotations(root))


def test_an_image_is_needed_for_its_size(tmp_path):
    root = data_set(tmp_path, {"a": "0 0 0 1 0 1 1"})
    (root / "images" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"a\.txt.*no size of image 'a'"):
        list(read_annotations(root))
    save_image(root / "images" / "A.jpg")
    with pytest.raises(ValueError, match=r"'A\.jpg' has other capitals"):
        list(read_annotations(root))


def test_the_export_of_label_studio(tmp_path):
    root = data_set(tmp_path, {"a": "0 0 0 1 0 1 1"}, None)
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "notes.json").write_text('{"categories": [{"id": 0, "name": "cat"}], "info": {}}')
    (image,) = read_annotations(root)
    assert image.shapes[0].label == "cat"


def test_yolo_1_1_of_cvat(tmp_path):
    """Darknet's layout: images, labels and lists lie together; boxes only."""
    save_image(tmp_path / "obj_train_data" / "a.jpg")
    (tmp_path / "obj_train_data" / "a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "obj.data").write_text("classes = 2\nnames = data/obj.names\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    (image,) = read_annotations(tmp_path)
    assert [(s.kind, s.label) for s in image.shapes] == [("box", "dog")]


def test_lists_that_begin_at_another_folder(tmp_path):
    root = data_set(tmp_path, {"train/a": ""}, "names: {0: cat}\npath: ./\ntrain: train.txt\n")
    (root / "train.txt").write_text("data/images/train/a.jpg\n")
    (image,) = read_annotations(root)
    assert image.subset == "train"


def test_a_few_lines_that_stand_for_more_than_the_memory_holds(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    for i in range(1, 12):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]")
    yaml = "\n".join([*lines, "names: [*a11]"])
    with pytest.raises(ValueError, match="is no name") as caught:
        list(read_annotations(data_set(tmp_path, {"a": ""}, yaml)))
    assert len(str(caught.value)) < 500


def test_subsets_of_cvat(tmp_path):
    yaml = "Train: Train.txt\nValidation: Validation.txt\nnames: {0: cat, 1: dog}\npath: .\n"
    root = data_set(tmp_path, {"Train/a": "0 0 0 1 0 1 1", "Validation/b": ""}, yaml)
    (root / "Train.txt").write_text("data/images/Train/a.jpg\n")
    (root / "Validation.txt").write_text("data/images/Validation/b.jpg\n")
    assert [(i.name, i.subset) for i in read_annotations(root)] == [
        *(("Train/a", "train"), ("Validation/b", "val"))
    ]
