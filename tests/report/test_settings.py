from wsss_zoo.report.settings import (
    common_settings,
    comparable,
    differences,
    flatten,
    is_numbered,
)


def test_options_have_the_names_of_the_command_line():
    config = {
        "seed_everything": 1,
        "model": {"class_path": "wsss_zoo.CAM", "init_args": {"lr": 0.1, "scales": [0.5, 1.0]}},
        "data": {"class_path": "mine.Data"},
        "trainer": {"callbacks": None},
    }
    assert flatten(config) == {
        "seed_everything": "1",
        "model": "CAM",
        "model.lr": "0.1",
        "model.scales": "[0.5, 1.0]",
        "data": "Data",
        "trainer.callbacks": "null",
    }
    assert flatten({"model": {"class_path": "CAM", "init_args": None}}) == {"model": "CAM"}


def test_seeds_and_matters_of_the_machine_do_not_count():
    settings = {
        "seed_everything": "1", "data.seed": "5", "data.num_workers": "2",
        "trainer.default_root_dir": "runs/x", "trainer.enable_progress_bar": "false",
        "visualizer.num_images": "4", "model.lr": "0.1",
    }  # fmt: skip
    assert comparable(settings) == ({"model.lr": "0.1"}, {})


def test_of_a_path_counts_that_it_is_given():
    def kept(**values):
        return comparable({f"model.{key}": value for key, value in values.items()})

    ours, paths = kept(init_from="runs/a/seed0/last.ckpt")
    others, _ = kept(init_from="/else/where.ckpt")
    none, no_paths = kept(init_from="null")
    assert ours == others != none
    assert paths == {"model.init_from": "runs/a/*/last.ckpt"}
    assert no_paths == {}
    assert kept(init_from="<model.init_from>")[0] == ours


def test_weights_and_lists_count_by_the_name_of_their_file():
    at_home, _ = comparable({"model.weights": "/home/me/a.pth", "data.train_split": "l/1_8.txt"})
    assert at_home == {"model.weights": "a.pth", "data.train_split": "1_8.txt"}
    assert comparable({"model.weights": "imagenet"})[0] == {"model.weights": "imagenet"}


def test_what_looks_like_no_path():
    settings = {"a": "[1/2, 3]", "b": "0.5", "c": "ce", "d": "{}"}
    assert comparable(settings) == (settings, {})


def test_numbers_of_repetitions():
    assert all(map(is_numbered, ("seed0", "version_12", "run-3", "7", "Seed_1")))
    assert not any(map(is_numbered, ("seed", "l55", "cam", "seed0b", "")))


def test_an_option_that_only_some_know_does_not_tear_them_apart():
    assert common_settings([{"a": "1"}, {"a": "1", "late": "x"}]) == [{"a": "1"}, {"a": "1"}]
    differing = [{"a": "1"}, {"late": "x"}, {"late": "y"}]
    assert common_settings(differing)[1:] == [{"late": "x"}, {"late": "y"}]


def test_differences():
    assert differences([{"a": "1", "b": "1"}, {"a": "1", "b": "2"}]) == {"b": ["1", "2"]}
    assert differences([{"a": "1"}]) == {}
