import numpy as np
import pytest

from tests.each import each
from wsss_zoo.data.reading.splits import read_split, sample_labeled_split, write_split


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


def test_missing_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.txt is missing"):
        read_split(tmp_path / "x.txt")


def test_fraction_covers_every_class_whatever_the_order_of_ids():
    rng = np.random.default_rng(0)
    ids = [f"{number:03d}" for number in range(100)]
    labels = (rng.random((100, 6)) < 0.15).astype(np.uint8)
    drawn = sample_labeled_split(ids, labels, 0.12, seed=1)
    assert len(drawn) == len(set(drawn)) == 12
    assert labels[[ids.index(image_id) for image_id in drawn]].any(0).all()
    order = rng.permutation(100)
    shuffled = [ids[index] for index in order]
    assert sample_labeled_split(shuffled, labels[order], 0.12, seed=1) == drawn
    assert sample_labeled_split(ids, labels, 0.12, seed=2) != drawn


def test_impossible_fraction():
    with pytest.raises(ValueError, match=r"no draw of 1 of 4 images .* has all 4 classes"):
        sample_labeled_split("abcd", np.eye(4, dtype=np.uint8), 0.25, seed=0)


@each("fraction", [0.0, 1.5])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\], but got"):
        sample_labeled_split("ab", np.ones((2, 1), dtype=np.uint8), fraction, seed=0)
