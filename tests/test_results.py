"""No number in RESULTS.md or BENCHMARKS.md is typed by hand: tables are what was kept."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from tests.report.run_folders import write_pipeline, write_run
from wsss_zoo.report.packed_runs import unpacked

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def script(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_kept_runs():
    collected = script("collect_results")
    kinds = "|".join(collected.TABLES)
    text = (EXPERIMENTS / "RESULTS.md").read_text()
    tables = re.findall(rf"<!-- ({kinds}) (\S+) -->\n(.*?)\n<!-- end -->", text, flags=re.DOTALL)
    assert len(tables) == text.count("<!-- end -->") > 0
    for kind, row, content in tables:
        made = collected.TABLES[kind](row)
        assert content == made, f"{kind} {row}: run experiments/collect_results.py"


def test_benchmarks_are_those_that_were_measured():
    made = script("benchmark_tables")
    kept = json.loads(made.KEPT.read_text())
    assert len(kept["rows"]) > 50
    assert made.PAGE.read_text() == made.page(kept, made.kept(made.KEPT_GPU))


def gpu_measurements(gpu):
    row = {"benchmark": "speed", "test": "steps", "at_least": None, "at_most": None}
    ratio = {"what": "step / passes", "value": 1.2, "at_most": 1.1}
    rows = [row | {"case": case, "what": "ms a step", "value": 12.34567} for case in "ab"]
    rows.append(row | {"case": "b"} | ratio)
    machine = {"gpu": gpu, "cuda": "13.0", "torch": "2.14"}
    return {"date": "2026-01-02T03:04", "machine": machine, "rows": rows}


def test_measurements_on_a_card_have_a_table_of_their_own(tmp_path, monkeypatch):
    made = script("benchmark_tables")
    assert "never run on a card" in made.gpu_table(None)
    for name in ("KEPT", "KEPT_GPU"):
        monkeypatch.setattr(made, name, tmp_path / f"{name}.json")
    made.keep([gpu_measurements("Some card")])
    assert [path.name for path in tmp_path.iterdir()] == ["KEPT_GPU.json"]
    lines = made.gpu_table(made.kept(made.KEPT_GPU)).splitlines()
    assert lines[0] == "2026-01-02: Some card, CUDA 13.0, torch 2.14."
    assert lines[2:] == [
        "| case | ms a step | step / passes |",
        "| --- | --- | --- |",
        "| a | 12.35 |  |",
        "| b | 12.35 | 1.2 **(≤ 1.1: missed)** |",
    ]
    with pytest.raises(SystemExit, match="trial on a CPU"):
        made.keep([gpu_measurements(None)])


def test_kept_runs_name_no_path_of_a_machine():
    results = EXPERIMENTS / "results"
    files = [path for folder in unpacked(results) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 1000
    for path in [*files, *results.glob("*.json")]:
        for line in path.read_text().splitlines():
            assert not re.search(r"(?<![\w.<])/(?:home|root|work|tmp|mnt|data|Users)/", line), path


def test_a_clone_has_few_files_for_the_kept_runs():
    kept = list((EXPERIMENTS / "results").iterdir())
    assert len(kept) < 30
    assert all(path.is_file() and path.stat().st_size < 600_000 for path in kept)


@pytest.fixture
def collected(tmp_path, monkeypatch):
    """The script, with an empty folder of kept runs."""
    collected = script("collect_results")
    monkeypatch.setattr(collected, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    return collected


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def finish(run, seed, method="Supervised"):
    """A run as the command line makes it, as far as the script looks at it."""
    write_run(run, method, seed)
    (run / "done.json").write_text("{}")
    return run


def test_rows_are_added_to_what_is_packed(collected, tmp_path):
    for seed in (0, 1):
        finish(tmp_path / "runs" / "supervised" / f"seed{seed}", seed)
        collected.add_rows("semi", tmp_path / "runs")
    finish(tmp_path / "pipeline" / "cps", 1, "CPS")
    write_run(tmp_path / "pipeline" / "cps_val", "CPS")
    collected.add_steps("semi", tmp_path / "pipeline")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["semi.runs.zip"]
    names = ("config.yaml", "metrics.csv", "val_results.json")
    rows = ("cps/seed1", "supervised/seed0", "supervised/seed1")
    assert files_of(collected.kept("semi")) == [f"{row}/{name}" for row in rows for name in names]
    assert "| cps |" in collected.rows_table("semi")


def test_pipelines_are_added_to_what_is_packed(collected, tmp_path):
    for seed in (0, 1):
        run = write_pipeline(tmp_path / f"seed{seed}", seed)
        collected.add("tags/st", run)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["tags.runs.zip"]
    assert {"seed0/summary.json", "seed1/check/config.yaml"} <= set(
        files_of(collected.kept("tags/st"))
    )
    assert "| segmenter mIoU | 0.400 | 0.500 |" in collected.table("tags/st")


def test_kinds_of_sparse_labels(tmp_path):
    made = script("collect_results")._module(EXPERIMENTS / "sparse_labels.py")
    for seed, (plain, own, full) in enumerate([(0.5, 0.6, 0.8), (0.4, 0.7, 0.7)]):
        folder = tmp_path / "points" / f"seed{seed}"
        (folder / "drawn").mkdir(parents=True)
        report = {made.PLAIN: plain, made.OWN: own, made.FULL: full}
        (folder / "summary.json").write_text(json.dumps({"report": report}))
        drawn = {"shapes": 10, "image_ids": ["a", "b"]}
        (folder / "drawn" / "simulation.json").write_text(json.dumps(drawn))
    # A kind that leaves the row of all masks to the other, of one seed.
    folder = tmp_path / "blocks" / "seed1"
    folder.mkdir(parents=True)
    report = {made.PLAIN: 0.5, made.OWN: 0.56}
    (folder / "summary.json").write_text(json.dumps({"report": report}))
    kind, blocks = made.read_kinds(tmp_path)
    assert blocks.shares == pytest.approx([0.8])
    assert blocks.shapes is None
    assert blocks.seconds is None
    assert kind.gains == pytest.approx([0.1, 0.3])
    assert kind.shares == pytest.approx([0.75, 1.0])
    assert (kind.shapes, kind.seconds) == (5, 12.0)
    assert made.read_full(tmp_path) == [0.8, 0.7]
