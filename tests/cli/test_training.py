"""Help, short runs and own folders, as a user meets them."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from tests.data.conftest import folder_root
from tests.each import each
from tests.tiny import NETWORK, QUIET, tiny
from wsss_zoo.cli import main

__all__ = ["folder_root"]

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
OWN = sorted(EXPERIMENTS.glob("*_folder.yaml"))
# What a test's size asks for; nothing that undoes a configuration.
SMALL = [
    *[*NETWORK, *QUIET, "--model.weights", "null", "--data.num_workers", "0"],
    *["--data.crop_size", "32", "--data.batch_size", "1", "--trainer.max_steps", "2"],
]


def shown(capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        main(list(args))
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_help_of_a_method_begins_with_what_it_does(capsys):
    text = shown(capsys, "fit", "--model.help", "FixMatch")
    first, _, title, *_ = text.splitlines()
    assert first == "Sure labels of an unlabelled image teach its strongly changed, mixed view."
    assert title == "Options of FixMatch:"
    own, shared = text.split("Options that others have, too:")
    assert "--model.conf_thresh" in own
    assert "--model.lr" in shared
    assert "usage" not in text
    assert "num_classes" not in text


def test_help_of_a_data_set(capsys):
    own, shared = shown(capsys, "inspect", "--data.help", "Folder").split("Options that others")
    assert own.startswith("Your own images")
    assert "--data.val_fraction" in own
    assert "--data.crop_size" in shared


def test_help_of_fit_has_the_method_first_and_the_trainer_last(capsys):
    text = shown(capsys, "fit", "--model", "FixMatch", "--help")
    titles = [
        "Options of FixMatch:", "The method (names", "The data set", "Metrics of segmenters",
        "Lightning's Trainer",
    ]  # fmt: skip
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert not re.search(r"^\S.*:$", text[places[-1] :].partition("\n")[2], re.MULTILINE)


@each("command", ["fit", "validate", "test", "predict"])
def test_an_error_in_a_config_names_the_command(tmp_path, capsys, command):
    path = tmp_path / "step.yaml"
    path.write_text("model: {class_path: CAM}\ndata: {class_path: Folder}\n")
    with pytest.raises(SystemExit):
        main([command, "--config", str(path)])
    error = capsys.readouterr().err
    assert error.startswith(f"wsss-zoo {command}: error: Folder: ")
    assert "root" in error
    assert f"wsss-zoo {command} --help lists all options" in error


def test_a_config_that_is_no_file_of_text(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    said = {"run": "is a folder; it has no config.yaml", "a.png": "is no text file; give one of"}
    for name, words in said.items():
        with pytest.raises(SystemExit):
            main(["predict", "--config", str(tmp_path / name)])
        assert f"error: --config {tmp_path / name} {words}" in capsys.readouterr().err
    (tmp_path / "run/config.yaml").touch()
    with pytest.raises(SystemExit):
        main(["predict", f"--config={tmp_path / 'run'}"])
    assert f"give its file, --config {tmp_path / 'run/config.yaml'}" in capsys.readouterr().err


def test_generated_images_choose_a_labelled_share(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    options = [*tiny(train=160), "--trainer.max_steps", "2", "--trainer.default_root_dir", "run"]
    assert main(["fit", "--model", "FixMatch", *options]) == 0
    assert "Shapes chooses a labelled share of 0.125" in caplog.text
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["init_args"]["labeled_split"] == 0.125
    assert len((tmp_path / "run" / "labeled_split.txt").read_text().split()) == 20
    # A run of two steps has its row.
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["train/loss"]] == ["1"]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_configuration_for_ones_own_folder_needs_no_undoing(
    folder_root, tmp_path, monkeypatch, path
):
    monkeypatch.chdir(tmp_path)
    options = ["--data.root", str(folder_root), *SMALL]
    if "unimatch_v2" in path.stem:  # made for a ViT with patches of 14
        options += ["--model.output_stride", "16"]
    assert main(["fit", "--config", str(path), *options]) == 0
    (run,) = tmp_path.glob("runs/*/*")
    assert (run / "checkpoints" / "last.ckpt").exists()


def test_the_own_configurations_are_there():
    assert {"fixmatch_folder", "supervised_folder"} <= {path.stem for path in OWN}


def test_test_measures_the_test_list_or_says_val(folder_root, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    options = ["--model", "Supervised", "--data", "Folder", "--data.root", str(folder_root), *SMALL]
    run = ["--trainer.default_root_dir", "run"]
    assert main(["fit", *options, *run]) == 0
    measure = [token for token in options if token not in ("--trainer.max_steps", "2")]
    assert main(["test", *measure, *run, "--ckpt_path", "run/checkpoints/last.ckpt"]) == 0
    assert "test measures val_split 'val', and its measures are named val" in caplog.text
    assert (tmp_path / "run" / "val_results.json").exists()
    assert not (tmp_path / "run" / "test_results.json").exists()
    (folder_root / "splits").mkdir()
    (folder_root / "splits" / "test.txt").write_text("img 3\n")
    assert main(["test", *measure, *run, "--ckpt_path", "run/checkpoints/last.ckpt"]) == 0
    assert (tmp_path / "run" / "test_results.json").exists()
