"""What all official layouts share, on the simplest of them."""

import json

import pytest

from tests.data.conftest import save_image, save_mask
from tests.each import each
from wsss_zoo.data import ADE20K, COCO, VOC2012, Cityscapes, COCOStuff10K, PascalContext
from wsss_zoo.data.sets.official import files_in, list_folders


@pytest.fixture
def root(tmp_path):
    for part, split in (("training", "train"), ("validation", "val")):
        for number in (1, 2):
            name = f"ADE_{split}_{number:08d}"
            save_image(tmp_path / "images" / part / f"{name}.jpg", seed=number)
            save_mask(tmp_path / "annotations" / part / f"{name}.png", [number])
    return tmp_path


def test_missing_root_shows_the_layout(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data root .*nowhere does not exist(.|\n)*<root>/images/training"
    ):
        ADE20K(str(tmp_path / "nowhere")).setup("fit")


def test_missing_folder_is_named_and_the_layout_shown(root):
    (root / "annotations").rename(root / "annotation")
    with pytest.raises(
        FileNotFoundError, match=r"/annotations is missing; expected(.|\n)*<root>/annotations"
    ):
        ADE20K(str(root)).setup("fit")


def test_unknown_split_names_those_there_are(root):
    with pytest.raises(FileNotFoundError, match=r"'trian': .* has train, val, and no list file"):
        ADE20K(str(root), train_split="trian").setup("fit")


def test_a_list_file_is_a_split(root, tmp_path):
    (tmp_path / "few.txt").write_text("ADE_val_00000002\nADE_train_00000001\n")
    data = ADE20K(str(root), train_split=str(tmp_path / "few.txt"))
    assert data.split_ids(data.train_split) == ["ADE_val_00000002", "ADE_train_00000001"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (ADE20K, None),
        (COCO, None),
        (COCOStuff10K, "imageLists/train.txt"),
        (Cityscapes, None),
        (PascalContext, "ImageSets/Main/train.txt"),
        (VOC2012, "ImageSets/Segmentation/train.txt"),
    ],
)
@each("line", ["../../x", "/etc/passwd", "a/../../x", "C:/x", "..\\\\x", "./x"])
def test_no_list_leads_out_of_the_root(kind, path, line, tmp_path):
    listed = tmp_path / "root" / (path or "mine.txt")
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text(f"{line}\n")
    data = kind(str(tmp_path / "root"), train_split="train" if path else str(listed))
    with pytest.raises(ValueError, match=rf"{listed.name}: id .* correct or delete it"):
        data.split_ids(data.train_split)


def test_the_lists_of_sbd_do_not_lead_out_of_the_root(tmp_path):
    lists = tmp_path / "root" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_01\n")
    (lists / "val.txt").write_text("2007_02\n")
    (tmp_path / "train.txt").write_text("../2007_03\n")
    (tmp_path / "val.txt").write_text("2007_04\n")
    data = VOC2012(str(tmp_path / "root"), sbd_root=str(tmp_path))
    with pytest.raises(
        ValueError, match=r"train\.txt: id '\.\./2007_03' leads out of the data root"
    ):
        data.split_ids("train_aug")


@each("name", ["../../x", "/etc/passwd"])
def test_tags_and_annotations_do_not_lead_out_of_the_root(root, tmp_path, name):
    (root / "image_labels.json").write_text(json.dumps({name: ["tree"]}))
    with pytest.raises(ValueError, match=r"image_labels\.json: id .* leads out of the data root"):
        ADE20K(str(root), supervision="image_labels").setup("fit")
    with pytest.raises(ValueError, match="is no image of COCO 2014"):
        COCO(str(root)).own_tags([name])


def test_links_are_followed_and_broken_ones_named(root, tmp_path):
    folder = root / "images" / "training"
    moved = tmp_path / "another disk"
    folder.rename(moved)
    folder.symlink_to(moved)
    ADE20K(str(root)).setup("fit")
    (moved / "ADE_train_00000002.jpg").unlink()
    (moved / "ADE_train_00000002.jpg").symlink_to("gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"00000002\.jpg is missing, a broken link to gone"):
        ADE20K(str(root)).setup("fit")


@pytest.mark.parametrize("where", ["auto", "named"])
def test_tags_from_a_file(root, where):
    tags = {"ADE_train_00000001": ["tree"], "ADE_train_00000002": ["sky", "wall"]}
    path = root / ("image_labels.json" if where == "auto" else "mine.json")
    path.write_text(json.dumps(tags))
    data = ADE20K(str(root), image_labels="auto" if where == "auto" else str(path))
    assert data.read_tags(["ADE_train_00000002", "ADE_val_00000001"]) == {
        "ADE_train_00000002": ["sky", "wall"]
    }
    assert ADE20K(str(root), image_labels="masks").read_tags(list(tags)) == {}


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ADE_train_00000001": ["kat"]}, "with the unknown class 'kat'"),
        ({"ADE_train_99999999": ["tree"]}, "which is no image of this data set"),
    ],
)
def test_unknown_names_in_the_tag_file(root, tags, message):
    (root / "image_labels.json").write_text(json.dumps(tags))
    with pytest.raises(ValueError, match=message):
        ADE20K(str(root), supervision="image_labels").setup("fit")


def test_listing_ignores_case_hidden_files_and_other_kinds(tmp_path):
    for name in ("b.JPG", "a.jpg", "._a.jpg", "a.png", "c d\u00e9.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert list(files_in(tmp_path, ".jpg")) == ["a", "b", "c d\u00e9"]
    assert list_folders(tmp_path) == ["folder"]
    assert files_in(tmp_path / "no", ".jpg") == {}
    assert list_folders(tmp_path / "no") == []


def test_two_files_of_one_id(root):
    path = root / "images" / "training" / "ADE_train_00000001.jpg"
    path.with_suffix(".JPG").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"00000001\.JPG and .*00000001\.jpg have the same id"):
        ADE20K(str(root)).setup("fit")
