import numpy as np
import pytest

from wsss_zoo.data.image_labels import check_tags, multi_hot, read_tag_file, read_voc_xml


def test_csv_lines_of_one_image_add_up(tmp_path):
    (tmp_path / "t.csv").write_text('id,classes\na,cat\n"b, c",dog; cat\na,dog\nd,\n')
    assert read_tag_file(tmp_path / "t.csv") == {
        "a": ["cat", "dog"],
        "b, c": ["dog", "cat"],
        "d": [],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"t\.csv is empty"),
        ("t.csv", "id,classes\na,b,c\n", r"t\.csv, line 2: expected 'image_id,class;class', got 3"),
        ("t.json", "{", r"t\.json is not valid JSON"),
        ("t.json", "[]", r"t\.json must hold"),
        ("t.json", '{"a": "cat"}', "'a' must have a list of class names"),
        ("t.txt", "", r"t\.txt is neither \.json nor \.csv"),
    ],
)
def test_bad_tag_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_tag_file(tmp_path / name)


def test_missing_tag_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t\.csv is missing"):
        read_tag_file(tmp_path / "t.csv")


def test_broken_xml(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"a\.xml is not valid XML"):
        read_voc_xml(tmp_path, ["a"])


def test_multi_hot_leaves_unknown_names_out():
    np.testing.assert_array_equal(multi_hot(["dog", "car"], ["cat", "dog"]), [0, 1])


def test_known_tags_pass():
    check_tags({"a": ["cat"]}, origin="t", known_classes=["cat"], is_image=lambda _: True)
