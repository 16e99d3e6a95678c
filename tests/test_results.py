"""No number in RESULTS.md or BENCHMARKS.md is typed by hand: tables are what was kept."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def script(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = re.findall(
    r"<!-- (table|rows|classes|pretext|memory) (\S+) -->\n(.*?)\n<!-- end -->",
    (EXPERIMENTS / "RESULTS.md").read_text(),
    re.DOTALL,
)


@pytest.mark.parametrize(
    ("kind", "row", "content"), TABLES, ids=[f"{kind}-{row}" for kind, row, _ in TABLES]
)
def test_tables_are_those_of_the_kept_runs(kind, row, content):
    collected = script("collect_results")
    make = {
        "table": collected.table,
        "rows": collected.rows_table,
        "classes": collected.classes_table,
        "pretext": collected.pretext_table,
        "memory": collected.memory_table,
    }
    assert content == make[kind](row)


def test_there_are_tables():
    assert TABLES


def test_benchmarks_are_those_that_were_measured():
    made = script("benchmark_tables")
    kept = json.loads(made.KEPT.read_text())
    assert len(kept["rows"]) > 50
    assert made.PAGE.read_text() == made.page(kept)


def test_kept_runs_name_no_path_of_a_machine():
    for path in filter(Path.is_file, (EXPERIMENTS / "results").rglob("*")):
        for line in path.read_text().splitlines():
            assert not re.search(r"(?<![\w.<])/(?:home|root|work|tmp|mnt|data|Users)/", line), path
