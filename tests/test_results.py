"""No number in RESULTS.md is typed by hand: its tables are what the kept runs give."""

import importlib.util
import re
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def collect_results():
    path = EXPERIMENTS / "collect_results.py"
    spec = importlib.util.spec_from_file_location("collect_results", path)
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
    collected = collect_results()
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


def test_kept_runs_name_no_path_of_a_machine():
    for path in filter(Path.is_file, (EXPERIMENTS / "results").rglob("*")):
        for line in path.read_text().splitlines():
            assert not re.search(r"(?<![\w.<])/(?:home|root|work|tmp|mnt|data|Users)/", line), path
