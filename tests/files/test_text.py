import unicodedata

import pytest

from tests.each import each
from wsss_zoo.files.text import id_problem, normalise, raise_problem, read_text


@each("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@each("line_end", ["\n", "\r\n", "\r"])
def test_what_editors_save(tmp_path, encoding, line_end):
    (tmp_path / "list.txt").write_bytes(f"Käfer{line_end}a b{line_end}".encode(encoding))
    assert read_text(tmp_path / "list.txt") == "Käfer\na b\n"


def test_other_encodings_are_refused_with_file_and_line(tmp_path):
    (tmp_path / "list.txt").write_bytes("a\nKäfer\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list\.txt, line 2: byte 0xe4 is not UTF-8; save"):
        read_text(tmp_path / "list.txt")


def test_both_forms_of_an_accent_are_one_name():
    assert normalise(unicodedata.normalize("NFD", " Käfer\t")) == "Käfer"


@each("image_id", ["a", "a b", "2007/a.b", "Käfer", "..a", "猫/1", "12:30"])
def test_usable_ids(image_id):
    assert id_problem(image_id) is None


@each(
    ("image_id", "problem"),
    [
        ("../a", "leads out"),
        ("a/../../b", "leads out"),
        ("/etc/passwd", "leads out"),
        ("C:/a", "leads out"),
        ("C:\\a", "leads out"),
        ("a//b", "leads out"),
        ("a\\b", "backslash"),
        ("./a", "no plain name"),
        ("a\0", "no plain name"),
        ("\udce4", "no plain name"),
        ("", "is empty"),
    ],
)
def test_ids_that_are_none(image_id, problem):
    assert problem in id_problem(image_id)


def test_refuse():
    with pytest.raises(ValueError, match=r"^this$"):
        raise_problem("this")
