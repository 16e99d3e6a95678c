import json

import pytest

from tests.each import each
from tests.report.run_folders import write_pipeline, write_run
from wsss_zoo.report.find_runs import find_runs


def names(*folders):
    return [run.name for run in find_runs(folders).runs]


def test_folders_of_folders(tmp_path):
    for name in ("b/seed10", "b/seed9", "a"):
        write_run(tmp_path / name)
    (tmp_path / "b" / "seed9" / "checkpoints").mkdir()
    (tmp_path / "notes.txt").write_text("")
    assert names(tmp_path) == ["a", "b/seed9", "b/seed10"]
    assert names(tmp_path / "a") == ["a"]
    assert names(tmp_path / "b") == ["seed9", "seed10"]


def test_two_runs_of_the_same_name(tmp_path):
    write_run(tmp_path / "mon" / "x")
    write_run(tmp_path / "tue" / "x")
    found = find_runs([tmp_path / "mon" / "x", tmp_path / "tue" / "x"])
    assert [run.name for run in found.runs] == ["mon/x", "tue/x"]
    assert "runs of the same name" in found.problems[0]


def test_a_run_given_twice_counts_once(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = find_runs([tmp_path, tmp_path / "link", tmp_path / "b"])
    assert [run.name for run in found.runs] == ["a", "b"]
    assert len(found.problems) == 2
    assert all("1 run was given before; it counts" in line for line in found.problems)


def test_links_do_not_make_it_go_round(tmp_path):
    write_run(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert names(tmp_path) == ["a"]


def test_stages_of_a_pipeline(tmp_path):
    write_pipeline(tmp_path / "st" / "seed0", 0)
    runs = find_runs([tmp_path]).runs
    assert [(run.name, run.recipe, run.stage, run.place) for run in runs] == [
        ("st/seed0/teacher", "st", "teacher", 0),
        ("st/seed0/check", "st", "check", 1),
    ]
    assert [run.seconds for run in runs] == [7.5, 7.5]
    assert [run.resumed for run in runs] == [False, True]
    assert all(run.finished for run in runs)


def test_stages_are_called_by_their_pipelines_folder_too(tmp_path):
    roots = [write_pipeline(tmp_path / f"seed{seed}", seed) for seed in (0, 1)]
    found = find_runs(roots)
    assert [run.name for run in found.runs][1:3] == ["seed0/check", "seed1/teacher"]
    assert found.problems == []


def test_a_pipeline_that_has_not_come_to_its_end(tmp_path):
    write_pipeline(tmp_path / "p", finished=False)
    first, second = find_runs([tmp_path / "p"]).runs
    assert (first.recipe, first.stage, first.finished) == ("st", "teacher", True)
    assert (second.stage, second.finished) == ("check", False)
    assert "not finished" in second.problems[0] or "not finished" in second.problems[1]


def test_kept_copies_without_marks_of_their_end(tmp_path):
    root = write_pipeline(tmp_path / "p")
    for path in root.glob("*/*.json"):
        if path.name in ("started.json", "done.json"):
            path.unlink()
    assert all(run.finished for run in find_runs([root]).runs)


def test_a_stage_that_failed_and_one_that_is_gone(tmp_path):
    root = write_pipeline(tmp_path / "p")
    summary = json.loads((root / "summary.json").read_text())
    summary["steps"]["check"]["seconds"] = None
    summary["steps"]["gone"] = {"seconds": 3}
    (root / "summary.json").write_text(json.dumps(summary))
    (root / "check" / "done.json").unlink()
    (root / "check" / "started.json").unlink()
    _, failed, gone = find_runs([root]).runs
    assert failed.problems == ["failed: the pipeline went on without it"]
    assert gone.problems == ["its folder is missing"]
    assert not failed.finished
    assert not gone.finished


def test_a_stage_taken_by_two_pipelines_is_a_row_of_both(tmp_path):
    first = write_pipeline(tmp_path / "a")
    second = write_pipeline(tmp_path / "b")
    for path in (second / "teacher").iterdir():
        path.unlink()
    (second / "teacher").rmdir()
    (second / "teacher").symlink_to(first / "teacher")
    assert len(names(tmp_path)) == 4


@each("summary", ["{", "[]", '{"steps": 3}', '{"steps": {"../x": {}}}'])
def test_a_summary_that_is_none(tmp_path, summary):
    write_run(tmp_path / "x")
    root = tmp_path / "p"
    write_run(root / "inside")
    (root / "summary.json").write_text(summary)
    assert names(root) == ["inside"]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*gone"):
        find_runs([tmp_path / "gone"])
    with pytest.raises(ValueError, match=r"there is no run in .*'wsss-zoo fit'"):
        find_runs([tmp_path])
    write_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    found = find_runs([tmp_path / "a", tmp_path / "empty"])
    assert "no run in it" in found.problems[0]
