"""Tables as pandas, Excel and people write them: read right, or refused; nothing is lost."""

import pytest

from tests.each import each
from wsss_zoo.data.reading.tag_files import read_tag_file

KNOWN = ["cat", "dog"]
IDS = {name: name.removesuffix(".jpg") for name in ("a", "b", "c", "a.jpg", "b.jpg", "c.jpg")}
EXPECTED = {"a": ["cat"], "b": ["cat", "dog"], "c": []}


def read(tmp_path, content, report=None, ids=IDS):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    options = {} if report is None else {"report": report}
    return read_tag_file(tmp_path / "t.csv", KNOWN, ids=ids, **options)


@each(
    "content",
    [
        # pandas: the index, a filtered index, an index read again, ids as the index, lists.
        ",id,class\n0,a,cat\n1,b,cat;dog\n2,c,\n",
        ",id,class\n4,a,cat\n17,b,cat;dog\n9,c,\n",
        "Unnamed: 0,id,class\n0,a,cat\n1,b,cat;dog\n2,c,\n",
        ",id,cat,dog\n0,a,1,0\n1,b,1,1\n2,c,0,0\n",
        ",id,cat,dog\n0,a,True,False\n1,b,1.0,1.0\n2,c,,\n",
        ",class\na,cat\nb,cat;dog\nc,\n",
        ",cat,dog\na,1,0\nb,1,1\nc,0,0\n",
        "id,classes\na,['cat']\nb,\"['cat', 'dog']\"\nc,[]\n",
        # Excel.
        '\ufeffsep=;\nid;classes\na;cat\nb;"cat;dog"\nc;\n',
        '"sep=;"\nid;classes\na;cat\nb;cat,dog\nc;\n',
        "sep=,\nid,classes\na,cat\nb,cat;dog\nc,\n",
        "SEP=\t\nid\tcat\tdog\na\t1\t0\nb\t1\t1\nc\t0\t0\n",
        "id,classes,,\na,cat,,\nb,cat;dog,,\nc,,,\n,,,\n",
        "id,classes,\na,cat\nb,cat;dog,\nc,\n",
        "id,classes\na,cat,\nb,cat;dog,,\nc,,\n",
        "id,cat,dog,\na,1,0,\nb,1,1,\nc,,,\n",
        # A comment before the header, and a separator that also stands between classes.
        "# of 2024\n# by hand\nid,classes\na,cat\nb,cat;dog\nc,\n",
        "id|classes\na|cat\nb|cat;dog\nc|\n",
        # Other separators of classes, and paths for ids.
        "id,classes\na,cat\nb,cat|dog\nc,\n",
        'id,classes\na,cat\nb,"cat, dog"\nc,\n',
        "id,classes\na.jpg,cat\nimages/b.jpg,cat;dog\nc,\n",
        # One row for each class.
        "id,classes\na,cat\nb,cat\nb,dog\nb,dog\nc,\n",
    ],
)
def test_tables_that_are_read(tmp_path, content):
    assert read(tmp_path, content) == EXPECTED


def test_numbers_may_be_ids(tmp_path):
    ids = {name: name for name in ("0", "1", "2")}
    for content in (",cat,dog\n0,1,0\n1,1,1\n", ",classes\n0,cat\n1,cat;dog\n"):
        assert read(tmp_path, content, ids=ids) == {"0": ["cat"], "1": ["cat", "dog"]}
    # Rows numbered from 1, of images named by numbers.
    assert read(tmp_path, ",id,class\n1,0,cat\n2,1,dog\n", ids=ids) == {"0": ["cat"], "1": ["dog"]}


@each(
    ("content", "message"),
    [
        ("a,cat\nb,dog\n", "line 1 has tags; add a header line before it: image_id,classes"),
        ("a,\nb,dog\n", "line 1 has tags; add a header"),
        ("a,kow\nb,dog\n", "line 1 has tags; add a header"),
        ("zzz.png,kow\nb,dog\n", "line 1 has tags; add a header"),
        ("a,1,0\nb,0,1\n", "line 1 has tags; .*: image_id and the class of each column"),
        ("z,1,0\nb,0,1\n", "line 1 has tags; .*: image_id and the class of each column"),
        ("0,a,cat\n1,b,dog\n", "line 1 has tags; add a header line"),
        ("class,id\ncat,a\ndog,b\n", "column 2 'id' has; put that one first"),
        ("id,first,second\na,cat,dog\nb,cat,\n", "first, second hold names of classes; write them"),
        ("id,cat,dgo\na,1,0\n", "column 'dgo' is none of the classes; rename it to 'dog' if that"),
        ("id,cat,width\na,1,640\n", "'width' is none of the classes; .* else save the table with"),
        ("id,cat,cat\na,1,0\n", "two columns have the name 'cat'; rename one"),
        ("id,cat,dog\na,1,0\na,0,1\n", r"line 3: 'a' has other classes than in line 2; correct"),
        ("id,cat,dog\na,1,0\na.jpg,0,0\n", r"line 3: 'a\.jpg' has other classes than in line 2"),
        ("id,classes\na,cat,dog\n", "line 2: expected 'image_id,class;class', got 3 fields; put"),
        ("sep=;\n", "is empty; its first line must be a header"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, content)
    # A remedy never takes what the user has labelled.
    assert "delete" not in str(error.value)


def test_no_row_is_lost_without_a_header(tmp_path):
    problems = []
    assert read(tmp_path, "a,cat\nb,cat;dog\nc,\n", problems.append) == EXPECTED
    assert len(problems) == 1


@each(
    "content",
    ["id,classes\na,cat\nb,dog\na,dog\n", "id,classes\na,cat\nb,dog\na.jpg,dog\n",
     "id,cat,dog\na,1,1\nb,0,1\na,1,1\n"],
)  # fmt: skip
def test_rows_that_add_up_are_said(tmp_path, content, caplog):
    caplog.clear()
    assert read(tmp_path, content) == {"a": ["cat", "dog"], "b": ["dog"]}
    assert "1 images have several rows, which are added up, first: a" in caplog.text


def test_two_names_of_an_image_in_json(tmp_path):
    (tmp_path / "t.json").write_text('{"a": ["cat"], "a.jpg": ["dog"]}')
    with pytest.raises(ValueError, match="has 'a' more than once"):
        read_tag_file(tmp_path / "t.json", KNOWN, ids=IDS)
