import pytest

from tests.each import each
from wsss_zoo.data import ADE20K, COCO, VOC2012, Cityscapes
from wsss_zoo.data.reading.splits import find_by_end, name_in_path, read_split, write_split


def test_reads_ids_in_order(tmp_path):
    (tmp_path / "train.txt").write_bytes("\ufeffb\r\na b\t1\r\n\r\nKa\u0308fer".encode())
    assert read_split(tmp_path / "train.txt") == ["b", "a b", "Käfer"]


@each(
    ("content", "message"),
    [
        ("\n", "is empty"),
        ("a\nb\na\n", "has 'a' more than once"),
        ("a\n../../etc/passwd\n", r"id '\.\./\.\./etc/passwd' leads out of the data root"),
        ("/etc/passwd\n", "'/etc/passwd' leads out of the data root; .* correct or delete"),
        ("/JPEGImages/a.jpg /Masks/a.png\n", "a line is the id of one image, no path"),
        ("a\\b\n", "has a backslash; sub-folders are separated by /"),
    ],
)
def test_bad_lists(tmp_path, content, message):
    (tmp_path / "train.txt").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_split(tmp_path / "train.txt")
    assert "train.txt" in str(error.value)


def test_all_problems_are_reported_and_the_rest_is_read(tmp_path):
    (tmp_path / "train.txt").write_text("a\n/b\na\nc\n")
    problems = []
    assert read_split(tmp_path / "train.txt", problems.append) == ["a", "c"]
    assert len(problems) == 2


def test_a_written_list_is_read_again(tmp_path):
    ids = ["b", "a b", "sub/Käfer"]
    write_split(tmp_path / "run" / "labeled_split.txt", ids)
    assert read_split(tmp_path / "run" / "labeled_split.txt") == ids


CITY = "bad-honnef_000000_000042"


@pytest.mark.parametrize(
    ("kind", "line", "image_id"),
    [
        # UniMatch and ST++, with VOC's two mask folders, CPS and U2PL.
        (VOC2012, "JPEGImages/2007_01.jpg SegmentationClass/2007_01.png", "2007_01"),
        (VOC2012, "/JPEGImages/2007_01.jpg /SegmentationClassAug/2007_01.png", "2007_01"),
        (VOC2012, "2007_01", "2007_01"),
        (VOC2012, "2007_01.jpg", "2007_01"),
        (VOC2012, "VOC2012/JPEGImages/2007_01", "2007_01"),
        (
            Cityscapes,
            f"leftImg8bit/train/bad-honnef/{CITY}_leftImg8bit.png "
            f"gtFine/train/bad-honnef/{CITY}_gtFine_labelTrainIds.png",
            f"bad-honnef/{CITY}",
        ),
        (Cityscapes, f"leftImg8bit/train/x/{CITY}_leftImg8bit.png", f"bad-honnef/{CITY}"),
        (
            Cityscapes,
            f"/images/train/{CITY}.png\t/segmentation/train/{CITY}_gtFine.png",
            f"bad-honnef/{CITY}",
        ),
        (
            Cityscapes,
            f"/images/train_extra/{CITY}.png\t/segmentation/train_extra/{CITY}_gtCoarse.png",
            f"bad-honnef/{CITY}",
        ),
        (Cityscapes, CITY, f"bad-honnef/{CITY}"),
        (Cityscapes, f"bad-honnef/{CITY}", f"bad-honnef/{CITY}"),
        (ADE20K, "images/training/ADE_train_01.jpg annotations/training/ADE_train_01.png",
         "ADE_train_01"),
        (COCO, "train2014/COCO_train2014_000000000009.jpg", "COCO_train2014_000000000009"),
    ],
)  # fmt: skip
def test_published_lists(tmp_path, kind, line, image_id):
    (tmp_path / "labeled.txt").write_text(f"{line}\r\n")
    listed = str(tmp_path / "labeled.txt")
    data = kind(str(tmp_path), labeled_split=listed, train_split=listed)
    assert data.split_ids(listed) == data.labeled_ids() == [image_id]


def test_lists_of_a_class(tmp_path, caplog):
    path = tmp_path / "cat_train.txt"
    path.write_text("2008_01 -1\n2008_02  1\n2008_03  0\n2008_04\t1\n2008_05 -1\n")
    assert read_split(path, find=name_in_path) == ["2008_02", "2008_04"]
    assert "its 2 images with 1 are taken; 2 with -1 and 1 with 0 (diff" in caplog.text
    path.write_text("2008_01 -1\n2008_02 -1\n")
    assert read_split(path, find=name_in_path) == []


@each(
    ("content", "message"),
    [
        ("JPEGImages/a.jpg M/a.png\na\n", "names image 'a' more than once, as 'JPEGImages/a.jpg M"),
        ("J/a.jpg M/b.png\n", "has image 'a' with the mask 'b'; a mask has the name of its image"),
        ("J/a.jpg\tM/b.png\n", "has image 'a' with the mask 'b'"),
        ("/etc/passwd\n", "'/etc/passwd' leads out of the data root"),
        ("../a\n", "'../a' leads out of the data root"),
    ],
)
def test_lists_that_do_not_say_what_they_mean(tmp_path, content, message):
    (tmp_path / "train.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_split(tmp_path / "train.txt", find=name_in_path)


def test_a_space_in_an_id_is_no_column(tmp_path):
    (tmp_path / "train.txt").write_text("img 1\nimg 0\nimages/my cat 1.jpg masks/my cat 1.png\n")
    ids = {"img 1": "img 1", "img 0": "img 0", "my cat 1.jpg": "my cat 1", "my cat 1": "my cat 1"}
    found = read_split(tmp_path / "train.txt", find=lambda name: find_by_end(name, ids))
    assert found == ["img 1", "img 0", "my cat 1"]


def test_missing_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.txt is missing"):
        read_split(tmp_path / "x.txt")
