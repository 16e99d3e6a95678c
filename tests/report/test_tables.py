import csv
import io
import json

import pytest
from rich.console import Console

from tests.report.run_folders import page_of, write_pipeline, write_run
from tests.report.test_comparison import write_family
from wsss_zoo.files.atomic import read_json
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.tables import (
    csv_text,
    json_text,
    markdown_table,
    pipeline_table,
    print_comparison,
)

HOSTILE = "[bold]x[/nope] | <b>&"


@pytest.fixture
def family(tmp_path):
    return compare(find_runs([write_family(tmp_path / "f")]), baseline="base")


def printed(comparison, width=200, **options):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(comparison, console, **options)
    return console.file.getvalue()


def test_terminal(family):
    text = printed(family)
    assert "55.7 ± 2.1" in text
    assert "+6.0 [-0.6, +12.6]" in text
    assert "baseline" in text


def test_every_problem_is_printed(tmp_path):
    write_run(tmp_path / HOSTILE.replace("/", ""), "CPS")
    write_run(tmp_path / "b", steps=10, results=False)
    text = printed(compare(find_runs([tmp_path])))
    assert "b: not finished" in text
    assert "[bold]x[nope] | <b>&" in text


def test_long_tables_are_cut_and_say_so(tmp_path):
    for number in range(5):
        write_run(tmp_path / f"r{number}", lr=number, steps=10, results=False)
    text = printed(compare(find_runs([tmp_path])), rows=2)
    assert "and 3 more groups" in text


def test_markdown(family):
    header, _, base, ours = markdown_table(family).splitlines()
    assert header == "| group | runs | val/miou | difference | notes |"
    assert base == "| base | 3 | 49.7 ± 2.5 | baseline |  |"
    assert ours == "| ours | 3 | 55.7 ± 2.1 | +6.0 [-0.6, +12.6] |  |"


def test_markdown_by_seed(family):
    header, _, base, ours = markdown_table(family, by_seed=True).splitlines()
    assert header == ("|  | seed 0 | seed 1 | seed 2 | mean ± sd | over base | 95 % interval |")
    assert base == "| base | 50.0 | 52.0 | 47.0 | 49.7 ± 2.5 |  |  |"
    assert ours == "| ours | 58.0 | 55.0 | 54.0 | 55.7 ± 2.1 | +6.0 ± 2.6 | [-0.6, +12.6] |"


def test_names_cannot_break_markdown(tmp_path):
    write_run(tmp_path / "a|b<script>", "CPS")
    write_run(tmp_path / "c", steps=10, results=False)
    comparison = compare(find_runs([tmp_path]))
    for by_seed in (False, True):
        text = markdown_table(comparison, by_seed=by_seed)
        assert "a\\|b&lt;script>" in text
        assert "not finished" in text


def test_one_seed(tmp_path):
    write_run(tmp_path / "a", "CPS", miou=0.6)
    write_run(tmp_path / "b", miou=0.5)
    comparison = compare(find_runs([tmp_path]), baseline="b")
    assert "+10.0 (1 seed)" in printed(comparison)
    assert "| 60.0 | +10.0 (1 seed) |  |" in markdown_table(comparison, by_seed=True)
    assert comparison.rows[1].delta.low is None


def test_csv(family):
    base, ours = csv.DictReader(io.StringIO(csv_text(family)))
    assert ours["group"] == "ours"
    assert float(ours["difference mean"]) == pytest.approx(0.06)
    assert float(ours["val/miou sd"]) == pytest.approx(0.0208167, abs=1e-6)
    assert (base["difference mean"], base["seeds"], base["val/miou runs"]) == ("", "0 1 2", "3")


def test_json_holds_everything(tmp_path):
    write_family(tmp_path / "f")
    write_run(tmp_path / "f" / "bad", "CAM", steps=10, results=False)
    content = json.loads(json_text(compare(find_runs([tmp_path / "f"]), baseline="base")))
    assert len(content["runs"]) == 7
    bad = next(run for run in content["runs"] if run["name"] == "bad")
    assert bad["problems"]
    assert not bad["finished"]
    assert bad["group"] == "bad"
    ours = next(group for group in content["groups"] if group["name"] == "ours")
    assert ours["difference"]["count"] == 3
    assert ours["metrics"]["val/miou"]["mean"] == pytest.approx(0.5566667)


def test_pipelines_by_seed(tmp_path):
    roots = [write_pipeline(tmp_path / f"seed{seed}", seed) for seed in (0, 1)]
    runs = find_runs([tmp_path]).runs
    summaries = {seed: read_json(root / "summary.json") for seed, root in enumerate(roots)}
    lines = pipeline_table(summaries, runs, ["check:val/iou/cat"]).splitlines()
    assert lines[0] == "| measure | seed 0 | seed 1 | mean ± sd |"
    assert lines[2:] == [
        "| segmenter mIoU | 0.400 | 0.500 | 0.450 ± 0.071 |",
        "| not measured |  |  |  |",
        "| check:val/iou/cat | 0.400 | 0.500 | 0.450 ± 0.071 |",
        "| teacher, s | 8 | 8 | 8 ± 0 |",
        "| check, s (resumed) | 8 | 8 | 8 ± 0 |",
        "| all steps, s | 15 | 15 | 15 ± 0 |",
    ]


def test_steps_that_no_pipeline_timed(tmp_path):
    """Taken from other folders: no row of seconds, and no sum that would miss them."""
    root = write_pipeline(tmp_path / "seed0", 0)
    summary = read_json(root / "summary.json")
    runs = find_runs([tmp_path]).runs
    next(run for run in runs if run.stage == "teacher").seconds = None
    lines = pipeline_table({0: summary}, runs).splitlines()
    assert [line for line in lines if ", s" in line] == ["| check, s (resumed) | 8 | 8 |"]


def test_a_narrow_terminal(tmp_path):
    for number in range(3):
        name = f"a_method_with_a_long_name_{'xyz'[number]}"
        write_run(tmp_path / name, "CPS", lr=number)
    write_pipeline(tmp_path / "pipeline")
    names = ["val/miou", "val/pixel_acc", "val/iou/background", "val/iou/cat", "val/iou/dog"]
    comparison = compare(find_runs([tmp_path]), names)
    for width in (60, 80, 120, 200):
        text = printed(comparison, width)
        rows = [line for line in text.splitlines() if "a_method" in line]
        assert len(rows) >= 3
        assert all("50.0" in row for row in rows)
        assert max(map(len, text.splitlines()[:9])) <= width
    narrow = printed(comparison, 60)
    assert "left out, as the terminal is narrow: val/iou/" in narrow
    assert "left out" not in printed(comparison, 200)
    assert "stages without val/miou" not in narrow


def test_stages_without_the_number_fold_away(tmp_path):
    write_pipeline(tmp_path / "p")
    teacher = tmp_path / "p" / "teacher"
    (teacher / "metrics.csv").write_text("epoch,step,train/loss\n0,39,0.5\n")
    comparison = compare(find_runs([tmp_path]), ["val/miou"])
    assert [comparison.is_folded(row) for row in comparison.rows] == [True, False]
    text = printed(comparison, 80)
    assert "stages without val/miou: p/teacher" in text
    assert "left out" not in text
    (tmp_path / "p" / "check" / "metrics.csv").write_text("epoch,step,val/miou\n0,39,0.5\n")
    text = printed(compare(find_runs([tmp_path]), ["val/miou", "train/loss"]), 80)
    assert "left out, as no row here has them: train/loss" in text
    assert "train/" not in text.partition("stages without")[0].partition("left out")[0]
    page = page_of(tmp_path, metrics=["val/miou"], section="results")
    table, _, rest = page.partition("</table>")
    assert "p/check" in table
    assert "p/teacher" not in table
    assert "1 stages of pipelines without val/miou" in rest
    assert "p/teacher" in rest


def test_notes_are_footnotes(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, lr=len(name) + ord(name), steps=10, results=False)
    text = printed(compare(find_runs([tmp_path])), 80)
    assert text.count("1: 1 of 1 runs not finished") == 1
    page = page_of(tmp_path, section="results")
    assert '<li id="note-1" value="1">1 of 1 runs not finished</li>' in page
    assert page.count('href="#note-1"') == 2
