import json

import pytest

from tests.report.run_folders import write_pipeline, write_run
from wsss_zoo.report.comparison import compare, is_loss, shown
from wsss_zoo.report.find_runs import find_runs


def write_family(root):
    for seed, (base, ours) in enumerate([(0.50, 0.58), (0.52, 0.55), (0.47, 0.54)]):
        write_run(root / "base" / f"seed{seed}", "Supervised", seed, base)
        write_run(root / "ours" / f"seed{seed}", "FixMatch", seed, ours)
    return root


def test_mean_spread_and_paired_difference(tmp_path):
    found = compare(find_runs([write_family(tmp_path)]), baseline="base")
    base, ours = found.rows
    assert base.group is found.baseline
    assert base.delta is None
    assert found.metrics == ["val/miou"]
    # Differences 0.08, 0.03, 0.07: mean 0.06, sd 0.026458, t(0.95, 2) = 4.30265.
    assert ours.delta.mean == pytest.approx(0.06)
    assert ours.delta.spread == pytest.approx(0.026458, abs=1e-6)
    half = 4.302653 * 0.026458 / 3**0.5
    assert (ours.delta.low, ours.delta.high) == pytest.approx((0.06 - half, 0.06 + half), abs=1e-5)
    assert ours.cells["val/miou"].mean == pytest.approx(0.5566667)


def test_rows_are_in_the_order_of_the_first_metric(tmp_path):
    for name, miou in (("low", 0.1), ("high", 0.9), ("middle", 0.5)):
        write_run(tmp_path / name, lr=miou, miou=miou)
    write_run(tmp_path / "none", "CPS", steps=10, results=False)
    found = find_runs([tmp_path])

    def order(**options):
        return [row.group.name for row in compare(found, **options).rows]

    assert order() == ["high", "middle", "low", "none"]
    assert order(baseline="low") == ["low", "high", "middle", "none"]
    assert order(metrics=["train/loss"])[-1] == "none"


def test_stages_stay_in_order_behind_other_runs(tmp_path):
    write_pipeline(tmp_path / "p")
    write_run(tmp_path / "z", "CPS")
    names = [row.group.name for row in compare(find_runs([tmp_path])).rows]
    assert names == ["z", "p/teacher", "p/check"]


def test_other_classes_and_other_seeds_have_no_difference(tmp_path):
    write_run(tmp_path / "base", "Supervised", 0)
    write_run(tmp_path / "cows", "CPS", 0, names=["background", "cow"])
    write_run(tmp_path / "late", "FixMatch", 7)
    write_run(tmp_path / "none", "CAM", results=False, steps=5)
    rows = compare(find_runs([tmp_path]), baseline="base").rows
    assert all(row.delta is None for row in rows)
    notes = {row.group.name: row.notes for row in rows}
    assert "other classes" in notes["cows"][0]
    assert "no seed in common" in notes["late"][0]
    assert notes["none"] == ["1 of 1 runs not finished"]


def test_a_finished_run_without_the_metric_says_so(tmp_path):
    write_run(tmp_path / "a", "CPS")
    folder = write_run(tmp_path / "b", results=False)
    (folder / "metrics.csv").write_text("step,train/loss\n39,1\n")
    rows = compare(find_runs([tmp_path])).rows
    assert rows[1].notes == ["no val/miou"]


def test_runs_that_do_not_count_are_told(tmp_path):
    write_run(tmp_path / "a", seed=0)
    (write_run(tmp_path / "b", seed=1, results=False) / "metrics.csv").write_text(
        "epoch,step,train/loss,val/miou\n0,39,1,nan\n"
    )
    (row,) = compare(find_runs([tmp_path])).rows
    assert row.notes == ["1 of 2 runs without val/miou"]


def test_columns(tmp_path):
    write_run(tmp_path / "a")
    found = find_runs([tmp_path])
    metrics = ["val/iou/cat", "train/loss", "val/iou/cat"]
    assert compare(found, metrics).metrics == metrics[:2]
    with pytest.raises(ValueError, match=r"no run has the metric val/mIoU; there are: .*val/miou"):
        compare(found, ["val/mIoU"])
    with pytest.raises(ValueError, match="confidence"):
        compare(found, confidence=1.0)


def test_without_any_telling_metric(tmp_path):
    folder = write_run(tmp_path / "a", results=False)
    (folder / "metrics.csv").write_text("step,train/loss,train/lr\n39,1,1\n")
    assert compare(find_runs([tmp_path])).metrics == ["train/loss"]
    (folder / "metrics.csv").unlink()
    found = compare(find_runs([tmp_path]))
    assert found.rows[0].cells == {"val/miou": None}


def test_numbers_as_people_read_them():
    assert shown(0.5, "val/miou") == "50.0"
    assert shown(-0.0321, "val/iou/cat", signed=True) == "-3.2"
    assert shown(1234.5678, "train/loss") == "1235"
    assert is_loss("train/loss_labeled")


def test_the_estimate_of_labels_is_a_column(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "config.yaml").write_text("model: {class_path: CAM}\nseed_everything: 0\n")
    quality = {"images": 2, "metrics": {"estimate/separation": 0.1234, "estimate/missing": 0.0}}
    (folder / "quality.json").write_text(json.dumps(quality))
    found = compare(find_runs([tmp_path]))
    assert found.metrics == ["estimate/separation"]
    assert found.rows[0].cells["estimate/separation"].mean == 0.1234
    assert found.runs[0].problems == []
    assert shown(0.1234, "estimate/separation") == "12.3"
