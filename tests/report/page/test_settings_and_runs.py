from wsss_zoo.report.page_runs import runs_section, settings_section

from tests.report.run_folders import write_run
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs


def test_each_value_with_its_groups(tmp_path):
    for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.1)):
        write_run(tmp_path / name, name.upper(), lr=lr)
    html = settings_section(compare(find_runs([tmp_path])))
    assert "<td>0.1</td><td><small>a, c</small></td>" in html
    assert "<td>0.2</td><td><small>b</small></td>" in html


def test_one_group_differs_in_nothing(tmp_path):
    write_run(tmp_path / "a")
    assert settings_section(compare(find_runs([tmp_path]))) == ""


def test_a_sweep_is_cut(tmp_path):
    for number in range(20):
        write_run(tmp_path / f"sweep{number}x", lr=number)
    html = settings_section(compare(find_runs([tmp_path])))
    assert "and 8 more values" in html


def test_every_run_is_listed(tmp_path):
    write_run(tmp_path / "good", miou=0.6)
    write_run(tmp_path / "half", "CPS", miou=0.6, steps=20, results=False)
    html = runs_section(compare(find_runs([tmp_path])))
    assert '<td class="num">60.0</td>' in html
    # It has a number, which does not count.
    assert '<td class="num">(50.0)</td>' in html
    assert "not finished: its last row is of step 20 of 40" in html
