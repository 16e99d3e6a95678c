import json
import re
import types
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_image, save_mask
from tests.each import each
from wsss_zoo.data import Folder
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label


def listed(root, **lists):
    (root / "splits").mkdir(exist_ok=True)
    for name, ids in lists.items():
        (root / "splits" / f"{name}.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")


def test_masks_only_where_there_are_some(folder_root):
    data = Folder(str(folder_root), val_fraction=0, crop_size=16, batch_size=4, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch["image_id"]) == ["img 0", "img 1", "img 2", "img 3"]
    assert data.class_names == ["background", "cup", "plate"]
    assert data.val_dataloader() == []


def test_tags_from_the_file_and_from_masks(folder_root):
    data = Folder(
        str(folder_root),
        supervision="image_labels",
        val_fraction=0,
        crop_size=16,
        batch_size=5,
        num_workers=0,
    )
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    found = dict(zip(batch["image_id"], batch["image_labels"].tolist(), strict=True))
    assert found["img 4"] == [1, 1]
    assert found["img 0"] == [1, 0]
    assert "img 5" not in found


def test_untouched_images_are_unlabelled(folder_root):
    data = Folder(str(folder_root), supervision="semi", val_fraction=0, crop_size=16, num_workers=0)
    data.setup("fit")
    batch, _, _ = next(iter(data.train_dataloader()))
    assert set(batch["unlabeled"]["image_id"]) == {"img 4", "img 5"}
    known = batch["unlabeled"]["has_image_labels"].tolist()
    assert [image_id == "img 4" for image_id in batch["unlabeled"]["image_id"]] == known


def test_the_share_that_is_promised_is_held_out(folder_root):
    for count in (1, 2, 4, 5, 6):
        for number in range(6):
            path = folder_root / "masks" / f"img {number}.png"
            path.unlink(missing_ok=True)
            if number < count:
                save_mask(path, [1])
        for fraction in (0, 0.01, 0.2, 0.5, 0.99):
            data = Folder(str(folder_root), val_fraction=fraction)
            val = data.split_ids("val")
            expected = min(max(1, round(fraction * count)), count - 1) if fraction else 0
            assert len(val) == expected, (count, fraction)
            assert set(val) <= set(data.source.masks)
            assert sorted([*val, *data.split_ids("train")]) == data.split_ids("all")


def test_an_added_image_changes_what_is_held_out_by_one(folder_root):
    val = set(Folder(str(folder_root), val_fraction=0.5).split_ids("val"))
    assert len(val) == 2
    save_mask(folder_root / "masks" / "img 5.png", [1])
    after = set(Folder(str(folder_root), val_fraction=0.5).split_ids("val"))
    assert len(after) == 2
    assert after - val <= {"img 5"}


def test_lists_of_the_user(folder_root):
    listed(folder_root, train=["img 0", "img 1"], val=["img 2"])
    data = Folder(str(folder_root), crop_size=16, num_workers=0)
    data.setup("fit")
    assert data.split_ids("train") == ["img 0", "img 1"]
    assert [batch["image_id"] for batch in data.val_dataloader()] == [["img 2"]]


def test_listed_images_without_masks_are_unlabelled(folder_root, caplog):
    caplog.set_level("INFO")
    listed(folder_root, train=["img 0", "img 5", "img 1"], val=["img 2"])
    options = {"crop_size": 16, "num_workers": 0, "batch_size": 1}
    data = Folder(str(folder_root), **options)
    data.setup("fit")
    assert data.labeled_ids() == ["img 0", "img 1"]
    assert "2 of 3 training images are masked" in caplog.text
    data = Folder(str(folder_root), supervision="semi", **options)
    data.setup("fit")
    batch, *_ = next(iter(data.train_dataloader()))
    assert batch["unlabeled"]["image_id"] == ["img 5"]
    data = Folder(str(folder_root), labeled_split=1.0, **options)
    assert set(data.labeled_ids()) == {"img 0", "img 1"}
    # What the user calls labelled must be.
    listed(folder_root, few=["img 0", "img 5"])
    with pytest.raises(FileNotFoundError, match="1 of 2 listed ids have no mask, first: img 5"):
        Folder(str(folder_root), labeled_split="few", **options).setup("fit")
    listed(folder_root, train=["img 4", "img 5"])
    with pytest.raises(ValueError, match=r"none of the 2 training images .* is masked; add masks"):
        Folder(str(folder_root), **options).setup("fit")
    (folder_root / "points.csv").write_text("image_id,class,x,y\nimg 4,plate,1,1\n")
    with pytest.raises(ValueError, match=r"is masked; Sparse learns from .*--model Sparse"):
        Folder(str(folder_root), **options).setup("fit")


@each(
    ("options", "message"),
    [
        ({"labeled_split": "val"}, "2 of 2 images of 'val', which are held out, are training"),
        ({"labeled_split": "few"}, "1 of 2 images of 'val'.* first: img 2; take them off one"),
        ({"train_split": "all"}, "2 of 2 images of 'val'.*--data.allow_overlap true"),
        ({"supervision": "semi", "train_split": "all", "labeled_split": "train"}, "2 of 2 images"),
        ({"train_split": "test"}, "1 of 1 images of 'test', which are held out"),
    ],
)
def test_held_out_images_among_the_training_ones(folder_root, options, message, caplog):
    listed(folder_root, train=["img 0"], val=["img 2", "img 3"], few=["img 0", "img 2"])
    listed(folder_root, test=["img 1"])
    settings = {"crop_size": 16, "num_workers": 0, "batch_size": 1} | options
    with pytest.raises(ValueError, match=message):
        Folder(str(folder_root), **settings).setup("fit")
    caplog.clear()
    Folder(str(folder_root), allow_overlap=True, **settings).setup("fit")
    assert re.search(message, caplog.text)


def test_held_out_images_without_their_labels_are_counted(folder_root, caplog):
    listed(folder_root, train=["img 0"], val=["img 2", "img 3"])
    semi = {"supervision": "semi", "labeled_split": "train", "unlabeled_split": "all"}
    Folder(str(folder_root), **semi, crop_size=16, num_workers=0).setup("fit")
    assert "2 of 2 images of 'val', which are held out" in caplog.text


def test_the_test_list_is_what_test_measures(folder_root, caplog):
    listed(folder_root, train=["img 0"], val=["img 2"])
    data = Folder(str(folder_root), num_workers=0)
    data.setup("test")
    assert [batch["image_id"] for batch in data.test_dataloader()] == [["img 2"]]
    assert data.tests_val
    assert "test measures val_split 'val', and its measures are named val" in caplog.text
    listed(folder_root, test=["img 3"])
    data = Folder(str(folder_root), num_workers=0)
    data.setup("test")
    assert [batch["image_id"] for batch in data.test_dataloader()] == [["img 3"]]
    assert not data.tests_val


@each(
    "line",
    ["JPEGImages/img 0.jpg SegmentationClass/img 0.png", "/images/img 0.JPG\t/masks/img 0.png",
     "images/img 0.JPG", "img 0.JPG", "img 0\t1", "img 0  1", "images/img 0.JPG,masks/img 0.png"],
)  # fmt: skip
def test_lists_with_paths(folder_root, line):
    listed(folder_root, train=[line, "img 4"])
    assert Folder(str(folder_root)).split_ids("train") == ["img 0", "img 4"]


def test_an_image_with_the_mask_of_another(folder_root):
    listed(folder_root, train=["images/img 0.JPG masks/img 1.png"])
    with pytest.raises(ValueError, match=r"'img 0' with the mask 'img 1'; a mask has the name"):
        Folder(str(folder_root)).split_ids("train")


def test_subfolders_make_ids(folder_root):
    (folder_root / "images" / "a").mkdir()
    (folder_root / "images" / "img 5.JPG").rename(folder_root / "images" / "a" / "img 5.JPG")
    assert "a/img 5" in Folder(str(folder_root)).split_ids("all")


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("classes.txt", r"classes\.txt is missing; expected"),
        ("images", "has no images; expected"),
        ("", r"data root .*my photos does not exist; expected"),
    ],
)
def test_missing_parts_show_the_layout(folder_root, remove, message):
    (folder_root / remove).rename(folder_root.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match=message):
        Folder(str(folder_root)).setup("fit")


def test_two_images_of_one_id(folder_root):
    (folder_root / "images" / "img 0.png").write_bytes(b"")
    with pytest.raises(ValueError, match="have the same id 'img 0'"):
        Folder(str(folder_root)).setup("fit")


def test_mask_without_image(folder_root):
    save_mask(folder_root / "masks" / "imgx.png", [1])
    with pytest.raises(ValueError, match=r"imgx\.png has no image of the same name"):
        Folder(str(folder_root)).setup("fit")


def test_repeated_class_name(folder_root):
    (folder_root / "classes.txt").write_text("background\ncup\ncup\n")
    with pytest.raises(ValueError, match="must hold different class names"):
        _ = Folder(str(folder_root)).num_classes


@pytest.mark.parametrize("split", ["tagged", "masked"])
def test_named_parts_of_train(folder_root, split):
    data = Folder(str(folder_root), val_fraction=0)
    expected = {"tagged": [0, 1, 2, 3, 4], "masked": [0, 1, 2, 3]}[split]
    assert data.split_ids(split) == [f"img {number}" for number in expected]


@pytest.mark.parametrize("train_split", ["train", "tagged"])
def test_tags_and_pseudo_labels_need_no_mask(folder_root, tmp_path, train_split):
    for path in (folder_root / "masks").iterdir():
        path.unlink()
    names = "".join(f"img {number},cup\n" for number in range(6))
    (folder_root / "image_labels.csv").write_text("id,classes\n" + names)
    for number in range(6):
        write_label(tmp_path / "labels", f"img {number}", np.ones((40, 60), dtype=np.uint8))
    manifest = Manifest("CAM", ["background", "cup", "plate"], 6, "", "", {}, "train")
    write_manifest(tmp_path / "labels", manifest)
    data = Folder(
        str(folder_root),
        train_split=train_split,
        pseudo_label_dir=str(tmp_path / "labels"),
        crop_size=16,
        batch_size=6,
        num_workers=0,
    )
    data.setup("fit")
    assert len(set(next(iter(data.train_dataloader()))["image_id"])) == 6


def test_no_background(folder_root):
    (folder_root / "classes.txt").write_text("table\ncup\nplate\n")
    data = Folder(str(folder_root), background=False)
    assert (data.num_classes, data.num_fg_classes) == (3, 3)


def test_without_a_val_list_training_images_are_never_held_out(folder_root):
    listed(folder_root, train=["img 0", "img 1", "img 4"], test=["img 2"])
    data = Folder(str(folder_root))
    assert data.split_ids("train") == ["img 0", "img 1", "img 4"]
    assert data.split_ids("val") == ["img 3"]
    assert data.split_ids("extra") == ["img 5"]
    assert data.split_ids("masked") == ["img 0", "img 1"]


def test_without_a_train_list_the_other_lists_are_held_out(folder_root):
    listed(folder_root, val=["img 0"], test=["img 5"])
    data = Folder(str(folder_root))
    assert data.split_ids("train") == ["img 1", "img 2", "img 3", "img 4"]
    assert data.split_ids("extra") == []


def test_extra_images_as_unlabelled_ones(folder_root):
    listed(folder_root, train=["img 0", "img 1"], val=["img 2"])
    data = Folder(
        str(folder_root),
        supervision="semi",
        labeled_split="train",
        unlabeled_split="extra",
        crop_size=16,
        num_workers=0,
    )
    data.setup("fit")
    batch, _, _ = next(iter(data.train_dataloader()))
    assert set(batch["unlabeled"]["image_id"]) <= {"img 3", "img 4", "img 5"}


def test_unknown_split_names_those_there_are(folder_root):
    listed(folder_root, small=["img 0"])
    with pytest.raises(FileNotFoundError, match="there are small, train, val, all, tagged, masked"):
        Folder(str(folder_root)).split_ids("trian")


def test_names_with_suffix_stand_for_ids(folder_root):
    listed(folder_root, train=["img 0.JPG", "img 4"])
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 4.JPG,cup\nimg 4,plate\n")
    data = Folder(str(folder_root))
    assert data.split_ids("train") == ["img 0", "img 4"]
    assert data.read_tags(["img 4"]) == {"img 4": ["cup", "plate"]}
    listed(folder_root, train=["img 0.JPG", "img 0"])
    with pytest.raises(ValueError, match=r"train\.txt names image 'img 0' more than once"):
        data.split_ids("train")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_found_however_a_system_writes_them(folder_root, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    save_image(folder_root / "images" / unicodedata.normalize(form, "Käfer é.png"))
    save_mask(folder_root / "masks" / unicodedata.normalize(other, "Käfer é.png"), [1])
    name = unicodedata.normalize(other, "Käfer é")
    listed(folder_root, train=[name])
    (folder_root / "image_labels.csv").write_text(f"id,classes\n{name},cup\n", encoding="utf-8")
    data = Folder(str(folder_root), crop_size=16, num_workers=0, batch_size=1)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image_id"] == ["Käfer é"]
    assert batch["image_labels"].tolist() == [[1, 0]]


def test_colored_masks(folder_root):
    (folder_root / "classes.txt").write_text("background 0 0 0\ncup #800000\nplate 0 128 0\n")
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[1], colors[2] = (128, 0, 0), (0, 128, 0)
    for number in range(4):
        path = folder_root / "masks" / f"img {number}.png"
        values = np.asarray(Image.open(path))
        Image.fromarray(colors[values]).save(path)
    data = Folder(str(folder_root), val_fraction=0, classes=["plate"], crop_size=16, num_workers=0)
    data.setup("fit")
    mask = data.read_mask("img 1")
    np.testing.assert_array_equal(np.unique(mask), [0, 1])
    path = folder_root / "masks" / "img 2.png"
    Image.fromarray(np.full((40, 60, 3), 9, dtype=np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"img 2\.png has 2400 pixels of the colour 9 9 9"):
        Folder(str(folder_root), val_fraction=0).setup("fit")


def test_colored_masks_without_colors_in_the_list(folder_root):
    path = folder_root / "masks" / "img 2.png"
    Image.fromarray(np.zeros((40, 60, 3), dtype=np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"img 2\.png is a mask of mode RGB.*in classes\.txt"):
        Folder(str(folder_root), val_fraction=0).setup("fit")


def test_classes_in_json(folder_root):
    (folder_root / "classes.txt").unlink()
    (folder_root / "classes.json").write_text(json.dumps(["background", "cup", "plate"]))
    assert Folder(str(folder_root)).class_names == ["background", "cup", "plate"]


def test_one_column_for_each_class(folder_root):
    (folder_root / "image_labels.csv").write_text("id,cup,plate\nimg 4,0,1\n")
    assert Folder(str(folder_root)).read_tags(["img 4"]) == {"img 4": ["plate"]}


@each(
    ("line", "message"),
    [
        ("img 4,cop", r"image_labels\.csv tags image 'img 4' with the unknown class 'cop'"),
        ("img 4,Cup", r"unknown class 'Cup' \(did you mean 'cup'\?\); correct it"),
        ("img 4,background", "with the unknown class 'background'"),
        ("img 9,cup", "has tags for 'img 9', which is no image"),
        ("../img 4,cup", r"id '\.\./img 4' leads out of the data root"),
        ("/img 4,cup", "id '/img 4' leads out of the data root"),
    ],
)
def test_bad_tags(folder_root, line, message):
    (folder_root / "image_labels.csv").write_text(f"id,classes\r\n{line}\r\n")
    with pytest.raises(ValueError, match=message):
        Folder(str(folder_root), supervision="image_labels").setup("fit")


def test_classes_without_the_background(folder_root):
    (folder_root / "classes.txt").write_text("cup\nplate\n")
    data = Folder(str(folder_root), supervision="image_labels")
    with pytest.raises(ValueError, match=r"tags of 'cup', .* first in .*classes\.txt; write 'back"):
        data.setup("fit")
    problems = []
    data.report = problems.append
    assert data.read_tags(["img 4"]) == {"img 4": ["plate"]}
    assert len(problems) == 2


def test_masks_of_black_and_white(folder_root, caplog):
    for number in range(4):
        save_mask(folder_root / "masks" / f"img {number}.png", [255])
    Folder(str(folder_root), val_fraction=0).setup("fit")
    message = "none of the 4 masks has a class besides index 0, first: .*img 0.png; if 255 stands"
    assert re.search(message, caplog.text)
    caplog.clear()
    save_mask(folder_root / "masks" / "img 3.png", [2])
    Folder(str(folder_root), val_fraction=0).setup("fit")
    assert "besides index 0" not in caplog.text


def test_masks_of_background_alone_hold_no_255(folder_root, caplog):
    for number in range(4):
        mask = Image.fromarray(np.zeros((40, 60), np.uint8))
        mask.save(folder_root / "masks" / f"img {number}.png")
    Folder(str(folder_root), val_fraction=0).setup("fit")
    assert "besides index 0, first" in caplog.text
    assert "255" not in caplog.text


def test_ids_of_a_list_stay_in_the_root(folder_root):
    listed(folder_root, train=["img 0", "../../secret"])
    with pytest.raises(ValueError, match=r"train\.txt: id '\.\./\.\./secret' leads out of"):
        Folder(str(folder_root)).setup("fit")


def test_two_tag_files(folder_root):
    (folder_root / "image_labels.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has image_labels\.csv and image_labels\.json; delete"):
        Folder(str(folder_root)).read_tags([])


def test_links_stay_in_the_root_unless_allowed(folder_root, tmp_path):
    save_image(tmp_path / "elsewhere.jpg")
    (folder_root / "images" / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(ValueError, match=r"link\.jpg is a link that leads out of the data root"):
        Folder(str(folder_root)).split_ids("all")
    data = Folder(str(folder_root), outside_links=True)
    assert data.read_image("link").shape == (40, 60, 3)


def test_capitals_of_masks(folder_root):
    save_mask(folder_root / "masks" / "IMG 5.png", [1])
    with pytest.raises(ValueError, match=r"IMG 5\.png has no image .*\('img 5' has other capitals"):
        Folder(str(folder_root)).split_ids("all")


def test_empty_files_are_found_in_setup(folder_root):
    (folder_root / "images" / "img 4.JPG").write_bytes(b"")
    data = Folder(str(folder_root), supervision="image_labels", val_fraction=0)
    with pytest.raises(OSError, match=r"img 4\.JPG cannot be decoded \(the file is empty"):
        data.setup("fit")


def test_what_is_printed(folder_root, tmp_path):
    listed(folder_root, train=["img 0", "img 1", "img 4"], val=["img 2"])
    assert str(Folder(str(folder_root))) == (
        f"Folder {folder_root}: 3 classes (background, cup, plate)\n"
        "  train: 3 images\n  val: 1 images"
    )
    assert "data root" in str(Folder(str(tmp_path / "gone")))


def test_a_folder_of_heic_files_says_what_reads_them(folder_root):
    for path in (folder_root / "images").iterdir():
        path.rename(path.with_suffix(".heic"))
    message = r"has no images that can be read; HEIC files .* 'pip install wsss_zoo\[heif\]'"
    with pytest.raises(FileNotFoundError, match=message):
        Folder(str(folder_root)).setup("fit")


def test_a_list_whose_background_is_not_first(folder_root, caplog):
    (folder_root / "classes.txt").write_text("cup\nplate\nbackground\n")
    with pytest.raises(ValueError, match=r"has 'background' at index 2, but index 0 \('cup'\)"):
        Folder(str(folder_root)).setup("fit")
    assert Folder(str(folder_root), background=False).class_names[2] == "background"
    (folder_root / "classes.txt").write_text("soil\ncup\nplate\n")
    assert Folder(str(folder_root)).class_names[0] == "soil"
    assert "begins with 'soil', which is taken for the background: if it is a" in caplog.text
    (folder_root / "classes.txt").write_text("background cup plate\n")
    with pytest.raises(ValueError, match="has one class, 'background cup plate', and index 0 is"):
        Folder(str(folder_root)).setup("fit")


def test_masks_of_grey_values_that_are_not_indices(folder_root):
    """The way out for masks whose background is not 0."""
    (folder_root / "classes.txt").write_text("background 2 2 2\ncup 0 0 0\nignore 255 255 255\n")
    mask = np.full((40, 60), 2, dtype=np.uint8)
    mask[:9], mask[-1] = 0, 255
    for number in range(4):
        Image.fromarray(mask).save(folder_root / "masks" / f"img {number}.png")
    expected = np.select([mask == 2, mask == 0], [0, 1], 255)
    np.testing.assert_array_equal(Folder(str(folder_root)).read_mask("img 0"), expected)


def test_an_empty_tag_is_not_a_missing_row(folder_root):
    """A row without classes says that the image shows none of them."""
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 4,cup;plate\nimg 5,\n")
    data = Folder(str(folder_root), val_fraction=0)
    assert data.read_tags(["img 4", "img 5"]) == {"img 4": ["cup", "plate"], "img 5": []}
    assert data.labels_of(["img 5"], from_masks=True)["img 5"].tolist() == [0, 0]
    assert "img 5" in data.split_ids("tagged")
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 4,cup;plate\n")
    data = Folder(str(folder_root), val_fraction=0)
    assert "img 5" not in data.labels_of(["img 5"], from_masks=True)
    assert "img 5" not in data.split_ids("tagged")


def test_files_of_other_kinds_are_said(folder_root, caplog):
    (folder_root / "images" / "img 7.heic").write_bytes(b"")
    (folder_root / "mask").mkdir()
    data = Folder(str(folder_root), val_fraction=0)
    data.setup("fit")
    assert "1 files in" in caplog.text
    assert "img 7.heic" in caplog.text
    assert [Path(path).name for path in data.unread_files()] == ["mask", "img 7.heic"]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("labeled", [0.5, "masked", "half.txt", None])
def test_the_labeled_list_is_written_to_the_run(folder_root, tmp_path, monkeypatch, labeled, rank):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.txt").write_text("img 2.JPG\nimg 0\n")
    for number in (4, 5):
        save_mask(folder_root / "masks" / f"img {number}.png", [1 + number % 2])
    data = Folder(str(folder_root), labeled_split=labeled, val_fraction=0, seed=3)
    data.trainer = types.SimpleNamespace(
        lightning_module=None, is_global_zero=rank == 0, default_root_dir=str(tmp_path / "run")
    )
    data.setup("fit")
    written = tmp_path / "run" / "labeled_split.txt"
    assert written.exists() == (labeled is not None and rank == 0)
    if written.exists():
        ids = written.read_text().splitlines()
        assert ids == data.labeled_ids()
        assert len(ids) == {0.5: 3, "masked": 6, "half.txt": 2}[labeled]
        again = Folder(str(folder_root), labeled_split=str(written), val_fraction=0)
        assert again.labeled_ids() == ids
        rest = (tmp_path / "run" / "unlabeled_split.txt").read_text().splitlines()
        assert rest == [i for i in data.split_ids(data.train_split) if i not in ids]
