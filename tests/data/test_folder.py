import pytest

from tests.data.conftest import save_mask
from wsss_zoo.data import Folder


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


def test_held_out_images_do_not_change_when_images_are_added(folder_root):
    before = Folder(str(folder_root), val_fraction=0.5)
    val = before.split_ids("val")
    assert set(val).isdisjoint(before.split_ids("train"))
    save_mask(folder_root / "masks" / "img 5.png", [1])
    after = Folder(str(folder_root), val_fraction=0.5)
    assert [image_id for image_id in after.split_ids("val") if image_id != "img 5"] == val


def test_lists_of_the_user(folder_root):
    (folder_root / "splits").mkdir()
    (folder_root / "splits" / "train.txt").write_text("img 0\nimg 1\n")
    (folder_root / "splits" / "val.txt").write_text("img 2\n")
    data = Folder(str(folder_root), crop_size=16, num_workers=0)
    data.setup("fit")
    assert data.split_ids("train") == ["img 0", "img 1"]
    assert [batch["image_id"] for batch in data.val_dataloader()] == [["img 2"]]


def test_listed_image_without_a_mask_is_an_error(folder_root):
    (folder_root / "splits").mkdir()
    (folder_root / "splits" / "train.txt").write_text("img 0\nimg 5\n")
    with pytest.raises(FileNotFoundError, match="1 of 2 listed ids have no mask, first: img 5"):
        Folder(str(folder_root)).setup("fit")


def test_subfolders_make_ids(folder_root):
    (folder_root / "images" / "a").mkdir()
    (folder_root / "images" / "img 5.JPG").rename(folder_root / "images" / "a" / "img 5.JPG")
    assert "a/img 5" in Folder(str(folder_root)).split_ids("all")


@pytest.mark.parametrize(
    ("remove", "message"),
    [("classes.txt", r"classes\.txt is missing; expected"), ("images", "has no images; expected")],
)
def test_missing_parts_show_the_layout(folder_root, remove, message):
    (folder_root / remove).rename(folder_root / "elsewhere")
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


def test_no_background(folder_root):
    (folder_root / "classes.txt").write_text("table\ncup\nplate\n")
    data = Folder(str(folder_root), background=False)
    assert (data.num_classes, data.num_fg_classes) == (3, 3)
