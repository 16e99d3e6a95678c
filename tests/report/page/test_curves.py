import re
import xml.etree.ElementTree as ET
from collections import Counter

import matplotlib
import numpy as np
import pytest

from tests.each import each
from tests.report.run_folders import write_run
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.groups import Group
from wsss_zoo.report.metrics_file import Curve
from wsss_zoo.report.page.curves import group_line, move_apart, panels, ticks
from wsss_zoo.report.runs import Run


def group_of(*curves):
    runs = []
    for steps, values in curves:
        run = Run(None)
        run.curves["m"] = Curve(np.array(steps, float), np.array(values, float))
        runs.append(run)
    return Group(runs, name="g")


def test_mean_of_runs_with_the_same_steps():
    line = group_line(group_of(([0, 10, 20], [1, 2, 3]), ([0, 10, 20], [3, 4, 5])), "m", 60)
    assert line.steps.tolist() == [0, 10, 20]
    assert line.mean.tolist() == [2, 3, 4]
    assert line.low.tolist() == [1, 2, 3]
    assert line.high.tolist() == [3, 4, 5]


def test_long_curves_are_means_over_intervals():
    steps = np.arange(1000)
    line = group_line(group_of((steps, steps * 2.0)), "m", 10)
    assert len(line.steps) == 10
    edges = np.linspace(0, 999, 11)
    inside = (steps >= edges[3]) & (steps < edges[4])
    assert line.mean[3] == pytest.approx((steps[inside] * 2).mean())
    # No step is lost, the last one neither.
    assert line.mean[-1] == pytest.approx((steps[steps >= edges[9]] * 2).mean())


def test_runs_of_different_length():
    line = group_line(group_of(([0, 10], [1, 1]), ([0, 10, 20, 30], [3, 3, 3, 3])), "m", 60)
    assert line.mean[0] == 2
    assert line.mean[-1] == 3


def test_a_single_point_is_no_curve():
    assert group_line(group_of(([5], [1])), "m", 60) is None


def panels_of(root, colored=(0,)):
    return panels(compare(find_runs([root])), colored)


def test_a_panel_is_well_formed_and_has_nothing_of_the_runs_in_it(tmp_path):
    for number in range(3):
        write_run(tmp_path / f"<i>&{number}", lr=number)
    (panel,) = panels_of(tmp_path, [0, 1])
    assert panel.metric == "train/loss"
    root = ET.fromstring(panel.svg)
    assert "&" not in panel.svg
    assert not re.search("nan|inf|style=| id=", panel.svg)
    classes = Counter(item.get("class") for item in root.iter("g"))
    assert [classes[name] for name in ("line c0", "line c1", "faint")] == [1, 1, 1]
    assert list(panel.ends) == [0, 1]


def test_a_line_is_where_its_numbers_are(tmp_path):
    folder = write_run(tmp_path / "a", results=False)
    (folder / "metrics.csv").write_text("step,train/loss\n0,0\n40,4\n")
    (panel,) = panels_of(tmp_path)
    svg = ET.fromstring(panel.svg)
    line = svg.find(".//g[@class='line c0']/path").get("d")
    (x0, y0), (x1, y1) = [map(float, point.split()) for point in re.split(" *[ML] ", line)[1:]]
    grid = [float(g.find("path").get("d").split()[2]) for g in svg.iterfind(".//g[@class='grid']")]
    assert (y0, y1) == (max(grid), min(grid))
    texts = svg.iterfind(".//text[@text-anchor='middle']")
    places = {text.text: float(text.get("x")) for text in texts}
    assert x0 == pytest.approx(places["0"], abs=1)
    assert x1 == pytest.approx(places["step 40"], abs=1)


def test_the_same_runs_make_the_same_drawing_whatever_matplotlib_is_set_to(tmp_path):
    write_run(tmp_path / "a")
    expected = panels_of(tmp_path)
    with matplotlib.rc_context({"savefig.bbox": "tight", "axes.facecolor": "red", "grid.alpha": 0}):
        assert panels_of(tmp_path) == expected


def test_a_constant_curve_has_an_axis(tmp_path):
    folder = write_run(tmp_path / "a", results=False)
    for value in ("0", "0.5", "1e9", "-3"):
        (folder / "metrics.csv").write_text(f"step,train/loss\n0,{value}\n39,{value}\n")
        ET.fromstring(panels_of(tmp_path)[0].svg)


def test_no_curve_no_panel(tmp_path):
    (write_run(tmp_path / "a") / "metrics.csv").write_text("step,train/loss\n0,1\n")
    assert panels_of(tmp_path) == []


@each(("low", "high"), [(0, 1), (0.31, 0.33), (-5, 1000), (1e-9, 2e-9), (3, 3)])
def test_ticks_span_the_range(low, high):
    found = ticks(low, high, 4)
    assert found[0] <= low + 1e-15
    assert found[-1] >= high
    assert 2 <= len(found) <= 7


def test_labels_do_not_lie_on_each_other():
    moved = move_apart([100, 101, 102, 103], 13, 110)
    assert min(np.diff(moved)) >= 13
    assert moved[-1] <= 110
