import json

import pytest

from tests.each import each
from wsss_zoo.data.reading.class_files import check_background, find_class_file, read_class_file
from wsss_zoo.files.images.pixels import PixelOptions

COLORS = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2}


def written(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


def test_names_alone(tmp_path):
    path = written(tmp_path, "classes.txt", "background\ntraffic light\n\nroute 66\nC#\n")
    found = read_class_file(path)
    assert found.names == ["background", "traffic light", "route 66", "C#"]
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
            {"name": "cat", "color": "0, 128, 0", "isthing": 1},
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


@each(
    "lines",
    [
        "# my classes\nsky\ncat # a tabby\ndog",
        "__ignore__\nsky\ncat\ndog\n",
        "0 sky\n1 cat\n2 dog",
        "2: dog\n0: sky\n1: cat",
        "1,cat\n0,sky\n2,dog",
        "0\tsky\n1\tcat\n2\tdog",
        "1. cat\n2. dog\n0. sky",
        "1 - cat\n2 - dog\n0 - sky",
        "[1] cat\n[2] dog\n[0] sky",
        "(1) cat\n(2) dog\n(0) sky",
        "cat 1\nsky 0\ndog 2",
        "cat=1\nsky=0\ndog=2",
        "0 sky\n1 cat\n2 dog\n255 void",
        '"sky",\n"cat",\n\'dog\'',
        "sky,\ncat,\ndog,\n",
        "cat (1)\nsky (0)\ndog (2)",
        "1.0 cat\n0.0 sky\n2.0 dog",
        "sky // above\ncat\ndog",
    ],
)
def test_numbers_comments_and_markers_are_followed(tmp_path, lines):
    found = read_class_file(written(tmp_path, "classes.txt", lines))
    assert found.names == ["sky", "cat", "dog"]


@each(
    "lines",
    [
        "# label:color_rgb:parts:actions\nsky:0,0,0::\ntraffic light:128,0,0::\ncat:0,128,0::",
        "0 0 0 sky\n128 0 0 traffic light\n0 128 0\tcat",
        "#000000 sky\n#800000 traffic light\n#008000 cat # tabby",
        "2 0 128 0 cat\n0 0 0 0 sky\n1 128 0 0 traffic light",
        "1 traffic light 128 0 0\n0 sky 0 0 0\n2 cat 0 128 0",
    ],
)
def test_colors_and_numbers(tmp_path, lines):
    found = read_class_file(written(tmp_path, "classes.txt", lines))
    assert found.names == ["sky", "traffic light", "cat"]
    assert found.colors == COLORS


@each(
    "content",
    [
        [{"id": 1, "name": "cat"}, {"id": 0, "name": "sky"}, {"id": 2, "name": "dog"}],
        [{"index": 2, "name": "dog"}, {"index": 0, "name": "sky"}, {"index": 1, "name": "cat"}],
        [{"id": "1", "name": "cat"}, {"id": "0", "name": "sky"}, {"id": "2", "name": "dog"}],
        [{"id": 1.0, "name": "cat"}, {"id": 0.0, "name": "sky"}, {"id": 2.0, "name": "dog"}],
        {"1": "cat", "2": "dog", "0": "sky"},
        {"dog": 2, "sky": 0, "cat": 1},
        {"classes": ["sky", "cat", "dog"]},
        {
            "categories": [
                {"id": 1, "name": "cat"},
                {"id": 0, "name": "sky"},
                {"id": 2, "name": "dog"},
            ]
        },
        {"names": {"2": "dog", "0": "sky", "1": "cat"}},
    ],
)
def test_ids_in_json_are_followed(tmp_path, content):
    path = written(tmp_path, "classes.json", json.dumps(content))
    assert read_class_file(path).names == ["sky", "cat", "dog"]


@each(
    ("content", "message"),
    [
        (
            "1 cat\n2 dog",
            r"gives 'dog' 2, but names no class 0; numbers are the values in the masks",
        ),
        ("0 sky\n7 cat", "gives 'cat' 7, but names no class 1"),
        ("0 sky\n0 cat", "gives 'sky' and 'cat' the number 0; numbers must differ"),
        ("sky\n4 wheeler", "a number before '4 wheeler', but none before 'sky'; .* '4-wheeler'"),
        ("id,name\n0,sky\n1,cat", r"line 1 is 'id,name', a heading and no class; delete the line"),
        ("name,id\nsky,0\ncat,1", "a heading and no class"),
        ("class\nsky\ncat", "a heading and no class"),
        ("names:\n  0: sky\n  1: cat", "line 1 is 'names:', a heading and no class"),
        ("name,r,g,b\nsky,0,0,0", "a heading and no class"),
        ("sky\nvoid", "has 'void', which marks pixels without a class; leave it out: masks hold"),
        ("sky\nignore", "has 'ignore', which marks"),
        ("Unlabeled\nsky", "has 'Unlabeled', which marks .* If it is the background"),
        ("sky\n__ignore__", "has '__ignore__', which marks"),
        ("sky 0 0 0\nvoid 1 1 1", "has 'void', which .* call it 'ignore' to give these pixels 255"),
        (
            "background, cat, dog",
            "all classes in one line, 'background, cat, dog'; write one class",
        ),
        ("background\tcat\tdog", "all classes in one line"),
        ("id: 0 name: sky\nid: 1 name: cat", "'id: 0 name: sky', which is neither a name nor"),
        ("item {\nid: 1\n}", "has the line 'item {', which is neither a name"),
        ("nc: 2\nnames: ['sky', 'cat']", "which is neither a name"),
        ("- sky\n- cat", r"line 1 is '- sky', which begins like no class name"),
        ("0x00 sky\n0x01 cat", "which begins like no class name"),
        ("| id | name |\n| 0 | sky |", "which begins like no class name"),
        ("sky (812)\ncat (40)", "gives 'sky' 812, but names no class 0"),
        ("// mine\nsky", "which begins like no class name.* Comments begin with #"),
        ('["sky", "cat"]', r"classes\.txt holds JSON; call it classes\.json"),
    ],
)
def test_lists_that_say_something_else_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_class_file(written(tmp_path, "classes.txt", content))


@each(
    ("content", "message"),
    [
        ([{"id": 7, "name": "sky"}, {"id": 9, "name": "cat"}], "'cat' 9, but names no class 0"),
        ([{"id": 0, "name": "sky"}, {"name": "cat"}], "has numbers, but none for 'cat'"),
        ([{"trainId": 0, "name": "sky"}], "gives 'sky' the field 'trainId', which is not read"),
        ([{"gray": 1, "name": "sky"}, {"gray": 0, "name": "cat"}], "each class as 'gray' .1 for"),
        ([{"id": 0, "index": 1, "name": "sky"}], r"gives 'sky' the numbers \[0, 1\]; keep one"),
        ({"classes": ["sky"], "version": 3}, "says 'version', which is not read"),
        ({"classes": ["sky"], "value_range": [0]}, r"classes\.json: value_range is \[0\]"),
        ({"classes": ["sky"], "bands": 3}, "has bands 3; give a list"),
    ],
)
def test_json_that_says_something_else_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_class_file(written(tmp_path, "classes.json", json.dumps(content)))


def test_pixels_in_json(tmp_path):
    content = {"classes": ["sky", "cat"], "value_range": [0, 4095], "bands": [4, 3, 2]}
    found = read_class_file(written(tmp_path, "classes.json", json.dumps(content)))
    assert found.names == ["sky", "cat"]
    assert found.pixels == PixelOptions((0, 4095), (4, 3, 2))


def test_a_background_that_is_not_first(tmp_path):
    path = tmp_path / "classes.txt"
    check_background(["sky", "cat"], path)
    check_background(["_background_", "cat"], path)
    with pytest.raises(ValueError, match=r"has 'bg' at index 1, but index 0 \('cat'\).*'bg 1 1 1'"):
        check_background(["cat", "bg"], path)
    with pytest.raises(ValueError, match=r"has one class, 'background cat', and index 0 is the"):
        check_background(["background cat"], path)
