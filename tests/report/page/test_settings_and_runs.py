import re

from tests.report.run_folders import page_of, write_run


def test_each_value_with_its_groups(tmp_path):
    for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.1)):
        write_run(tmp_path / name, name.upper(), lr=lr)
    html = page_of(tmp_path, section="settings")
    cells = re.findall("<td>(?:<small>)?(.*?)(?:</small>)?</td>", html)
    assert cells[cells.index("<code>model.lr</code>") :] == [
        "<code>model.lr</code>", "0.1", "a, c", "", "0.2", "b",
    ]  # fmt: skip


def test_one_group_differs_in_nothing(tmp_path):
    write_run(tmp_path / "a")
    assert "All groups have the same settings" in page_of(tmp_path, section="settings")


def test_a_sweep_is_cut(tmp_path):
    for number in range(20):
        write_run(tmp_path / f"sweep{number}x", lr=number)
    html = page_of(tmp_path, section="settings")
    assert "and 8 more values" in html


def test_every_run_is_listed(tmp_path):
    write_run(tmp_path / "good", miou=0.6)
    write_run(tmp_path / "half", "CPS", miou=0.6, steps=20, results=False)
    html = page_of(tmp_path, section="runs")
    assert '<td class="num">60.0</td>' in html
    # It has a number, which does not count.
    assert '<td class="num">(50.0)</td>' in html
    assert "not finished: its last row is of step 20 of 40" in html
