import pytest

from tests.each import each
from wsss_zoo.data.reading.splits import read_split, write_split


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
