import pytest
import yaml

from tests.report.run_folders import page_of, write_pipeline, write_run
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.groups import choose_baseline, class_lists, group_runs, seeds_of


def groups_of(*folders):
    return group_runs(find_runs(folders).runs)


def test_seeds_of_one_experiment_are_a_group(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "fix" / f"seed{seed}", "FixMatch", seed, 0.5 + seed / 10)
        write_run(tmp_path / "sup" / f"seed{seed}", "Supervised", seed)
    fix, sup = groups_of(tmp_path)
    assert (fix.name, fix.method, sup.name) == ("fix", "FixMatch", "sup")
    assert fix.by_seed("val/miou") == {0: 0.5, 1: 0.6, 2: 0.7}
    assert sorted(fix.numbers("val/miou")) == [0.5, 0.6, 0.7]
    assert seeds_of([fix, sup]) == [0, 1, 2]
    assert fix.notes() == []


def test_groups_of_one_name_are_told_apart_by_settings(tmp_path):
    write_run(tmp_path / "CAM" / "version_0", lr=0.1)
    write_run(tmp_path / "CAM" / "version_1", lr=0.2)
    assert [g.name for g in groups_of(tmp_path)] == ["CAM (lr=0.1)", "CAM (lr=0.2)"]


def test_long_differences_are_cut(tmp_path):
    for number in range(2):
        options = {f"option{i}": f"{number}{'long ' * 20}" for i in range(5)}
        write_run(tmp_path / "x" / f"version_{number}", **options)
    for group in groups_of(tmp_path):
        assert group.name.endswith("+2)")
        assert len(group.name) < 140


def test_runs_in_numbered_folders_have_the_name_of_the_folder_above(tmp_path):
    write_run(tmp_path / "mine" / "seed0", seed=0)
    write_run(tmp_path / "mine" / "seed1", seed=1)
    assert [group.name for group in groups_of(tmp_path / "mine")] == ["mine"]
    for seed in (2, 3):
        write_run(tmp_path / f"mine{seed}", seed=seed)
    assert groups_of(tmp_path)[0].name == "Supervised"


def test_inputs_tell_apart_only_where_a_seed_would_occur_twice(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "a" / f"seed{seed}", seed=seed, init_from=f"w/{'xy'[seed]}.ckpt")
    assert len(groups_of(tmp_path)) == 1
    for seed in (0, 1):
        write_run(tmp_path / "b" / f"seed{seed}", seed=seed, init_from=f"v/seed{seed}/l.ckpt")
    assert [len(group.runs) for group in groups_of(tmp_path)] in ([2, 1, 1], [1, 1, 2])


def test_options_of_a_later_version_tell_apart_only_then_too(tmp_path):
    write_run(tmp_path / "a" / "seed0", "FixMatch", 0)
    write_run(tmp_path / "a" / "seed1", "FixMatch", 1, gate_by_tags=False)
    assert len(groups_of(tmp_path)) == 1
    write_run(tmp_path / "b" / "seed0", "FixMatch", 0, gate_by_tags=False)
    assert sorted(len(group.runs) for group in groups_of(tmp_path)) == [1, 2]


def test_a_seed_twice_is_said_and_counts_once(tmp_path):
    write_run(tmp_path / "a" / "version_0", seed=0, miou=0.4)
    write_run(tmp_path / "a" / "version_1", seed=0, miou=0.6)
    (group,) = groups_of(tmp_path)
    assert group.by_seed("val/miou") == {0: pytest.approx(0.5)}
    assert group.notes() == ["more than one run of seed 0"]


def test_unfinished_runs_stay_in_their_group_and_do_not_count(tmp_path):
    write_run(tmp_path / "a" / "seed0", seed=0, miou=0.5)
    write_run(tmp_path / "a" / "seed1", seed=1, miou=0.9, steps=20, results=False)
    (group,) = groups_of(tmp_path)
    assert group.numbers("val/miou") == [0.5]
    assert group.notes() == ["1 of 2 runs not finished"]


def test_other_classes_are_another_group(tmp_path):
    write_run(tmp_path / "a" / "seed0", seed=0)
    write_run(tmp_path / "a" / "seed1", seed=1, names=["background", "cow"])
    first, second = groups_of(tmp_path)
    assert first.name == "a"
    assert second.name == "a #2"
    assert [len(same) for same in class_lists([first, second]).values()] == [1, 1]


def test_stages_are_groups_over_pipelines(tmp_path):
    for seed in (0, 1):
        write_pipeline(tmp_path / "st" / f"seed{seed}", seed)
    groups = groups_of(tmp_path)
    assert [(g.name, len(g.runs), g.recipe) for g in groups] == [
        ("st/teacher", 2, "st"),
        ("st/check", 2, "st"),
    ]


def test_the_baseline_may_be_called_in_several_ways(tmp_path):
    write_run(tmp_path / "sup" / "seed0", "Supervised")
    write_run(tmp_path / "x" / "seed0", "CPS")
    write_run(tmp_path / "y" / "seed0", "CPS", lr=0.2)
    groups = groups_of(tmp_path)
    sup = groups[0]
    for text in ("sup", "sup/seed0", "sup/", "Supervised", "su*", str(tmp_path / "sup" / "seed0")):
        assert choose_baseline(groups, text) is sup
    with pytest.raises(ValueError, match="may be each of: x, y; give one"):
        choose_baseline(groups, "CPS")
    with pytest.raises(ValueError, match=r"no group nobody .* there are: sup, x, y"):
        choose_baseline(groups, "nobody")


def test_two_data_sets_are_two_groups(tmp_path):
    for number, name in enumerate(("farm", "street")):
        data = {"class_path": "wsss_zoo.Folder", "init_args": {"root": f"/data/{name}"}}
        folder = write_run(tmp_path / "mine" / f"seed{number}", seed=number)
        content = yaml.safe_load((folder / "config.yaml").read_text()) | {"data": data}
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
    # Another place of the same folder is no other data set.
    folder = write_run(tmp_path / "mine" / "seed2", seed=2)
    content["data"]["init_args"]["root"], content["seed_everything"] = "/elsewhere/street", 2
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    groups = groups_of(tmp_path)
    assert [group.name for group in groups] == [
        "mine (root=farm)",
        "mine (root=street)",
    ]
    assert [len(group.runs) for group in groups] == [1, 2]
    assert "/farm" not in page_of(tmp_path, section="settings")
    assert "<code>data.root</code>" in page_of(tmp_path, section="settings")


def test_data_sets_with_the_same_seed_have_names(tmp_path):
    for name in ("farm", "street"):
        data = {"class_path": "wsss_zoo.Folder", "init_args": {"root": f"/data/{name}"}}
        folder = write_run(tmp_path / f"{name}0")
        content = yaml.safe_load((folder / "config.yaml").read_text()) | {"data": data}
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
    names = [group.name for group in groups_of(tmp_path)]
    assert not any("#2" in name for name in names)


def test_pipelines_with_other_settings_before_are_not_pooled(tmp_path):
    for seed, fg_conf in ((0, 0.3), (1, 0.5)):
        write_pipeline(tmp_path / f"p{seed}", seed)
        path = tmp_path / f"p{seed}" / "teacher" / "config.yaml"
        content = yaml.safe_load(path.read_text())
        content["model"]["init_args"]["fg_conf"] = fg_conf
        path.write_text(yaml.safe_dump(content))
    groups = [group for group in groups_of(tmp_path) if group.runs[0].stage == "check"]
    assert [len(group.runs) for group in groups] == [1, 1]
    assert {group.inputs["teacher.model.fg_conf"] for group in groups} == {"0.3", "0.5"}
    # Alike but for the seed, they are one group.
    path.write_text(path.read_text().replace("0.5", "0.3"))
    groups = [group for group in groups_of(tmp_path) if group.runs[0].stage == "check"]
    assert [len(group.runs) for group in groups] == [2]
