import json
import re

from markupsafe import escape

from tests.each import each
from tests.report.run_folders import page_of, write_run


def test_bars_are_as_long_as_the_means(tmp_path):
    write_run(tmp_path / "a" / "seed0", seed=0, miou=0.4)
    write_run(tmp_path / "a" / "seed1", seed=1, miou=0.6)
    html = page_of(tmp_path, section="classes")
    assert re.findall(r"<h4>(\w+)</h4>", html) == ["background", "cat", "dog"]
    assert html.count('<i style="width:50.0%">') == 3
    # One standard deviation, 0.1414, to each side.
    assert html.count('<s style="left:35.9%;width:28.3%">') == 3


def test_each_list_of_classes_has_its_own_bars(tmp_path):
    write_run(tmp_path / "a", "CPS")
    write_run(tmp_path / "b", names=["background", "cow"])
    html = page_of(tmp_path, section="classes")
    assert html.count("<figure>") == 2
    assert html.count("<h4>background</h4>") == 2


def test_many_classes_are_cut_to_those_that_differ_most(tmp_path):
    names = ["background", *(f"thing {number}" for number in range(80))]
    write_run(tmp_path / "a", names=names)
    html = page_of(tmp_path, section="classes")
    assert html.count("<h4>") == 30
    assert "51 more" in html


def test_rows_of_the_matrix_are_shares_of_the_truth(tmp_path):
    write_run(tmp_path / "a" / "seed0", seed=0)
    write_run(tmp_path / "a" / "seed1", seed=1)
    html = page_of(tmp_path, section="confusion")
    # 103 of 109 on the diagonal, 3 of 109 beside it, twice over.
    assert re.findall(r"--v:(\d+)%", html) == ["94", "3", "3", "3", "94", "3", "3", "3", "94"]


def test_large_matrices_are_lists_of_mistakes(tmp_path):
    names = [f"<{number}>" for number in range(40)]
    write_run(tmp_path / "a", names=names)
    html = page_of(tmp_path, section="confusion")
    assert "40 classes" in html
    assert html.count("<tr>") == 21
    assert "<1>" not in html


def test_a_matrix_of_another_size_is_left_out(tmp_path):
    content = json.loads((write_run(tmp_path / "a") / "val_results.json").read_text())
    (tmp_path / "a" / "val_results.json").write_text(json.dumps(content | {"class_names": ["x"]}))
    assert "No run has a confusion matrix" in page_of(tmp_path)


@each("name", ["<script>", "a & b", '"'])
def test_class_names_are_escaped(tmp_path, name):
    write_run(tmp_path / "a", names=["background", name])
    html = page_of(tmp_path)
    assert html.count(f"<h4>{escape(name)}</h4>") == html.count(f"><span>{escape(name)}<") == 1
