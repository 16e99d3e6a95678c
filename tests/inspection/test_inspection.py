import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import folder_root, save_image, save_mask, voc_root
from wsss_zoo.data import VOC2012, Folder, Shapes
from wsss_zoo.drawing.choice import image_miou
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label
from wsss_zoo.inspection.command import choose_images
from wsss_zoo.inspection.inspection import inspect_data, inspect_image

__all__ = ["folder_root", "voc_root"]


def untracked(records, total):
    records = list(records)
    assert len(records) == total
    return records


def inspected(root, **options):
    return inspect_data(Folder(str(root), val_fraction=0, **options), untracked)


def test_a_sound_folder(folder_root):
    found = inspected(folder_root)
    assert found.errors == found.unread == []
    assert found.splits["train"] == found.splits["all"] == [f"img {n}" for n in range(6)]
    assert found.splits["val"] == []
    assert "extra" not in found.splits
    assert [found.is_masked(f"img {n}") for n in range(6)] == [True] * 4 + [False] * 2
    assert found.tags == {"img 4": ["cup", "plate"]}
    assert found.classes_in_mask("img 0") == {"cup"}
    assert found.classes_of("img 4") == {"cup", "plate"}
    assert found.disagreements() == {}
    mask = np.asarray(Image.open(folder_root / "masks" / "img 1.png"))
    expected = [np.count_nonzero(mask == value) for value in range(256)]
    np.testing.assert_array_equal(found.records["img 1"].pixels, expected)


def test_disagreements_of_tags_and_masks(folder_root):
    lines = ["id,classes", "img 0,plate", "img 1,cup;plate", "img 2,", "img 5,cup"]
    (folder_root / "image_labels.csv").write_text("\n".join(lines))
    found = inspected(folder_root)
    assert found.disagreements() == {
        "cup": (["img 1"], ["img 0", "img 2"]),
        "plate": (["img 0"], []),
    }


def test_every_bad_file_is_named(folder_root):
    images, masks = folder_root / "images", folder_root / "masks"
    (images / "img 5.JPG").write_bytes(b"")
    content = (images / "img 4.JPG").read_bytes()
    (images / "img 4.JPG").write_bytes(content[: len(content) // 2])
    (images / "img 3.png").write_bytes(b"")
    save_mask(masks / "img 0.png", [7])
    save_mask(masks / "img 1.png", [1], height=60, width=40)
    Image.fromarray(np.zeros((40, 60, 3), dtype=np.uint8)).save(masks / "img 2.png")
    save_mask(masks / "nobody.png", [1])
    (images / "link.jpg").symlink_to("nowhere.jpg")
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 4,cap\nimg 8,cup\n/img 1,cup\n")
    (folder_root / "splits").mkdir()
    (folder_root / "splits" / "test.txt").write_text("img 3\nimg 9\nimg 3\n../img 1\n")
    expected = [
        "img 3.JPG and",
        "link.jpg is a broken link",
        "nobody.png has no image",
        "test.txt has 'img 3' more than once",
        "id '../img 1' leads out",
        "tag file",
        "has tags for 'img 8'",
        "unknown class 'cap'",
        "img 0.png holds class index 7",
        "img 1.png is 40x60 pixels (width x height), but image img 1 is 60x40",
        "img 2.png is a mask of mode RGB",
        "img 4.JPG cannot be decoded (image file is truncated",
        "img 5.JPG cannot be decoded (the file is empty",
        "id 'img 9' is on a list, but has no image",
    ]
    found = inspected(folder_root, test_split="test", predict_split="all")
    for part in expected:
        assert sum(part in error for error in found.errors) == 1, part
    assert len(found.errors) == len(expected)
    assert found.records["img 0"].size == (40, 60)
    assert not found.is_masked("img 0")
    assert found.is_masked("img 3")


@pytest.mark.parametrize("labeled_split", ["half", 0.01])
def test_lists_that_cannot_be_read(folder_root, labeled_split):
    (folder_root / "masks" / "img 0.png").write_bytes(b"")
    found = inspected(
        folder_root, train_split="nowhere", predict_split="all", labeled_split=labeled_split
    )
    assert any("split 'nowhere'" in error for error in found.errors)
    assert "train" not in found.splits
    assert len(found.records) == 6


def test_a_folder_without_images(folder_root):
    (folder_root / "images").rename(folder_root / "photos")
    found = inspected(folder_root)
    assert any("has no images" in error for error in found.errors)
    assert found.records == found.splits == {}
    assert found.unread == [str(folder_root / "photos")]


def test_without_classes_nothing_can_be_said(folder_root):
    (folder_root / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"classes\.txt is missing"):
        inspected(folder_root)


def test_classes_not_in_use_count_as_ignored(folder_root):
    found = inspected(folder_root, classes=["plate"])
    assert found.fg_names == ["plate"]
    assert found.classes_in_mask("img 0") == set()
    assert found.tags == {"img 4": ["plate"]}


def test_other_data_sets(voc_root):
    found = inspect_data(VOC2012(str(voc_root), classes=["cat", "dog"]), untracked)
    assert (len(found.splits["train"]), found.held_out, found.errors) == (4, ["val"], [])
    (voc_root / "JPEGImages" / "2007_03.jpg").unlink()
    (voc_root / "image_labels.json").write_text('{"2007_01": ["kat"]}')
    found = inspect_data(VOC2012(str(voc_root)), untracked)
    assert ["'2007_03'" in e or "'kat'" in e for e in found.errors] == [True, True]
    missing = inspect_data(VOC2012(str(voc_root / "nowhere")), untracked)
    assert "does not exist" in missing.errors[0]


def test_generated_images():
    data = Shapes(num_train=3, num_val=2, image_size=64, train_split="val")
    found = inspect_data(data, untracked)
    assert {name: len(ids) for name, ids in found.splits.items()} == {"val": 2, "train": 3}
    for image_id in found.records:
        assert found.classes_in_mask(image_id) == set(found.tags[image_id])


def test_equal_pixels_have_equal_digests(folder_root):
    name = unicodedata.normalize("NFD", "cöpy.png")
    Image.open(folder_root / "images" / "img 0.JPG").save(folder_root / "images" / name)
    source = Folder(str(folder_root)).source
    digests = [inspect_image(source, i).digest for i in ("img 0", "img 1", "cöpy")]
    assert digests[0] == digests[2] != digests[1]


def test_flat_and_turned_images(folder_root):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (60, 40), "red").save(folder_root / "images" / "img 0.JPG", exif=exif)
    source = Folder(str(folder_root)).source
    records = [inspect_image(source, f"img {number}") for number in range(2)]
    assert [(r.is_flat, r.is_turned) for r in records] == [(True, True), (False, False)]
    save_image(folder_root / "images" / "img 0.JPG")
    assert not inspect_image(source, "img 0").is_flat


def test_what_an_import_found_is_shown(tmp_path, capsys):
    from tests.data.formats.exports import labelme, labelme_shape, save_image
    from wsss_zoo.cli import main

    save_image(tmp_path / "photos" / "a.jpg")
    shapes = [
        labelme_shape("cat", [[1, 1], [30, 1], [30, 30]]),
        labelme_shape("dog", [[1, 1], [30, 1], [30, 30]]),
        labelme_shape("dog", [[1, 1], [2, 2]]),
    ]
    labelme(tmp_path / "photos" / "a.json", shapes)
    root = str(tmp_path / "root")
    main(["import", str(tmp_path / "photos"), root])
    capsys.readouterr()
    assert main(["inspect", "--data", "Folder", "--data.root", root, "--num_images", "0"]) == 0
    printed = capsys.readouterr().out
    for text in ("shapes: 2 polygons", "cat and dog: 4", "1 x polygon of 2 points", "no errors"):
        assert text in printed
    assert "not read" not in printed


def listed(root, **lists):
    (root / "splits").mkdir(exist_ok=True)
    for name, ids in lists.items():
        (root / "splits" / f"{name}.txt").write_text("\n".join(ids) + "\n")


def test_what_training_would_refuse_or_warn_of(folder_root):
    listed(folder_root, train=["img 0"], val=["img 2", "img 5"], test=["img 3"])
    found = inspected(folder_root, labeled_split="val", unlabeled_split="test")
    assert found.held_out == ["val", "test"]
    assert found.splits["test"] == ["img 3"]
    first, second, *_ = found.errors
    assert "2 of 2 images of 'val', which are held out, are training images too" in first
    assert second.startswith("1 of 2 listed ids have no mask, first: img 5")
    assert any("1 of 1 images of 'test', which are held out" in note for note in found.notes)
    meant = inspected(folder_root, train_split="all", allow_overlap=True)
    assert not any("held out" in error for error in meant.errors)
    assert sum("held out" in note for note in meant.notes) == 2


def test_rows_that_add_up_are_noted(folder_root):
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 4,cup\nimg 4,plate\n")
    found = inspected(folder_root)
    assert found.tags == {"img 4": ["cup", "plate"]}
    assert "1 images have several rows" in found.notes[0]


def test_an_official_data_set_without_masks(voc_root):
    (voc_root / "SegmentationClass").rename(voc_root / "elsewhere")
    errors = inspect_data(VOC2012(str(voc_root)), untracked).errors
    assert [error.split("; ")[0] for error in errors] == [
        "2 of 2 listed ids have no mask, first: 2008_01, 2008_02",
        "4 of 4 listed ids have no mask, first: 2007_01, 2007_02, 2007_03",
    ]
    assert all("VOCtrainval_11-May-2012.tar" in error for error in errors)
    tagged = VOC2012(str(voc_root), supervision="image_labels")
    assert len(inspect_data(tagged, untracked).errors) == 1


def test_agreement_of_a_label_map_with_a_mask():
    mask = np.array([[0, 0, 1], [2, 255, 1]], dtype=np.uint8)
    label = np.array([[0, 1, 1], [2, 2, 255]], dtype=np.uint8)
    expected = np.mean([1 / 2, 1 / 3, 1 / 1])
    assert image_miou(label, mask) == pytest.approx(expected)
    assert np.isnan(image_miou(label, np.full_like(mask, 255)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask, label = rng.choice(np.uint8([0, 1, 2, 255]), (2, 5, 6))
        ious = []
        for index in range(3):
            one, other = (mask == index), (label == index) & (mask != 255)
            if (one | other).any():
                ious.append((one & other).sum() / (one | other).sum())
        assert image_miou(label, mask) == pytest.approx(np.mean(ious))


def pseudo_labels(root, folder):
    """Right labels of the first and the second image, wrong ones of the third; one of the fifth."""
    data = Folder(str(root), val_fraction=0)
    for name, label in {
        "img 0": data.read_mask("img 0"),
        "img 1": data.read_mask("img 1"),
        "img 2": np.full((40, 60), 2, dtype=np.uint8),
        "img 4": np.full((40, 60), 1, dtype=np.uint8),
    }.items():
        write_label(folder, name, label)
    write_manifest(folder, Manifest("CAM", data.class_names, 4, "", "", {}, "train"))
    return str(folder)


def test_pseudo_labels_are_read_and_measured(folder_root, tmp_path):
    folder = pseudo_labels(folder_root, tmp_path / "labels")
    found = inspected(folder_root, pseudo_label_dir=folder)
    assert found.errors == []
    scores = {name: iou for name, (_, iou) in found.pseudo.items()}
    assert scores["img 0"] == scores["img 1"] == 1
    assert scores["img 2"] == 0
    assert np.isnan(scores["img 4"])
    assert choose_images(found, 2) == ["img 2", "img 0"]
    assert choose_images(found, 9) == ["img 2", "img 0", "img 1", "img 4"]
    (tmp_path / "labels" / "manifest.json").unlink()
    write_label(tmp_path / "labels", "img 1", np.zeros((41, 60), dtype=np.uint8))
    errors = inspected(folder_root, pseudo_label_dir=folder).errors
    assert ["manifest.json" in error or "is 60x41 pixels" in error for error in errors] == [
        True
    ] * 2
