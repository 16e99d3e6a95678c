import json
import unicodedata

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.data.reading.tag_files import check_tags, multi_hot, read_tag_file, read_voc_xml

KNOWN = ["cat", "dog"]


def written(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


def test_csv_lines_of_one_image_add_up(tmp_path):
    path = written(tmp_path, "t.csv", 'id,classes\na,cat\n"b, c",dog; cat\na,dog\nd,\n')
    assert read_tag_file(path) == {"a": ["cat", "dog"], "b, c": ["dog", "cat"], "d": []}


@each("delimiter", [",", ";", "\t"])
def test_a_column_for_each_class(tmp_path, delimiter):
    lines = ["image,cat,dog", "a,1,0", "b,0,1", "c,TRUE,1.0", "d,,false", "", ",,"]
    path = written(tmp_path, "t.csv", "\n".join(lines).replace(",", delimiter))
    expected = {"a": ["cat"], "b": ["dog"], "c": ["cat", "dog"], "d": []}
    assert read_tag_file(path, KNOWN) == read_tag_file(path) == expected


def test_a_single_column_of_zero_and_one(tmp_path):
    path = written(tmp_path, "t.csv", "image,cat\na,1\nb,0\n")
    assert read_tag_file(path, KNOWN) == {"a": ["cat"], "b": []}
    # Without the names of the classes it is a list of a class "1".
    assert read_tag_file(path) == {"a": ["1"], "b": ["0"]}


@each("encoding", ["utf-8-sig", "utf-16"])
@each("form", ["NFC", "NFD"])
def test_what_editors_save(tmp_path, encoding, form):
    text = unicodedata.normalize(form, "id,classes\r\nKäfer 1,Bär;cat\r\n\r\n")
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert read_tag_file(tmp_path / "t.csv") == {"Käfer 1": ["Bär", "cat"]}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_with_other_forms_of_accents(tmp_path, ascii_only):
    content = {unicodedata.normalize("NFD", "Käfer"): [unicodedata.normalize("NFD", "Bär")]}
    path = written(tmp_path, "t.json", "\ufeff" + json.dumps(content, ensure_ascii=ascii_only))
    assert read_tag_file(path) == {"Käfer": ["Bär"]}


@each(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"t\.csv is empty"),
        ("t.csv", "id,classes\na,b,c\n", r"t\.csv, line 2: expected 'image_id,class;class', got 3"),
        ("t.csv", "id,cat,dog\na,1\n", r"t\.csv, line 2: expected 3 fields, got 2"),
        ("t.csv", "id,cat,dog\na,1,2\n", r"t\.csv, line 2: '2' in column 'dog' is neither 1 nor 0"),
        ("t.csv", "id,cat,kow\na,1,0\n", r"t\.csv, line 1: column 'kow' is none of the classes"),
        ("t.csv", "a,cat\nb,dog\n", r"t\.csv, line 1 has tags; add a header line before it"),
        ("t.csv", "a,cat;dog\nb,dog\n", r"t\.csv, line 1 has tags"),
        ("t.csv", "id,classes\n../a,cat\n", r"t\.csv: id '\.\./a' leads out of the data root"),
        ("t.csv", "id,classes\n/etc/a,cat\n", r"id '/etc/a' leads out of the data root"),
        ("t.csv", "id,classes\n,cat\n", r"id '' is empty"),
        ("t.json", '{"../a": ["cat"]}', r"t\.json: id '\.\./a' leads out of the data root"),
        ("t.json", "{", r"t\.json is not valid JSON"),
        ("t.json", "[]", r"t\.json must hold"),
        ("t.json", '{"a": "cat"}', "'a' must have a list of class names"),
        ("t.json", '{"a": ["cat"], "a": []}', r"t\.json has 'a' more than once"),
        ("t.txt", "", r"t\.txt is neither \.json nor \.csv"),
    ],
)
def test_bad_tag_files(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_tag_file(written(tmp_path, name, content), KNOWN)


def test_bad_csv_quotes(tmp_path):
    path = written(tmp_path, "t.csv", 'id,classes\n"' + "a" * 200_000)
    with pytest.raises(ValueError, match=r"t\.csv, line \d: field larger than"):
        read_tag_file(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "id,classes\na,b,c\n../x,cat\nd,cat\n"),
        ("t.csv", "id,kow,cat\na,0,x\nb,1\nd,1,1\n"),
        ("t.json", '{"a": 7, "../x": [], "d": ["cat"], "b": {"x": 1, "x": 2}}'),
    ],
)
def test_all_problems_are_reported_and_the_rest_is_read(tmp_path, name, content):
    problems = []
    tags = read_tag_file(written(tmp_path, name, content), KNOWN, problems.append)
    assert tags["d"] == ["cat"]
    assert len(problems) >= 2


def test_missing_tag_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t\.csv is missing"):
        read_tag_file(tmp_path / "t.csv")


def test_broken_xml(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"a\.xml is not valid XML"):
        read_voc_xml(tmp_path, ["a"])


def test_multi_hot_leaves_unknown_names_out():
    np.testing.assert_array_equal(multi_hot({"a": ["dog", "car"]}, ["cat", "dog"])["a"], [0, 1])


def test_known_tags_pass():
    tags = {"a": ["cat"]}
    assert check_tags(tags, origin="t", known_classes=["cat"], images=["a"]) == tags


def test_unknown_tags_are_all_reported():
    problems = []
    tags = {"a": ["cat", "kat"], "b": ["cat"], "c": ["kow"]}
    known = check_tags(
        tags,
        origin="t",
        known_classes=KNOWN,
        images=["a", "c"],
        report=problems.append,
    )
    assert known == {"a": ["cat"], "c": []}
    assert [("'b'" in p, "'kat'" in p, "'kow'" in p) for p in problems] == [
        (False, True, False),
        (True, False, False),
        (False, False, True),
    ]
