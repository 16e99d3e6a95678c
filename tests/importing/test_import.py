import base64
import csv
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.exports import (
    coco,
    cvat,
    labelme,
    labelme_shape,
    labelstudio,
    result,
    save_image,
    task,
    voc,
)
from tests.each import each
from wsss_zoo.cli import main
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.data.sets.folder import Folder
from wsss_zoo.data.supervision.possible import known_pixels
from wsss_zoo.files.decoding import read_index_mask, read_rgb

CAT = [[10, 10], [30, 10], [30, 30], [10, 30]]
SUBSETS = ["Train", "Validation", "Test", "other", "Validation"]
DOG = [[20, 20], [40, 20], [40, 36], [20, 36]]


def run(source, root, *options):
    return main(["import", str(source), str(root), *options])


def mask(root, image_id="a"):
    return read_index_mask(str(root / "masks" / f"{image_id}.png"))


def counts(root, image_id="a"):
    values, number = np.unique(mask(root, image_id), return_counts=True)
    return dict(zip(values.tolist(), number.tolist(), strict=True))


def files(root):
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def photos(tmp_path):
    for name in ("a.jpg", "b.jpg", "sub/c.png"):
        save_image(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_a_labelme_folder(photos, tmp_path, capsys):
    labelme(
        photos / "a.json",
        [
            labelme_shape("dog", DOG),
            labelme_shape("cat", CAT),
            labelme_shape("_background_", [[10, 10], [15, 10], [15, 15], [10, 15]]),
            labelme_shape("__ignore__", [[0, 0], [12, 0], [12, 12], [0, 12]]),
        ],
    )
    labelme(photos / "sub" / "c.json", [], "c.png")
    root = tmp_path / "root"
    assert run(photos, root) == 0
    assert (root / "classes.txt").read_text() == "background\ncat\ndog\n"
    # Ignored pixels lie lowest, the hole on top: 144 of which 4 are of the hole.
    expected = {0: 40 * 60 - 375 - 220 - 140, 1: 375, 2: 220, 255: 140}
    assert counts(root) == expected
    assert counts(root, "sub/c") == {0: 40 * 60}
    assert not (root / "masks" / "b.png").exists()
    found = {str(p.relative_to(root)) for p in (root / "images").rglob("*.*")}
    assert found == {"images/a.jpg", "images/b.jpg", "images/sub/c.png"}
    assert (root / "images" / "a.jpg").samefile(photos / "a.jpg")
    printed = capsys.readouterr().out
    for text in (
        "images: 3; annotated: 2, of these empty: 1; without annotation: 1",
        "shapes: 1 ignored region, 3 polygons",
        "cat and dog: 100 pixels",
        "pixels that no shape covers: background, the default",
    ):
        assert text in printed
    with Image.open(root / "masks" / "a.png") as picture:
        assert picture.mode == "P"


def test_classes_that_the_list_of_the_tool_lacks_are_named(photos, tmp_path, capsys):
    labelme(photos / "a.json", [labelme_shape("dog", DOG), labelme_shape("dgo", CAT)])
    (photos / "labels.txt").write_text("__ignore__\n_background_\ndog\n")
    assert run(photos, tmp_path / "root") == 0
    printed = capsys.readouterr().out
    assert "classes that the tool's list lacks stand last: dgo" in printed
    assert printed.count("classes in the order of labels.txt") == 1


def test_twice_is_once_and_order_does_not_matter(photos, tmp_path):
    for name in ("a", "b"):
        labelme(photos / f"{name}.json", [labelme_shape(name, CAT)], f"{name}.jpg")
    root = tmp_path / "root"
    assert run(photos, root) == 0
    before = files(root)
    assert run(photos, root) == 0
    assert files(root) == before
    # Resumed after a kill: the manifest was not written.
    (root / "import.json").rename(root / "import.partial.json")
    assert run(photos, root) == 0
    assert {k: v[0] for k, v in files(root).items()} == {k: v[0] for k, v in before.items()}
    other = tmp_path / "other"
    for name in ("b", "a"):
        content = json.loads((photos / f"{name}.json").read_text())
        labelme(photos / f"{name}.json", content["shapes"][::-1], f"{name}.jpg")
    assert run(photos, other) == 0
    np.testing.assert_array_equal(mask(other), mask(root))


def test_changes_in_the_tool_are_followed_and_those_of_a_user_are_kept(photos, tmp_path):
    for name in ("a", "b"):
        labelme(photos / f"{name}.json", [labelme_shape("cat", CAT)], f"{name}.jpg")
    root = tmp_path / "root"
    run(photos, root)
    labelme(photos / "a.json", [labelme_shape("cat", DOG)])
    (photos / "b.json").unlink()
    run(photos, root)
    assert counts(root)[1] == 320
    assert not (root / "masks" / "b.png").exists()
    Image.new("L", (60, 40)).save(root / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png was changed after the import"):
        run(photos, root)
    labelme(photos / "a.json", [labelme_shape("new", DOG)])
    (root / "masks" / "a.png").unlink()
    with pytest.raises(ValueError, match=r"class 'new', which .*classes\.txt does not name"):
        run(photos, root)


def test_files_of_others_are_not_replaced(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    root = tmp_path / "root"
    (root / "masks").mkdir(parents=True)
    (root / "masks" / "a.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a\.png is not from an import"):
        run(photos, root)
    (root / "masks" / "a.png").unlink()
    save_image(root / "images" / "a.jpg", 40, 61)
    with pytest.raises(ValueError, match="another image"):
        run(photos, root)
    with pytest.raises(SystemExit):
        run(photos, photos)


def test_an_existing_class_list_rules(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    root = tmp_path / "root"
    root.mkdir()
    (root / "classes.txt").write_text("background\ndog\nhorse\ncat\n")
    run(photos, root)
    assert counts(root)[3] == 400
    assert (root / "classes.txt").read_text() == "background\ndog\nhorse\ncat\n"
    (root / "classes.txt").write_text("background\ncats\n")
    with pytest.raises(ValueError, match=r"'cat', which .* \(did you mean 'cats'\?\)"):
        run(photos, root)
    (root / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="write 'background' before it"):
        run(photos, root)


def test_strokes_and_points_leave_the_rest_unknown(photos, tmp_path):
    labelme(
        photos / "a.json",
        [
            labelme_shape("cat", CAT),
            labelme_shape("dog", [[1, 2], [3, 4.5]], "line"),
            labelme_shape("_background_", [[50, 2]], "point"),
        ],
    )
    labelme(photos / "b.json", [labelme_shape("cat", CAT)], "b.jpg")
    labelme(photos / "sub" / "c.json", [], "c.png")
    root = tmp_path / "root"
    run(photos, root, "--stroke-width", "5")
    assert counts(root) == counts(root, "b") == {1: 400, 255: 2000}
    assert not (root / "masks" / "sub").exists()
    shapes = json.loads((root / "shapes.json").read_text())
    assert shapes["a"] == [
        {"class": "cat", "polygon": [CAT]},
        {"class": "dog", "stroke": [[1, 2], [3, 4.5]], "width": 5},
    ]
    assert shapes["b"] == [{"class": "cat", "polygon": [CAT]}]
    assert rows(root / "points.csv") == [
        ["image_id", "class", "x", "y"],
        ["a", "background", "50.0", "2.0"],
    ]
    other = tmp_path / "other"
    run(photos, other, "--rest", "background")
    assert counts(other) == {0: 2000, 1: 400}
    assert counts(other, "sub/c") == {0: 2400}
    frame = [[0, 0], [60, 0], [60, 40], [0, 40]]
    assert json.loads((other / "shapes.json").read_text())["b"] == [
        {"class": "background", "polygon": [frame]},
        {"class": "cat", "polygon": [CAT]},
    ]


def test_boxes(photos, tmp_path, capsys):
    voc(
        photos / "a.xml",
        "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax>"
        "<ymax>20</ymax></bndbox></object><object><name>dog</name><bndbox><xmin>70</xmin>"
        "<ymin>1</ymin><xmax>80</xmax><ymax>20</ymax></bndbox></object>",
    )
    voc(photos / "b.xml", "", "b.jpg")
    root = tmp_path / "root"
    run(photos, root)
    assert "images without any shape: 1; nothing is written" in capsys.readouterr().out
    assert not (root / "masks").exists()
    assert rows(root / "boxes.csv") == [
        ["image_id", "class", "x0", "y0", "x1", "y1"],
        ["a", "cat", "0.0", "0.0", "10.0", "20.0"],
    ]
    assert rows(root / "image_labels.csv") == [["image_id", "classes"], ["a", "cat"]]
    filled = tmp_path / "filled"
    run(photos, filled, "--boxes", "mask")
    assert counts(filled) == {0: 2200, 1: 200}
    assert counts(filled, "b") == {0: 2400}
    assert not (filled / "boxes.csv").exists()


def test_boxes_beside_masks_are_no_background(photos, tmp_path):
    labelme(
        photos / "a.json",
        [labelme_shape("cat", CAT), labelme_shape("dog", [[0, 0], [20, 20]], "rectangle")],
    )
    run(photos, tmp_path / "root")
    assert counts(tmp_path / "root") == {0: 2400 - 400 - 300, 1: 400, 255: 300}


def test_missing_files(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    run(photos, tmp_path / "root", "--missing", "background")
    assert counts(tmp_path / "root", "sub/c") == {0: 2400}


def test_z_order_and_subsets_of_cvat(photos, tmp_path):
    def square(label, points, z):
        text = ";".join(f"{x},{y}" for x, y in points)
        return f'<polygon label="{label}" points="{text}" z_order="{z}"/>'

    file = cvat(
        tmp_path / "annotations.xml",
        [
            ("a.jpg", square("cat", CAT, 3) + square("dog", DOG, 1), 'subset="Train"'),
            ("b.jpg", "", 'subset="Validation"'),
            ("sub/c.png", '<tag label="dog"/>', 'subset="default"'),
        ],
    )
    root = tmp_path / "root"
    run(file, root, "--images", str(photos))
    assert (root / "classes.txt").read_text() == "background\ndog\ncat\n"
    assert counts(root) == {0: 2400 - 400 - 220, 2: 400, 1: 220}
    assert (root / "splits" / "train.txt").read_text() == "a\n"
    assert (root / "splits" / "val.txt").read_text() == "b\n"
    assert not (root / "masks" / "sub").exists()
    assert rows(root / "image_labels.csv")[1:] == [["sub/c", "dog"]]


def test_segmentation_masks_of_cvat_keep_their_colours(photos, tmp_path):
    colors = np.zeros((40, 60, 3), np.uint8)
    colors[:] = (0, 128, 0)
    colors[3:7, 4:9] = (250, 50, 83)
    archive = tmp_path / "export.zip"
    Image.fromarray(colors).save(tmp_path / "a.png")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tmp_path / "a.png", "SegmentationClass/a.png")
        label_map = "# label:color_rgb:parts:actions\nbackground:0,128,0::\ncat:250,50,83::\n"
        file.writestr("labelmap.txt", label_map)
    root = tmp_path / "root"
    run(archive, root, "--images", str(photos))
    assert counts(root) == {0: 2380, 1: 20}
    assert (root / "classes.txt").read_text() == "background 0 128 0\ncat 250 50 83\n"
    table = read_class_file(root / "classes.txt").colors
    pixels = np.asarray(Image.open(root / "masks" / "a.png").convert("RGB"))
    assert [table[tuple(c)] for c in np.unique(pixels.reshape(-1, 3), axis=0).tolist()] == [0, 1]
    text = (root / "import.json").read_text()
    run(archive, root, "--images", str(photos))
    assert (root / "import.json").read_text() == text


def test_label_studio_uploads(photos, tmp_path):
    save_image(photos / "my photo (1).jpg")
    value = {"points": [[10, 10], [50, 10], [50, 50]], "closed": True, "polygonlabels": ["cat"]}
    tasks = [
        task([result("polygonlabels", value), result("choices", {"choices": ["dog"]}, "c")]),
        task([], "/data/upload/3/1a2b3c4d-my_photo_1.jpg", 2),
        task([], "/data/upload/3/1a2b3c4e-b.jpg", 3, annotations=[]),
    ]
    file = labelstudio(tmp_path / "export.json", tasks)
    (tmp_path / "label_config.xml").write_text(
        '<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image">'
        '<Label value="dog"/><Label value="cat"/></PolygonLabels>'
        '<Choices name="q"><Choice value="good"/></Choices></View>'
    )
    root = tmp_path / "root"
    run(file, root, "--images", str(photos))
    assert (root / "classes.txt").read_text() == "background\ndog\ncat\n"
    assert counts(root)[2] == pytest.approx(24 * 16 / 2, abs=20)
    assert counts(root, "my photo (1)") == {0: 2400}
    assert not (root / "masks" / "b.png").exists()
    assert (root / "images" / "b.jpg").exists()
    assert rows(root / "image_labels.csv")[1:] == [["a", "dog;cat"]]


def test_tags_alone_make_the_classes(photos, tmp_path):
    labelme(photos / "a.json", [], flags={"cat": True, "dog": False})
    labelme(photos / "b.json", [], "b.jpg", flags={"cat": False, "dog": False})
    run(photos, tmp_path / "root")
    assert (tmp_path / "root" / "classes.txt").read_text() == "background\ncat\n"
    assert rows(tmp_path / "root" / "image_labels.csv")[1:] == [["a", "cat"]]
    assert not (tmp_path / "root" / "masks").exists()


@each("orientation", [5, 6, 7, 8])
def test_photos_that_are_turned(tmp_path, orientation):
    """The file's pixels are 40x60 (high x wide), upright it is 60x40."""
    photos = tmp_path / f"photos{orientation}"
    raw = np.zeros((40, 60, 3), np.uint8)
    raw[10:30, 5:20] = 255
    raw[12:16, 30:33] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    photos.mkdir()
    Image.fromarray(raw).save(photos / "a.png", exif=exif)
    outline = [[5, 10, 20, 10, 20, 30, 5, 30]]
    annotations = [
        {"category_id": 1, "segmentation": outline},
        {
            "category_id": 1,
            "segmentation": {"size": [40, 60], "counts": [1212, 4, 36, 4, 36, 4, 1104]},
        },
        {"category_id": 7, "bbox": [5, 10, 15, 20]},
    ]
    file = coco(photos / "a.json", annotations, [("a.png", 1)])
    root = tmp_path / f"root{orientation}"
    run(file, root)
    upright = read_rgb(str(root / "images" / "a.png"))[..., 0] > 0
    assert upright.shape == (60, 40)
    np.testing.assert_array_equal(mask(root) == 1, upright)
    x0, y0, x1, y1 = (float(v) for v in rows(root / "boxes.csv")[1][2:])
    big = np.zeros_like(upright)
    big[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert (upright & big).sum() == 300 == big.sum()
    labelme(photos / "b.json", [labelme_shape("cat", CAT)], "a.png", size=(60, 40))
    run(photos / "b.json", tmp_path / f"upright{orientation}")
    assert counts(tmp_path / f"upright{orientation}")[1] == 400


def test_sizes_that_do_not_fit(photos, tmp_path):
    for size in ((60, 40), (41, 60)):
        labelme(photos / "a.json", [labelme_shape("cat", CAT)], size=size)
        with pytest.raises(ValueError, match=rf"{size[1]}x{size[0]} pixels .* has 60x40"):
            run(photos, tmp_path / "root")
        assert not (tmp_path / "root").exists()


def test_all_problems_are_named_and_nothing_is_written(photos, tmp_path, capsys):
    labelme(photos / "a.json", [labelme_shape("cat", [[1e9, 1], [2, 3], [3, 3]])])
    labelme(photos / "sub" / "c.json", [], "C.PNG")
    labelme(photos / "d.json", [], "d.jpg")
    (photos / "e.json").write_text("{")
    root = tmp_path / "root"
    with pytest.raises(ValueError, match="4 problems; nothing was written") as caught:
        run(photos, root)
    for text in ("a.json, shape 1", "has other capitals", "'d.jpg' is not in", "e.json"):
        assert text in str(caught.value)
    assert run(photos, root, "--dry-run") == 1
    printed = capsys.readouterr().out
    assert "4 problems; nothing was written" in printed
    assert "a.json, shape 1" in printed
    assert not root.exists()


def test_dry_run(photos, tmp_path, capsys):
    labelme(photos / "a.json", [labelme_shape("cat", CAT), labelme_shape("cat", DOG[:2])])
    assert run(photos, tmp_path / "root", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "1 x polygon of 2 points" in printed
    assert "no problems; nothing was written" in printed
    assert not (tmp_path / "root").exists()


def test_images_by_name(tmp_path):
    for name in ("x/a.jpg", "y/a.jpg", "y/b.jpg"):
        save_image(tmp_path / "photos" / name)
    file = coco(tmp_path / "a.json", [], [("y/a.jpg", 1), ("deep/y/b.jpg", 2)])
    run(file, tmp_path / "root", "--images", str(tmp_path / "photos"))
    assert {p.stem for p in (tmp_path / "root" / "masks" / "y").iterdir()} == {"a", "b"}
    file = coco(tmp_path / "a.json", [], [("a.jpg", 1)])
    with pytest.raises(ValueError, match=r"may be .*x/a\.jpg or .*y/a\.jpg"):
        run(file, tmp_path / "other", "--images", str(tmp_path / "photos"))
    file = coco(tmp_path / "a.json", [], [("b.jpg", 1), ("y/b.png", 2)])
    with pytest.raises(ValueError, match=r"is annotated in .* too"):
        run(file, tmp_path / "other", "--images", str(tmp_path / "photos"))


def test_images_inside_the_annotations(tmp_path):
    photo = save_image(tmp_path / "x" / "a.jpg")
    content = photo.read_bytes()
    inside = base64.b64encode(content).decode()
    labelme(tmp_path / "in" / "s" / "a.json", [labelme_shape("cat", CAT)], imageData=inside)
    root = tmp_path / "root"
    run(tmp_path / "in", root)
    assert (root / "images" / "s" / "a.jpg").read_bytes() == content
    assert counts(root, "s/a")[1] == 400
    before = files(root)
    run(tmp_path / "in", root)
    assert files(root) == before


def test_many_classes_and_strange_names(photos, tmp_path):
    def shapes(count):
        return [
            labelme_shape(
                f"c{i:03}", [[i % 60, i // 60], [i % 60 + 1, i // 60], [i % 60 + 1, i // 60 + 1]]
            )
            for i in range(count)
        ]

    labelme(photos / "a.json", shapes(254))
    with pytest.raises(ValueError, match="255 classes"):
        run(photos, tmp_path / "root")
    labelme(photos / "a.json", shapes(253))
    run(photos, tmp_path / "root")
    assert len(read_class_file(tmp_path / "root" / "classes.txt").names) == 254
    for number, names in enumerate(
        (["2 wheels"], ["cat #1", "cat #2"], ["a: b"], ["'a'"], ["- x"])
    ):
        labelme(photos / "a.json", [labelme_shape(n, CAT) for n in names])
        root = tmp_path / f"root{number}"
        run(photos, root)
        assert read_class_file(root / "classes.json").names == ["background", *names]
    labelme(photos / "a.json", [labelme_shape("unlabeled", CAT)])
    with pytest.raises(ValueError, match="'unlabeled', which marks pixels without a class"):
        run(photos, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    names = ["type 1 2 3", "a;b", "😀, x"]
    labelme(photos / "a.json", [labelme_shape(n, CAT) for n in names], flags={"a;b": True})
    root = tmp_path / "strange"
    run(photos, root)
    assert read_class_file(root / "classes.json").names == ["background", *sorted(names)]
    assert json.loads((root / "image_labels.json").read_text()) == {"a": sorted(names)}


def test_formats_are_told_by_content(photos, tmp_path, caplog):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    with caplog.at_level("INFO", "wsss_zoo"):
        run(photos, tmp_path / "root")
    assert "format labelme, by its content" in caplog.text
    voc(photos / "b.xml", "", "b.jpg")
    with pytest.raises(ValueError, match=r"several formats: labelme \(a\.json\), voc \(b\.xml\)"):
        run(photos, tmp_path / "other")
    run(photos, tmp_path / "other", "--format", "voc")
    # Too large to be parsed for this; the data of its tasks may have any names.
    (photos / "a.json").unlink()
    (photos / "b.xml").unlink()
    value = {"points": [[10, 10], [50, 10], [50, 50]], "polygonlabels": ["cat"], "x": "y" * 2**21}
    more = {"image": "a.jpg", "file_name": "a.jpg"}
    labelstudio(photos / "a.json", [task([result("polygonlabels", value)], data=more)])
    run(photos, tmp_path / "large", "--key", "image")
    assert counts(tmp_path / "large")[1] > 0
    # CreateML's boxes, which Roboflow exports.
    boxes = [{"label": "cat", "coordinates": {"x": 20, "y": 20, "width": 10, "height": 10}}]
    (photos / "sub" / "a.json").write_text(json.dumps([{"image": "c.png", "annotations": boxes}]))
    with pytest.raises(ValueError, match="holds no annotations"):
        run(photos / "sub", tmp_path / "third")


@each(
    ("options", "message"),
    [
        (["--stroke-width", "0"], "stroke_width is 0"),
        (["--images", "nowhere"], "images nowhere is no folder"),
        (["--rest", "maybe"], "rest"),
        (["--format", "bmp"], "format"),
    ],
)
def test_bad_options(photos, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        run(photos, tmp_path / "root", *options)
    assert message in capsys.readouterr().err


def test_random_bytes(photos, tmp_path):
    generator = np.random.default_rng(0)
    whole = labelme(photos / "a.json", [labelme_shape("cat", CAT)]).read_bytes()
    for cut in generator.integers(0, len(whole) - 1, 20).tolist():
        (photos / "a.json").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"a\.json"):
            run(photos / "a.json", tmp_path / "root", "--format", "labelme")
    for name in ("labelme", "cvat", "coco", "labelstudio", "voc"):
        (photos / "a.json").write_bytes(generator.bytes(300))
        with pytest.raises(ValueError, match=r"a\.json"):
            run(photos / "a.json", tmp_path / "root", "--format", name)


def test_it_needs_no_torch(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    code = (
        "import sys; from wsss_zoo.cli import main; "
        f"assert main(['import', {str(photos)!r}, {str(tmp_path / 'root')!r}]) == 0; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_root_inside_the_source(photos, tmp_path, monkeypatch):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    monkeypatch.chdir(photos)
    for _ in range(2):
        assert run(".", "../photos/out") == 0
        assert {path.name for path in (photos / "out" / "images").iterdir()} == {
            "a.jpg",
            "b.jpg",
            "sub",
        }
        assert not (photos / "out" / "images" / "out").exists()


def test_images_that_are_in_the_root_already(photos, tmp_path):
    root = tmp_path / "root"
    photos.rename(root)
    (root / "images").mkdir()
    for path in root.glob("*.jpg"):
        path.rename(root / "images" / path.name)
    file = cvat(root / "annotations.xml", [("a.jpg", "", "")])
    assert run(file, root) == 0
    assert (root / "masks" / "a.png").exists()


def test_masks_are_no_images(tmp_path):
    colors = np.zeros((4, 6, 3), np.uint8)
    (tmp_path / "export" / "SegmentationClass").mkdir(parents=True)
    Image.fromarray(colors).save(tmp_path / "export" / "SegmentationClass" / "a.png")
    (tmp_path / "export" / "labelmap.txt").write_text("background:0,0,0::\ncat:1,1,1::\n")
    with pytest.raises(ValueError, match="image 'a' is not in"):
        run(tmp_path / "export", tmp_path / "root")


def test_one_name_in_two_subsets(tmp_path):
    polygon = '<polygon label="cat" points="10,10;30,10;30,30;10,30"/>'
    for subset in ("Train", "Test"):
        save_image(tmp_path / "export" / "images" / subset / "a.jpg")
    cvat(
        tmp_path / "export" / "annotations.xml",
        [("a.jpg", polygon, 'subset="Train"'), ("a.jpg", "", 'subset="Test"')],
    )
    root = tmp_path / "root"
    run(tmp_path / "export", root)
    assert (counts(root, "Train/a")[2], counts(root, "Test/a")) == (400, {0: 2400})
    assert (root / "splits" / "test.txt").read_text() == "Test/a\n"


def test_broken_images(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    (photos / "b.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.jpg cannot be read as an image"):
        run(photos, tmp_path / "root", "--missing", "background")
    (photos / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read as an image"):
        run(photos, tmp_path / "root")


def test_linked_images_outside_name_an_option_of_this_command(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    elsewhere = tmp_path / "disk" / "a.jpg"
    elsewhere.parent.mkdir()
    (photos / "a.jpg").rename(elsewhere)
    (photos / "a.jpg").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="leads out of") as caught:
        run(photos, tmp_path / "root")
    assert "or name the folder that they are in as --images" in str(caught.value)
    assert "outside_links" not in str(caught.value)


def test_masks_are_added_to_a_folder_with_tags_of_its_own(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    root = tmp_path / "root"
    root.mkdir()
    (root / "classes.txt").write_text("background\ncat\n")
    (root / "image_labels.csv").write_text("id,classes\na,cat\n")
    assert run(photos, root) == 0
    assert set(counts(root)) == {0, 1}
    assert (root / "image_labels.csv").read_text() == "id,classes\na,cat\n"
    labelme(photos / "a.json", [labelme_shape("cat", CAT[::2], shape_type="rectangle")])
    with pytest.raises(ValueError, match=r"image_labels\.csv is not from an import"):
        run(photos, root)


def test_other_annotations_do_not_delete_the_masks_of_the_first(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    root = tmp_path / "root"
    run(photos, root)
    second = tmp_path / "second"
    second.mkdir()
    labelme(second / "b.json", [labelme_shape("cat", CAT)], image="b.jpg")
    with pytest.raises(ValueError, match=r"1 masks of an import of other annotations, first masks"):
        run(second, root, "--images", str(photos))
    assert set(counts(root)) == {0, 1}
    (root / "import.json").unlink()
    assert run(second, root, "--images", str(photos)) == 0
    assert set(counts(root)) == set(counts(root, "b")) == {0, 1}


def test_renamed_images_are_told(photos, tmp_path, capsys):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)], "IMG_7.jpg")
    run(photos, tmp_path / "root")
    assert (tmp_path / "root" / "masks" / "a.png").is_file()
    assert "found by the name of their annotation file: 1, first a.jpg" in capsys.readouterr().out


def test_an_image_that_stands_there_twice(photos, tmp_path):
    """As two tasks of a CVAT project may have it, or two entries of a COCO file."""
    polygon = '<polygon label="cat" points="10,10;30,10;30,30;10,30"/>'
    cvat(photos / "a.xml", [("a.jpg", polygon, ""), ("a.jpg", "", "")])
    with pytest.raises(ValueError, match="image 'a' is annotated twice there"):
        run(photos, tmp_path / "root")
    (photos / "a.xml").unlink()
    coco(photos / "a.json", [], (("a.jpg", 1), ("a.jpg", 2)))
    with pytest.raises(ValueError, match="image 'a' is annotated twice there"):
        run(photos, tmp_path / "root")


def known(root, image_id="a"):
    """The labels of pixels that `Sparse` learns from."""
    labels = Folder(str(root)).open_sparse_labels()
    return known_pixels(labels.read(image_id, (40, 60)), complete_boxes=True, background=True).mask


def test_sparse_training_sees_the_regions_beside_boxes(photos, tmp_path, capsys):
    box = labelme_shape("dog", [[40, 0], [60, 20]], "rectangle")
    labelme(photos / "a.json", [labelme_shape("cat", CAT), box])
    labelme(photos / "b.json", [labelme_shape("cat", CAT)], "b.jpg")
    root = tmp_path / "root"
    run(photos, root)
    assert [*json.loads((root / "shapes.json").read_text())] == ["a"]
    mask = known(root)
    assert "complete_boxes" not in capsys.readouterr().out
    assert (mask[10:30, 10:30] == 1).all()
    assert (np.delete(mask, np.s_[40:], 1) == 0).sum() == 40 * 40 - 400


def test_sparse_training_sees_the_rest_that_is_background(photos, tmp_path, capsys):
    shapes = [
        labelme_shape("cat", CAT),
        labelme_shape("__ignore__", [[0, 30], [20, 30], [20, 40], [0, 40]]),
        labelme_shape("dog", [[40, 0], [60, 20]], "rectangle"),
        labelme_shape("dog", [[35, 30], [50, 30]], "line"),
    ]
    labelme(photos / "a.json", shapes)
    run(photos, tmp_path / "unknown")
    note = "images with boxes: 1; Sparse takes all that is outside of the boxes"
    assert note in capsys.readouterr().out
    root = tmp_path / "root"
    run(photos, root, "--rest", "background")
    mask = known(root)
    assert (mask[10:30, 10:30] == 1).all()
    assert (mask[33:, 22:] == 0).all()
    assert (mask[:20, :10] == 0).all()
    assert (mask[30, 36:50] == 2).all()
    assert (mask[:20, 40:] != 0).all()


def test_strokes_without_a_pixel_are_left_out(photos, tmp_path, capsys):
    """A folder that an import wrote can be read."""
    lines = [
        *([[-50, 30], [30, -50]], [[70, 5], [70, 20]]),
        *([[-9, 5], [70, 20]], [[-0.9, 5], [-0.9, 20]], [[5, 5], [9, 9]]),
    ]
    labelme(photos / "a.json", [labelme_shape("cat", line, "line") for line in lines])
    root = tmp_path / "root"
    run(photos, root)
    assert [s["stroke"] for s in json.loads((root / "shapes.json").read_text())["a"]] == lines[2:]
    assert "2 x stroke outside the image" in capsys.readouterr().out
    assert (known(root) == 1).any()


def test_lists_that_measure_have_images_with_masks(tmp_path, capsys):
    """A data set for detection has boxes alone, also in its validation part."""
    box = '<box label="cat" xtl="10" ytl="10" xbr="30" ybr="30"/>'
    polygon = '<polygon label="cat" points="10,10;30,10;30,30;10,30"/>'
    images = [
        (f"{n}.jpg", box if n < 4 else polygon, f'subset="{s}"') for n, s in enumerate(SUBSETS)
    ]
    for name, _, _ in images:
        save_image(tmp_path / "export" / name)
    cvat(tmp_path / "export" / "annotations.xml", images)
    root = tmp_path / "root"
    run(tmp_path / "export", root)
    lists = {path.stem: path.read_text() for path in (root / "splits").iterdir()}
    assert lists == {"train": "0\n", "val": "4\n", "other": "3\n"}
    output = capsys.readouterr().out
    assert "subset 'Validation': 1 images without a mask are on no list" in output
    data = Folder(str(root))
    data.check_images(data.ids_of("val"), masks=True)


def test_a_tag_that_is_no_class_is_no_shape(photos, tmp_path):
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    labelme(photos / "b.json", [], "b.jpg", flags={"checked": True})
    labelme(photos / "sub" / "c.json", [], "c.png", flags={"cat": True})
    root = tmp_path / "root"
    run(photos, root)
    assert counts(root, "b") == {0: 2400}
    assert not (root / "masks" / "sub").exists()
    assert rows(root / "image_labels.csv")[1:] == [["sub/c", "cat"]]


def test_classes_that_differ_in_capitals_are_told(photos, tmp_path, capsys):
    labelme(photos / "a.json", [labelme_shape(name, CAT) for name in ("cat", "Cat", "dog")])
    run(photos, tmp_path / "root")
    assert "classes that differ in capitals alone: Cat, cat; rename" in capsys.readouterr().out


def test_an_export_without_any_shape_is_told(photos, tmp_path, capsys):
    """CVAT's "YOLO 1.1" of polygons is a set of empty files."""
    labelme(photos / "a.json", [])
    run(photos, tmp_path / "root")
    assert counts(tmp_path / "root") == {0: 2400}
    assert "no image has a shape, so all of an annotated image is background" in (
        capsys.readouterr().out
    )
    labelme(photos / "a.json", [labelme_shape("cat", CAT)])
    labelme(photos / "b.json", [], "b.jpg")
    run(photos, tmp_path / "other")
    assert "no image has a shape" not in capsys.readouterr().out
