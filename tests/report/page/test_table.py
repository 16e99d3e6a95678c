import re

from tests.report.run_folders import page_of, write_run
from tests.report.test_comparison import write_family


def table_of(root, **options):
    return page_of(root, section="results", **options)


def places(html, tag):
    return [float(left) for left in re.findall(rf'<{tag} style="left:([\d.]+)%', html)]


def test_dots_lie_on_the_axis(tmp_path):
    html = table_of(write_family(tmp_path), baseline="base")
    # Values from 0.47 to 0.58: the axis is from 0.45 to 0.6.
    assert places(html, "i")[:3] == [33.3, 46.7, 13.3]
    assert ">45<" in html
    assert ">60<" in html
    # The mean of the differences, 0.06, on an axis from -0.2 to 0.2.
    assert 65 in places(html, "b")


def test_a_huge_interval_does_not_dwarf_the_others(tmp_path):
    for seed, miou in enumerate((0.3, 0.6)):
        write_run(tmp_path / "a" / f"seed{seed}", "CPS", seed, miou)
        write_run(tmp_path / "b" / f"seed{seed}", "FixMatch", seed, 0.4)
    html = table_of(tmp_path, baseline="b")
    assert 's class="lo hi" style="left:0.0%;width:100.0%"' in html
    assert "Arrow:" in html


def test_means_that_cancel_out_do_not_cut_the_interval(tmp_path):
    for seed, (ours, theirs) in enumerate(((0.50, 0.48), (0.52, 0.53), (0.47, 0.4800001))):
        write_run(tmp_path / "a" / f"seed{seed}", "CPS", seed, ours)
        write_run(tmp_path / "b" / f"seed{seed}", "FixMatch", seed, theirs)
    html = table_of(tmp_path, baseline="b")
    assert ">+5<" in html
    assert "Arrow:" not in html


def test_one_value(tmp_path):
    write_run(tmp_path / "a", miou=0.5)
    assert "nan" not in table_of(tmp_path)
