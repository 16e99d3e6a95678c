import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from tests.data.conftest import save_mask
from tests.each import each
from wsss_zoo.data import VOC2012

PETS = ["cat", "dog"]


def test_mask_batch(voc_root):
    data = VOC2012(str(voc_root), classes=PETS, crop_size=32, batch_size=2, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert data.class_names == ["background", "cat", "dog"]
    assert batch["image"].shape == (2, 3, 32, 32)
    assert 0 <= batch["image"].min() <= batch["image"].max() <= 1
    assert batch["mask"].shape == (2, 32, 32)
    assert set(batch["mask"].unique().tolist()) <= {0, 1, 2, 255}
    assert batch["image_labels"].shape == (2, 2)


def test_classes_not_in_use_become_255(voc_root):
    data = VOC2012(str(voc_root), classes=PETS, num_workers=0)
    raw = np.array(Image.open(voc_root / "SegmentationClass" / "2007_04.png"))
    expected = np.where(raw == 8, 1, np.where(raw == 0, 0, 255))
    np.testing.assert_array_equal(data.read_mask("2007_04"), expected)


def test_evaluation_is_whole_and_native(voc_root):
    data = VOC2012(str(voc_root), classes=PETS, num_workers=0)
    data.setup("validate")
    batches = list(data.val_dataloader())
    assert [batch["image_id"] for batch in batches] == [["2008_01"], ["2008_02"]]
    assert batches[0]["image"].shape == (1, 3, 40, 60)
    np.testing.assert_array_equal(batches[0]["mask"][0], data.read_mask("2008_01"))
    assert batches[0]["image_labels"].tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("origin", ["masks", "xml", "json", "csv"])
def test_tags_from_every_origin(voc_root, origin, tmp_path):
    tags = {"2007_01": ["cat"], "2007_02": ["dog"], "2007_03": ["cat", "dog"], "2007_04": ["cat"]}
    image_labels = origin
    if origin == "xml":
        (voc_root / "Annotations").mkdir()
        for image_id, names in tags.items():
            objects = "".join(f"<object><name>{name}</name></object>" for name in names)
            path = voc_root / "Annotations" / f"{image_id}.xml"
            path.write_text(f"<annotation>{objects}</annotation>")
    elif origin == "json":
        image_labels = str(tmp_path / "tags.json")
        (tmp_path / "tags.json").write_text(json.dumps(tags))
    elif origin == "csv":
        image_labels = str(tmp_path / "tags.csv")
        lines = ["id,classes"] + [f"{key},{';'.join(names)}" for key, names in tags.items()]
        (tmp_path / "tags.csv").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    data = VOC2012(
        str(voc_root),
        classes=PETS,
        supervision="image_labels",
        image_labels=image_labels,
        val_split=None,
        batch_size=4,
        crop_size=16,
        num_workers=0,
    )
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    found = dict(zip(batch["image_id"], batch["image_labels"].tolist(), strict=True))
    assert "mask" not in batch
    assert found == {
        key: [float("cat" in names), float("dog" in names)] for key, names in tags.items()
    }


def test_train_aug_with_sbd_masks(voc_root, tmp_path):
    lists = voc_root / "ImageSets" / "Segmentation"
    (lists / "train_aug.txt").write_text("2007_01\n2007_02\n")
    png = voc_root / "SegmentationClass" / "2007_02.png"
    mask = np.array(Image.open(png))
    mask[mask == 255] = 0
    png.unlink()
    (tmp_path / "sbd" / "cls").mkdir(parents=True)
    inner = np.array([(mask,)], dtype=[("Segmentation", object)])
    scipy.io.savemat(tmp_path / "sbd" / "cls" / "2007_02.mat", {"GTcls": inner})
    data = VOC2012(
        str(voc_root),
        classes=PETS,
        train_split="train_aug",
        sbd_root=str(tmp_path / "sbd"),
        num_workers=0,
    )
    data.setup("fit")
    np.testing.assert_array_equal(data.read_mask("2007_02"), np.where(mask == 12, 2, 0))


def test_train_aug_from_the_lists_of_sbd(voc_root, tmp_path):
    sbd = tmp_path / "dataset"
    sbd.mkdir()
    (sbd / "train.txt").write_text("2007_02\n2008_01\n2009_07\n")
    with pytest.raises(FileNotFoundError, match=r"'train_aug': .* has train, val, and"):
        VOC2012(str(voc_root), sbd_root=str(sbd)).split_ids("train_aug")
    (sbd / "val.txt").write_text("2009_05\n2008_02\n")
    data = VOC2012(str(voc_root), sbd_root=str(sbd))
    expected = ["2007_01", "2007_02", "2007_03", "2007_04", "2009_07", "2009_05"]
    assert data.split_ids("train_aug") == expected
    # A list of the user's goes before.
    (voc_root / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("2009_05\n")
    assert VOC2012(str(voc_root), sbd_root=str(sbd)).split_ids("train_aug") == ["2009_05"]


@pytest.mark.parametrize("cut", [0, 60, 200])
def test_damaged_sbd_masks_are_named(voc_root, tmp_path, cut):
    (tmp_path / "cls").mkdir()
    (voc_root / "SegmentationClass" / "2007_02.png").unlink()
    path = tmp_path / "cls" / "2007_02.mat"
    inner = np.array([(np.zeros((40, 60), np.uint8),)], dtype=[("Segmentation", object)])
    scipy.io.savemat(path, {"GTcls": inner}, do_compression=True)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(OSError, match=r"2007_02\.mat cannot be read .*; unpack"):
        VOC2012(str(voc_root), sbd_root=str(tmp_path)).setup("fit")


def test_train_aug_with_segmentation_class_aug(voc_root):
    (voc_root / "SegmentationClass" / "2007_02.png").rename(voc_root / "moved.png")
    save_mask(voc_root / "SegmentationClassAug" / "2007_02.png", [12])
    VOC2012(str(voc_root), classes=PETS, num_workers=0).setup("fit")


def test_missing_root_names_the_option(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data root .*nowhere does not exist.*--data\.root"
    ):
        VOC2012(str(tmp_path / "nowhere")).setup("fit")


def test_unknown_split_names_those_there_are(voc_root):
    with pytest.raises(FileNotFoundError, match=r"'trian': .* has train, val, and no list file"):
        VOC2012(str(voc_root), train_split="trian").setup("fit")


def test_listed_id_without_image(voc_root):
    (voc_root / "JPEGImages" / "2007_03.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 4 listed ids have no image, first: 2007_03"):
        VOC2012(str(voc_root)).setup("fit")


def test_listed_id_without_mask(voc_root):
    (voc_root / "SegmentationClass" / "2007_03.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 4 listed ids have no mask, first: 2007_03"):
        VOC2012(str(voc_root)).setup("fit")


def test_without_the_folder_of_masks_file_and_archive_are_named(voc_root):
    (voc_root / "SegmentationClass").rename(voc_root / "elsewhere")
    text = r"4 of 4 listed ids have no mask.*/SegmentationClass/2007_01\.png is missing; expected"
    with pytest.raises(FileNotFoundError, match=rf"{text} \(VOCtrainval_11-May-2012\.tar"):
        VOC2012(str(voc_root)).setup("fit")
    with pytest.raises(
        ValueError, match=r"no image-level labels.*SegmentationClass/2007_01\.png is"
    ):
        VOC2012(str(voc_root), supervision="image_labels").setup("fit")


def test_mask_of_another_size(voc_root):
    save_mask(voc_root / "SegmentationClass" / "2007_03.png", [8], height=41)
    with pytest.raises(ValueError, match=r"2007_03\.png is 60x41 .* is 60x40; both must be equal"):
        VOC2012(str(voc_root)).setup("fit")


def test_unknown_class_index(voc_root):
    save_mask(voc_root / "SegmentationClass" / "2007_03.png", [8, 21])
    with pytest.raises(ValueError, match=r"2007_03\.png holds class index 21"):
        VOC2012(str(voc_root)).setup("fit")


def test_colour_mask_is_refused(voc_root):
    path = voc_root / "SegmentationClass" / "2007_03.png"
    Image.new("RGB", (60, 40)).save(path)
    with pytest.raises(ValueError, match=r"2007_03\.png is a mask of mode RGB"):
        VOC2012(str(voc_root)).setup("fit")


def test_corrupt_jpeg_is_named_when_read(voc_root):
    path = voc_root / "JPEGImages" / "2007_03.jpg"
    path.write_bytes(path.read_bytes()[:800])
    data = VOC2012(str(voc_root), num_workers=0, batch_size=4, crop_size=16)
    data.setup("fit")
    with pytest.raises(OSError, match=r"2007_03\.jpg cannot be decoded"):
        next(iter(data.train_dataloader()))


def test_corrupt_jpeg_is_named_by_a_worker(voc_root):
    path = voc_root / "JPEGImages" / "2007_03.jpg"
    path.write_bytes(path.read_bytes()[:800])
    data = VOC2012(str(voc_root), num_workers=1, batch_size=4, crop_size=16)
    data.setup("fit")
    with pytest.raises(OSError, match=r"2007_03\.jpg cannot be decoded"):
        next(iter(data.train_dataloader()))


def test_empty_split(voc_root):
    (voc_root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt is empty"):
        VOC2012(str(voc_root)).setup("fit")


@each(
    ("tags", "message"),
    [
        ({"2007_01": ["kat"]}, "tags image '2007_01' with the unknown class 'kat'"),
        ({"2009_99": ["cat"]}, "has tags for '2009_99', which is no image of this data set"),
    ],
)
def test_unknown_names_in_the_tag_file(voc_root, tags, message):
    (voc_root / "image_labels.json").write_text(json.dumps(tags))
    with pytest.raises(ValueError, match=message):
        VOC2012(str(voc_root), supervision="image_labels").setup("fit")


def test_training_image_without_tags(voc_root):
    for name in ("2007_02",):
        (voc_root / "SegmentationClass" / f"{name}.png").unlink()
    (voc_root / "image_labels.json").write_text(json.dumps({"2007_01": ["cat"]}))
    with pytest.raises(
        ValueError, match=r"1 of 4 training images have no image-level labels.*2007_02"
    ):
        VOC2012(str(voc_root), supervision="image_labels", val_split=None).setup("fit")


def test_missing_xml(voc_root):
    with pytest.raises(FileNotFoundError, match=r"2007_01\.xml is missing"):
        VOC2012(str(voc_root), supervision="image_labels", image_labels="xml").setup("fit")


def test_unknown_class_in_classes(voc_root):
    with pytest.raises(ValueError, match="classes has 'kat', which is none of"):
        _ = VOC2012(str(voc_root), classes=["kat"]).num_classes
