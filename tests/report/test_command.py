import json

import pytest

from tests.report.run_folders import write_pipeline, write_run
from tests.report.test_comparison import write_family
from wsss_zoo.cli import main as wsss_zoo
from wsss_zoo.report.command import table


def main(args):
    return wsss_zoo(["compare", *args])


def test_all_outputs(tmp_path, capsys):
    root = write_family(tmp_path / "runs")
    out = tmp_path / "new" / "folder"
    args = ["compare", str(root), "--baseline", "base", "--html", str(out / "r.html")]
    for kind in ("json", "csv", "markdown"):
        args += [f"--{kind}", str(out / f"t.{kind}")]
    assert wsss_zoo(args) == 0
    printed = capsys.readouterr().out
    assert "+6.0 [-0.6, +12.6]" in printed.replace("\n", " ") or "+6.0" in printed
    assert json.loads((out / "t.json").read_text())["baseline"] == "base"
    assert (out / "t.csv").read_text().startswith("group,")
    assert (out / "t.markdown").read_text().startswith("| group |")
    assert (out / "r.html").read_text().startswith("<!doctype html>")
    assert len(list(out.iterdir())) == 4


def test_the_page_is_written_unless_one_says_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a")
    main(["a", "--no-html"])
    main(["a", "--markdown"])
    assert not (tmp_path / "report.html").exists()
    main(["a"])
    assert (tmp_path / "report.html").exists()
    assert "page: report.html" in capsys.readouterr().out


def test_markdown_alone_is_all_that_is_printed(tmp_path, capsys):
    root = write_family(tmp_path)
    args = [str(root), "--baseline", "base", "--by-seed"]
    main([*args, "--markdown"])
    assert capsys.readouterr().out == table(args) + "\n"


def test_pipelines_by_seed(tmp_path):
    for seed in (0, 1):
        write_pipeline(tmp_path / f"seed{seed}", seed)
    text = table([str(tmp_path), "--by-seed", "--metric", "check:val/miou"])
    assert "| check:val/miou | 0.400 | 0.500 | 0.450 ± 0.071 |" in text


def test_pipelines_that_are_no_row(tmp_path):
    write_pipeline(tmp_path / "a", 0)
    write_pipeline(tmp_path / "b", 0)
    with pytest.raises(ValueError, match="that of another pipeline"):
        table([str(tmp_path), "--by-seed"])
    write_pipeline(tmp_path / "c" / "d", 0)
    write_pipeline(tmp_path / "c" / "e", 1, recipe="other")
    with pytest.raises(ValueError, match="pipelines of one recipe"):
        table([str(tmp_path / "c"), "--by-seed"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "no folder nowhere"),
        (["a/config.yaml"], "config.yaml is no folder"),
        (["."], "there is no run in ."),
        (["a", "--baseline", "b"], "no group b"),
        (["a", "--metric", "b"], "no run has the metric b"),
        (["a", "--metric", "iuo"], "there are: train/loss, val/miou, val/pixel_acc, val/iou/"),
        (["a", "--csv", "a"], "a cannot be written: .*; name another file"),
        (["a", "--html", "a/config.yaml/page"], "page cannot be written"),
        (["a", "--confidence", "2"], "between 0 and 1"),
    ],
)
def test_errors_name_the_remedy(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    if args[0].startswith("a"):
        write_run(tmp_path / "a")
    with pytest.raises((ValueError, OSError), match=message):
        main(args)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("-1", "--num_images must be a whole number from 0, got '-1'"),
        ("x", "--num_images: Expected int. Got value: x"),
    ],
)
def test_number_of_images(tmp_path, capsys, number, message):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--num-images", number])
    assert message in capsys.readouterr().err


def test_damage_of_every_kind_is_shown_and_never_a_traceback(tmp_path, capsys):
    write_run(tmp_path / "good")
    for name, file, text in (
        ("no results", "val_results.json", "{"),
        ("cut", "metrics.csv", "step,train/loss\n9,1\n19,"),
        ("no header", "metrics.csv", "1,2\n"),
        ("no yaml", "config.yaml", ":\n- ]"),
        ("odd", "config.yaml", "model: 3\ndata: [1]\ntrainer: x\nseed_everything: [1]\n"),
        ("odd too", "config.yaml", "model: {class_path: [1], init_args: 3}\n"),
    ):
        folder = write_run(tmp_path / name, names=["a", "b"] if name == "cut" else ["a"])
        (folder / file).write_text(text)
    main([str(tmp_path), "--html", str(tmp_path / "r.html"), "--json", str(tmp_path / "j.json")])
    page = (tmp_path / "r.html").read_text()
    runs = json.loads((tmp_path / "j.json").read_text())["runs"]
    assert len(runs) == 7
    printed = capsys.readouterr().out
    for name in ("no results", "cut", "no header", "no yaml"):
        assert f"{name}: " in printed
        assert f"{name}: " in page
