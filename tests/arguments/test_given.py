import json

import pytest

from tests.each import each
from wsss_zoo.arguments.given import (
    Setting,
    class_first,
    given_settings,
    option_groups,
    option_key,
    share_options,
)


@each(
    "args",
    [
        ["--model", "CAM", "--model.lr", "0.1"],
        ["--model=CAM", "--model.lr=0.1"],
        ["--model.class_path", "CAM", "--model.init_args.lr", "0.1"],
        ["--model", '{"class_path": "CAM", "init_args": {"lr": "0.1"}}'],
        ["--config", '{"model": {"class_path": "CAM", "init_args": {"lr": "0.1"}}}'],
    ],
)
def test_spellings_are_one(args):
    settings = given_settings(args)
    assert settings["model"].value == "CAM"
    assert settings["model.lr"].value == "0.1"


@pytest.mark.parametrize("option", ["--config", "-c"])
def test_config_files(tmp_path, option):
    path = tmp_path / "c.yaml"
    path.write_text("model: {class_path: CAM, init_args: {num_classes: 9}}\nseed_everything: 3\n")
    settings = given_settings([option, str(path), "--seed_everything", "4"])
    assert settings["model.num_classes"] == Setting(9, f"{path}: model.init_args.num_classes")
    assert settings["seed_everything"] == Setting("4", "--seed_everything")


def test_the_last_one_counts(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"model": {"class_path": "CAM"}}))
    first = given_settings(["--model", "Supervised", f"--config={path}"])
    assert first["model"].value == "CAM"
    assert given_settings([f"--config={path}", "--model", "Supervised"])["model"].value != "CAM"


def test_module_in_a_file_of_its_own(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text("class_path: CAM\ninit_args: {lr: 0.5}\n")
    settings = given_settings(["--model", str(path)])
    assert (settings["model"].value, settings["model.lr"].value) == ("CAM", 0.5)


@pytest.mark.parametrize("content", ["[1, 2", "- a list\n", None])
def test_unreadable_config_is_left_to_the_parser(tmp_path, content):
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    assert set(given_settings(["--config", str(path)])) == {"config"}


def test_values_that_look_like_options_of_argparse():
    groups = option_groups(["--a", "-1", "2", "--b", "--c=--d"])
    assert groups == [["--a", "-1", "2"], ["--b"], ["--c=--d"]]
    assert [option_key(group[0]) for group in groups] == ["a", "b", "c"]


@each(
    "args",
    [
        ["--model.lr", "1", "--config", "c.yaml", "--model", "CAM"],
        ["--model", "CAM", "--model.lr", "1"],
        ["--model.lr", "1"],
        [],
    ],
)
def test_the_order_is_kept_where_it_matters(args):
    assert class_first(args, "model") == args


def test_options_of_the_model_go_to_the_methods_that_have_them():
    options = ["--model.weights=w.pth", "--model.init_args.layer", "gcn", "--data.root", "r"]
    both = ["--data.root", "r"]
    assert share_options(options, ["CAM", "wsss_zoo.methods.GATCorrector", None]) == [
        ["--model.weights=w.pth", *both],
        ["--model.init_args.layer", "gcn", *both],
        options,
    ]


def test_an_option_that_no_method_has_goes_to_all():
    options = ["--model.wieghts", "w.pth"]
    assert share_options(options, ["CAM", "GATCorrector"]) == [options, options]
    assert share_options(options, ["own.Method"]) == [options]
