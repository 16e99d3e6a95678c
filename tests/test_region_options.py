"""The options ``noise``, ``graphs`` and ``evaluation.gate_by_tags``, from the command line up."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.tiny import tiny
from wsss_zoo import Shapes
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.files.pseudo_labels import read_label
from wsss_zoo.files.region_graphs import read_graph, read_graph_manifest
from wsss_zoo.pipeline import command as pipeline
from wsss_zoo.pipeline.recipe import read_recipe

COUNT = 12
TINY = [*tiny(size=48, train=COUNT), "--visualizer.num_images", "0"]
CKPT = "clean/checkpoints/last.ckpt"


def run(command, model, folder, *options):
    root = ["--trainer.default_root_dir", str(folder)]
    return ZooCLI([command, "--model", model, *TINY, *root, *map(str, options)])


@pytest.fixture(autouse=True)
def _seeds(monkeypatch):
    # seed_everything leaves its seed for the processes that it starts.
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A segmenter of half the images, noisy labels of all, and what follows from both."""
    folder = tmp_path_factory.mktemp("regions")
    run(
        *["fit", "Supervised", folder / "clean", "--data.labeled_split", "0.5"],
        *["--trainer.max_steps", "2", "--trainer.check_val_every_n_epoch", "100"],
    )
    run("predict", "CAM", folder / "cam", "--labels.bg_threshold", "0.3")
    given = folder / "cam" / "pseudo_labels"
    unseen = ["--data.predict_split", folder / "clean" / "unlabeled_split.txt"]
    trained = ["--ckpt_path", folder / CKPT, *unseen]
    run(
        *["predict", "Supervised", folder / "gamma", *trained],
        *["--noise.pseudo_label_dir", given, "--noise.precision", "0.3"],
    )
    run(
        *["predict", "Supervised", folder / "graphs", *trained],
        *["--graphs.pseudo_label_dir", given, "--graphs.num_segments", "30"],
        *["--graphs.threshold", folder / "gamma" / "noise" / "threshold.json"],
        *["--evaluation.gate_by_tags", "true"],
    )
    return folder


def test_steps_of_the_command_line(folder):
    labeled, unlabeled = (
        (folder / "clean" / f"{name}_split.txt").read_text().split()
        for name in ("labeled", "unlabeled")
    )
    assert len(labeled) == COUNT // 2
    assert sorted(labeled + unlabeled) == Shapes(num_train=COUNT).split_ids("train")
    content = json.loads((folder / "gamma" / "noise" / "threshold.json").read_text())
    assert content["images"] == len(unlabeled)
    assert content["gamma"] is not None
    assert content["overall"]["precision"] >= 0.3
    manifest = read_graph_manifest(folder / "graphs" / "graphs", content["class_names"])
    assert set(manifest.options["thresholds"].values()) == {content["gamma"]}
    assert manifest.count == len(unlabeled)
    header = (folder / "graphs" / "metrics.csv").read_text().splitlines()[0]
    assert {"graphs/precision", "pseudo/miou"} <= set(header.split(","))
    compared = 0
    for image_id in unlabeled:
        graph = read_graph(folder / "graphs" / "graphs", image_id)
        given = read_label(folder / "cam" / "pseudo_labels", image_id)
        np.testing.assert_array_equal(graph.label, given)
        # Gated in both. In the graph the background shares what untagged classes had; in the label
        # map the tagged classes alone do, and each of them is found.
        written = read_label(folder / "graphs" / "pseudo_labels", image_id)
        shown = graph.prediction > 0
        assert (written[shown] > 0).all()
        if len(set(np.unique(graph.prediction[shown]))) == 1 == len(set(np.unique(written)) - {0}):
            np.testing.assert_array_equal(graph.prediction[shown], written[shown])
            compared += 1
    assert compared > 0


def test_only_tagged_classes_are_predicted(folder):
    data = Shapes(num_train=COUNT, image_size=48)
    data.setup("predict")
    seen = set()
    for image_id in (folder / "clean" / "unlabeled_split.txt").read_text().split():
        tags = data.image_labels_of(image_id)
        written = read_label(folder / "graphs" / "pseudo_labels", image_id)
        assert set(np.unique(written)) <= {0, *(tags.nonzero()[0] + 1)}
        seen |= set(np.unique(written))
    assert len(seen) > 1
    manifest = json.loads((folder / "graphs" / "pseudo_labels" / "manifest.json").read_text())
    assert manifest["options"]["evaluation"]["gate_by_tags"] is True


def test_same_command_again_changes_nothing(folder):
    files = [path for path in (folder / "graphs").rglob("*") if path.suffix in (".npz", ".png")]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert len(before) == COUNT
    run("predict", "Supervised", folder / "graphs", "--config", folder / "graphs" / "config.yaml")
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--graphs.pseudo_label_dir", "{given}"], "needs graphs.threshold"),
        (["--graphs.pseudo_label_dir", "nowhere"], "nowhere is no folder"),
        (
            ["--graphs.pseudo_label_dir", "{given}", "--graphs.threshold", "x.json"],
            "x.json is neither a number nor a file",
        ),
        (
            ["--noise.pseudo_label_dir", "{given}", "--evaluation.flip", "true"],
            "takes one pass over the whole image, but evaluation.flip is True",
        ),
    ],
)
def test_what_does_not_fit_ends_early(folder, tmp_path, options, message):
    given = str(folder / "cam" / "pseudo_labels")
    options = [option.format(given=given) for option in options]
    with pytest.raises((ValueError, OSError), match=message):
        run("predict", "Supervised", tmp_path / "run", *options)
    assert not (tmp_path / "run" / "pseudo_labels").exists()


def test_a_number_is_a_threshold(folder, tmp_path):
    given = folder / "cam" / "pseudo_labels"
    cli = run(
        *["predict", "Supervised", tmp_path, "--trainer.fast_dev_run", "true"],
        *["--graphs.pseudo_label_dir", given, "--graphs.threshold", "1.25"],
    )
    assert cli.config["predict"].graphs.threshold == 1.25


def test_help_has_the_groups(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    printed = capsys.readouterr().out
    assert "Loss above which given labels count as noise" in printed
    assert "Region graphs that predict builds" in printed
    for option in ("noise.precision", "graphs.num_segments", "evaluation.gate_by_tags"):
        assert f"--{option} " in printed


def test_images_of_a_folder_have_no_tags_to_gate_by(capsys):
    with pytest.raises(SystemExit):
        main(["label", "--help"])
    printed = capsys.readouterr().out
    assert "--evaluation.flip" in printed
    assert "gate_by_tags" not in printed


RECIPE = {
    "steps": {
        "cam": {"command": "fit", "model": {"class_path": "CAM"}},
        "maps": {"command": "predict", "from": "cam"},
        "clean": {"command": "fit", "model": {"class_path": "Supervised"}},
        "gamma": {
            "command": "predict",
            "from": "clean",
            "data": {"init_args": {"predict_split": "{clean}/unlabeled_split.txt"}},
            "noise": {"pseudo_label_dir": "{maps}/pseudo_labels"},
        },
        "built": {
            "command": "predict",
            "from": "clean",
            "graphs": {
                "pseudo_label_dir": "{maps}/pseudo_labels",
                "threshold": "{gamma}/noise/threshold.json",
            },
        },
        "corrector": {
            "command": "fit",
            "model": {"class_path": "GATCorrector"},
            "data": {"init_args": {"graph_dir": "{built}/graphs"}},
        },
    },
    "report": {"recall": "gamma:noise/recall", "precision": "built:graphs/precision"},
}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "noise.yaml"
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return path


def test_a_recipe_hands_labels_thresholds_and_graphs_on(recipe):
    steps = {step.name: step for step in read_recipe(recipe).steps}
    checkpoint = "{clean}/checkpoints/last.ckpt"
    assert steps["gamma"].inputs() == [
        checkpoint,
        "{clean}/unlabeled_split.txt",
        "{maps}/pseudo_labels",
    ]
    assert steps["built"].inputs() == [
        checkpoint,
        "{gamma}/noise/threshold.json",
        "{maps}/pseudo_labels",
    ]
    assert steps["corrector"].inputs() == ["{built}/graphs"]
    resolved = steps["built"].resolved(Path("r"))["graphs"]
    assert resolved["threshold"] == "r/gamma/noise/threshold.json"
    (options,) = [
        step.overrides
        for step in read_recipe(recipe, ["--gamma.noise.precision", "0.9"]).steps
        if step.name == "gamma"
    ]
    assert options == ("--noise.precision", "0.9")
    for option in ("graphs.out_dir", "noise.pseudo_label_dir", "data.graph_dir"):
        with pytest.raises(ValueError, match=f"--{option} cannot be the same for all steps"):
            read_recipe(recipe, [f"--{option}", "x"])


def test_a_step_whose_input_has_changed_runs_again(recipe, tmp_path, monkeypatch):
    ran = []
    contents = {"gamma": "1", "built": "2"}

    def call(command, recipe, step, lock):
        folder = tmp_path / "root" / step.name
        ran.append(step.name)
        numbers = {"metrics": {"noise/recall": 0.5, "graphs/precision": 0.75}}
        files = {
            "cam": {"checkpoints/last.ckpt": "cam"},
            "maps": {"pseudo_labels/manifest.json": "{}"},
            "clean": {"checkpoints/last.ckpt": "clean", "unlabeled_split.txt": "a"},
            "gamma": {"noise/threshold.json": json.dumps(numbers | {"x": contents["gamma"]})},
            "built": {
                "graphs/manifest.json": contents["built"],
                "graphs/quality.json": json.dumps(numbers),
                "graphs/a.npz": "",
            },
            "corrector": {"checkpoints/last.ckpt": "gat"},
        }
        for name, text in files[step.name].items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        return 0

    monkeypatch.setattr(pipeline, "_call", call)

    def again():
        ran.clear()
        assert main(["pipeline", str(recipe), "--root", str(tmp_path / "root")]) == 0
        return list(ran)

    root = tmp_path / "root"
    names = ["cam", "maps", "clean", "gamma", "built", "corrector"]
    assert again() == names
    assert again() == []
    report = json.loads((root / "summary.json").read_text())["report"]
    assert report == {"recall": 0.5, "precision": 0.75}
    (root / "built" / "graphs" / "a.npz").unlink()  # a lost graph
    assert again() == ["built"]
    (root / "gamma" / "noise" / "threshold.json").unlink()
    contents |= {"gamma": "3", "built": "4"}
    assert again() == ["gamma", "built", "corrector"]
    (root / "clean" / "unlabeled_split.txt").write_text("b")
    assert again() == ["clean"]
