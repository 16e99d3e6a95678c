import json

import pytest

from tests.each import each
from wsss_zoo.data.reading.class_files import find_class_file, read_class_file

COLORS = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2}


def written(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


def test_names_alone(tmp_path):
    path = written(tmp_path, "classes.txt", "background\ntraffic light\n\nroute 66\nignore\n")
    found = read_class_file(path)
    assert found.names == ["background", "traffic light", "route 66", "ignore"]
    assert found.colors == {}


def test_what_editors_save(tmp_path):
    (tmp_path / "classes.txt").write_bytes("\ufeffbackground\r\nKäfer\r\n".encode())
    assert read_class_file(tmp_path / "classes.txt").names == ["background", "Käfer"]


@each(
    "lines",
    [
        "sky 0 0 0\ntraffic light 128 0 0\ncat 0 128 0",
        "sky #000000\ntraffic light #800000\ncat #008000",
        "sky,0,0,0\ntraffic light, 128, 0, 0\ncat\t0\t128\t0",
        "sky: 0 0 0\ntraffic light: #800000\ncat;0;128;0",
    ],
)
def test_colors_in_lines(tmp_path, lines):
    found = read_class_file(written(tmp_path, "classes.txt", lines))
    assert found.names == ["sky", "traffic light", "cat"]
    assert found.colors == COLORS


@pytest.mark.parametrize(
    "content",
    [
        {"sky": [0, 0, 0], "traffic light": "#800000", "cat": "0 128 0"},
        [
            {"name": "sky", "color": "#000000"},
            {"name": "traffic light", "color": [128, 0, 0]},
            {"name": "cat", "color": "0, 128, 0", "id": 7},
        ],
    ],
)
def test_colors_in_json(tmp_path, content):
    found = read_class_file(written(tmp_path, "classes.json", json.dumps(content)))
    assert found.names == ["sky", "traffic light", "cat"]
    assert found.colors == COLORS


def test_names_in_json(tmp_path):
    path = written(tmp_path, "classes.json", json.dumps(["background", "Ka\u0308fer"]))
    assert read_class_file(path).names == ["background", "Käfer"]


def test_ignored_colors_are_no_class(tmp_path):
    lines = "sky 0 0 0\nignore 224 224 192\ncat 0 128 0\nignore #ffffff\n"
    found = read_class_file(written(tmp_path, "classes.txt", lines))
    assert found.names == ["sky", "cat"]
    assert found.colors == {
        (0, 0, 0): 0,
        (224, 224, 192): 255,
        (0, 128, 0): 1,
        (255, 255, 255): 255,
    }


@each(
    ("name", "content", "message"),
    [
        ("classes.txt", "", "has no classes; write one"),
        ("classes.txt", "ignore 0 0 0", "has no classes"),
        ("classes.txt", "a\nb\na", "has 'a' more than once; it must hold different class names"),
        ("classes.txt", "a 0 0 0\nb", "has colours, but none for 'b'; give every class one"),
        ("classes.txt", "a 0 0 0\nb 1 2", "has colours, but none for 'b 1 2'"),
        ("classes.txt", "a 0 0 0\nb #000000", r"gives 'b' the colour \(0, 0, 0\), which another"),
        ("classes.txt", "a 0 0 0\nb 0 256 0", r"classes\.txt, line 2: '0 256 0' is no colour"),
        ("classes.json", "{", "is not valid JSON"),
        ("classes.json", "7", "must hold"),
        ("classes.json", "[7]", "7 is neither a class name nor has a name"),
        ("classes.json", '[{"id": 7}]', "is neither a class name nor has a name"),
        ("classes.json", '["", "a"]', "has a class without a name"),
        ("classes.json", '{"a": [0, 0, 0], "a": [1, 1, 1]}', "has 'a' more than once"),
        ("classes.json", '{"a": 7}', "7 is no colour; write '128 0 0'"),
        ("classes.json", '{"a": [0, 0]}', r"\[0, 0\] is no colour"),
        ("classes.json", '{"a": "red"}', "'red' is no colour"),
        ("classes.json", '{"a": [0.5, 0, 0]}', "is no colour"),
    ],
)
def test_bad_lists(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_class_file(written(tmp_path, name, content))
    assert name in str(error.value)


def test_which_file(tmp_path):
    assert find_class_file(tmp_path) == tmp_path / "classes.txt"
    written(tmp_path, "classes.json", "[]")
    assert find_class_file(tmp_path) == tmp_path / "classes.json"
    written(tmp_path, "classes.txt", "a")
    with pytest.raises(ValueError, match=r"has classes\.txt and classes\.json; delete one of them"):
        find_class_file(tmp_path)
