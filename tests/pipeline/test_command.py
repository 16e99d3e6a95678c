import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.forked import ForkedCommand
from tests.saliency_networks import save_network
from wsss_zoo.cli import main
from wsss_zoo.pipeline import command as pipeline

# A child of a process with threads; it touches none of them.
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

RECIPE = {
    "common": {
        "data": {
            "class_path": "Shapes",
            "init_args": {
                "image_size": 64,
                "crop_size": 64,
                "num_train": 40,
                "num_val": 4,
                "batch_size": 4,
                "num_workers": 0,
            },
        },
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 1},
        "checkpoint": {"every_n_train_steps": 4},
    },
    "steps": {
        "cam": {
            "command": "fit",
            "model": {"class_path": "CAM", "init_args": {"backbone": "test_resnet"}},
            "trainer": {"max_steps": 20},
        },
        "maps": {"command": "predict", "from": "cam", "labels": {"save_cams": True}},
        "segmenter": {
            "command": "fit",
            "model": {"class_path": "Supervised", "init_args": {"backbone": "test_resnet"}},
            "data": {"init_args": {"pseudo_label_dir": "{maps}/pseudo_labels"}},
            "trainer": {"max_steps": 8},
        },
        "check": {"command": "validate", "from": "segmenter"},
    },
    "report": {"labels": "maps:pseudo/miou", "segmenter": "check:val/miou"},
}
SHEET = {"sheet": {"images": "maps", "cam": "maps", "pseudo_label": "maps"}}
ONLY_LABELS = {
    "common": RECIPE["common"],
    "steps": {name: RECIPE["steps"][name] for name in ("cam", "maps")},
}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tags.yaml"
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return path


@pytest.fixture
def calls(monkeypatch):
    """Replace the commands by ones that write at once what depends on their inputs."""
    called: list[list[str]] = []

    def call(command, recipe, step, lock):
        called.append(command[3:])
        folder = Path(command[command.index("--trainer.default_root_dir") + 1])
        settings = yaml.safe_load((folder / "step.yaml").read_text())
        seed = [settings["model"], settings["trainer"], [o for o in command if "max_steps" in o]]
        outputs = {
            "fit": ("checkpoints/last.ckpt", f"weights of {seed}"),
            "predict": ("pseudo_labels/manifest.json", json.dumps(seed)),
            "validate": ("val_results.json", json.dumps({"metrics": {"val/miou": 0.5}})),
        }
        name, content = outputs[step.command]
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
        if step.command == "predict":
            quality = json.dumps({"metrics": {"pseudo/miou": 0.25}})
            (folder / "pseudo_labels/quality.json").write_text(quality)
            (folder / "pseudo_labels/a.png").touch()
        return 0

    monkeypatch.setattr(pipeline, "_call", call)
    return called


def names(calls):
    """Steps that were run since the last look."""
    found = [Path(call[call.index("--config") + 1]).parent.name for call in calls]
    calls.clear()
    return found


def test_runs_each_step_once(recipe, tmp_path, calls, capsys):
    root = tmp_path / "r"
    assert main(["pipeline", str(recipe), "--root", str(root)]) == 0
    assert names(calls) == ["cam", "maps", "segmenter", "check"]
    assert main(["pipeline", str(recipe), "--root", str(root)]) == 0
    assert names(calls) == []
    printed = capsys.readouterr().out
    assert "nothing was run" in printed
    folder = root / "cam"
    command = f"wsss-zoo fit --config {folder}/step.yaml --trainer.default_root_dir {folder}\n"
    assert command in printed
    summary = json.loads((root / "summary.json").read_text())
    assert summary["report"] == {"labels": 0.25, "segmenter": 0.5}
    assert set(summary["steps"]) == {"cam", "maps", "segmenter", "check"}


def test_recipe_that_asks_for_another_number_of_the_same_steps(recipe, tmp_path, calls):
    root = tmp_path / "r"
    main(["pipeline", str(recipe), "--root", str(root)])
    names(calls)
    asked = {"segmenter": "check:val/miou"}
    recipe.write_text(yaml.safe_dump({**RECIPE, "report": asked}, sort_keys=False))
    main(["pipeline", str(recipe), "--root", str(root)])
    assert names(calls) == []
    assert json.loads((root / "summary.json").read_text())["report"] == {"segmenter": 0.5}


def test_step_file_is_the_whole_configuration(recipe, tmp_path, calls):
    main(["pipeline", str(recipe), "--root", str(tmp_path / "r"), "--trainer.max_steps", "3"])
    settings = yaml.safe_load((tmp_path / "r/segmenter/step.yaml").read_text())
    labels = str(tmp_path / "r/maps/pseudo_labels")
    assert settings["data"]["init_args"]["pseudo_label_dir"] == labels
    assert settings["checkpoint"] == {"every_n_train_steps": 4}
    assert all(call[-2:] == ["--trainer.max_steps", "3"] for call in calls)


def test_saliency_maps_of_a_step_are_used_and_made_again(tmp_path, monkeypatch):
    """In this process; the step's maps are those that the next one reads."""
    called = []

    def call(command, recipe, step, lock):
        called.append(step.name)
        return main(command[3:])

    monkeypatch.setattr(pipeline, "_call", call)
    network = save_network(tmp_path / "tiny.onnx")
    steps = {
        "saliency": {"command": "saliency", "model_path": str(network), "num_workers": 0},
        "regions": {"command": "superpixels", "num_segments": 9, "num_workers": 0},
        "cam": RECIPE["steps"]["cam"] | {"trainer": {"max_steps": 1}},
        "tagged": {
            "command": "predict",
            "from": "cam",
            "labels": {"saliency_dir": "{saliency}/maps", "segments_dir": "{regions}/maps"},
        },
    }
    path = tmp_path / "salient.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"steps": steps, "report": {}}, sort_keys=False))
    args = ["pipeline", str(path), "--root", str(tmp_path / "r"), "--data.num_train", "6"]
    assert main([*args, "--trainer.devices", "1"]) == 0
    assert called == list(steps)
    maps = sorted((tmp_path / "r" / "saliency" / "maps").glob("*.png"))
    labels = tmp_path / "r" / "tagged" / "pseudo_labels"
    assert [p.name for p in maps] == sorted(p.name for p in labels.glob("*.png"))
    assert len(maps) == 6
    called.clear()
    assert main([*args, "--trainer.devices", "1"]) == 0
    assert called == []
    maps[0].unlink()
    assert main([*args, "--trainer.devices", "1"]) == 0
    assert called == ["saliency"]
    assert maps[0].exists()


@pytest.mark.parametrize(("kind", "file"), [("points", "sparse/*.png"), ("boxes", "boxes.csv")])
def test_simulated_labels_of_a_step_are_used_and_made_again(tmp_path, monkeypatch, kind, file):
    called = []

    def call(command, recipe, step, lock):
        called.append(step.name)
        return main(command[3:])

    monkeypatch.setattr(pipeline, "_call", call)
    sparse = {"class_path": "Sparse", "init_args": {"backbone": "test_resnet", "teacher": False}}
    steps = {
        "drawn": {"command": "simulate", "kind": kind},
        "sparse": {
            "command": "fit",
            "model": sparse,
            "data": {"init_args": {"sparse_dir": "{drawn}/labels", "strong_views": 0}},
            "trainer": {"max_steps": 1},
        },
    }
    path = tmp_path / "drawn.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"steps": steps, "report": {}}, sort_keys=False))
    args = ["pipeline", str(path), "--root", str(tmp_path / "r"), "--data.num_train", "6"]
    assert main(args) == 0
    assert called == ["drawn", "sparse"]
    called.clear()
    assert main(args) == 0
    assert called == []
    next((tmp_path / "r" / "drawn" / "labels").glob(file)).unlink()
    assert main(args) == 0
    # The same labels come back, so their reader is not run again.
    assert called == ["drawn"]
    called.clear()
    assert main([*args, "--drawn.seed", "1"]) == 0
    assert called == ["drawn", "sparse"]


def test_default_root_is_named_after_the_recipe(recipe, tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["pipeline", str(recipe)])
    assert (tmp_path / "runs/pipelines/tags/summary.json").exists()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--check.data.num_val=3", ["check"]),
        ("--segmenter.trainer.max_steps=3", ["segmenter", "check"]),
        # Its labels come out the same, so what depends on them is not run again.
        ("--maps.trainer.precision=32", ["maps"]),
        ("--cam.trainer.max_steps=3", ["cam", "maps"]),
        ("--seed_everything=1", ["cam", "maps", "segmenter", "check"]),
    ],
)
def test_what_a_change_concerns_is_run_again(recipe, tmp_path, calls, capsys, option, expected):
    args = [str(recipe), "--root", str(tmp_path / "r")]
    main(["pipeline", *args])
    names(calls)
    (tmp_path / "r" / expected[0] / "old").touch()
    main(["pipeline", *args, option])
    assert names(calls) == expected
    assert not (tmp_path / "r" / expected[0] / "old").exists()
    assert "settings or inputs have changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "lost"),
    [("segmenter", "checkpoints/last.ckpt"), ("maps", "pseudo_labels/a.png")],
)
@pytest.mark.parametrize("damage", ["delete", "change"])
def test_lost_output_is_made_again(recipe, tmp_path, calls, step, lost, damage):
    args = [str(recipe), "--root", str(tmp_path / "r")]
    main(["pipeline", *args])
    names(calls)
    path = tmp_path / "r" / step / lost
    if damage == "delete":
        path.unlink()
    else:
        path.with_name("b.png").touch()
        if path.suffix == ".ckpt":
            path.write_text("of another run")
    main(["pipeline", *args])
    assert names(calls) == [step]


def test_failed_step_stops_and_is_resumed(recipe, tmp_path, calls, monkeypatch, capsys):
    args = [str(recipe), "--root", str(tmp_path / "r")]
    works = pipeline._call

    def fails(command, recipe, step, lock):
        works(command, recipe, step, lock)
        return 7 if step.name == "segmenter" else 0

    monkeypatch.setattr(pipeline, "_call", fails)
    assert main(["pipeline", *args]) == 7
    error = capsys.readouterr().err
    assert "step segmenter failed with exit code 7" in error
    assert f"wsss-zoo fit --config {tmp_path / 'r/segmenter/step.yaml'}" in error
    names(calls)
    monkeypatch.setattr(pipeline, "_call", works)
    assert main(["pipeline", *args]) == 0
    checkpoint = str(tmp_path / "r/segmenter/checkpoints/last.ckpt")
    assert calls[0][-2:] == ["--ckpt_path", checkpoint]
    assert names(calls) == ["segmenter", "check"]
    steps = json.loads((tmp_path / "r/summary.json").read_text())["steps"]
    assert [step["resumed"] for step in steps.values()] == [False, False, True, False]


def test_optional_step_may_fail(recipe, tmp_path, calls, monkeypatch, capsys):
    steps = RECIPE["steps"] | {"check": RECIPE["steps"]["check"] | {"optional": True}}
    recipe.write_text(yaml.safe_dump(RECIPE | {"steps": steps}, sort_keys=False))
    args = [str(recipe), "--root", str(tmp_path / "r")]
    works = pipeline._call
    codes = {"check": 1}
    monkeypatch.setattr(pipeline, "_call", lambda *a: codes.get(a[2].name) or works(*a))
    assert main(["pipeline", *args]) == 0
    assert "step check failed; it is optional, so the recipe continues" in capsys.readouterr().out
    summary = json.loads((tmp_path / "r/summary.json").read_text())
    assert summary["report"] == {"labels": 0.25, "segmenter": None}
    # It is tried again, and no signal is taken for a failure.
    codes["check"] = 128 + signal.SIGTERM
    names(calls)
    assert main(["pipeline", *args]) == 128 + signal.SIGTERM
    del codes["check"]
    assert main(["pipeline", *args]) == 0
    assert names(calls) == ["check"]


def test_unfinished_step_of_other_settings_starts_afresh(recipe, tmp_path, calls, monkeypatch):
    works = pipeline._call
    monkeypatch.setattr(pipeline, "_call", lambda *args: works(*args) or 1)
    args = [str(recipe), "--root", str(tmp_path / "r")]
    assert main(["pipeline", *args]) == 1
    assert (tmp_path / "r/cam/checkpoints/last.ckpt").exists()
    monkeypatch.setattr(pipeline, "_call", works)
    calls.clear()
    main(["pipeline", *args, "--cam.trainer.max_steps=2"])
    assert "--ckpt_path" not in calls[0]


def test_folder_of_something_else_is_left_alone(recipe, tmp_path, calls):
    precious = tmp_path / "r/cam/thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(ValueError, match=r"not empty and no pipeline made it; .*another --root"):
        main(["pipeline", str(recipe), "--root", str(tmp_path / "r")])
    assert precious.exists()
    assert calls == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no.yaml"], "there is no file no.yaml, and no recipe of that name"),
        (["{}", "--cma.x=1"], "--cma.x=1 is for no step"),
    ],
)
def test_bad_arguments(recipe, args, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["pipeline", *(arg.format(recipe) for arg in args)])
    assert caught.value.code == 2
    assert f"wsss-zoo pipeline: error: {message}" in capsys.readouterr().err


def test_what_was_not_measured_is_said(recipe, tmp_path, calls, capsys):
    content = RECIPE | {"report": {"labels": "maps:pseudo/best_miou"}}
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["pipeline", str(recipe), "--root", str(tmp_path / "r")]) == 0
    assert "not measured" in capsys.readouterr().out
    assert json.loads((tmp_path / "r/summary.json").read_text())["report"] == {"labels": None}


def test_two_pipelines_take_turns(recipe, tmp_path, calls, capsys):
    root = tmp_path / "r"
    root.mkdir()
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(
            target=main, args=(["pipeline", str(recipe), "--root", str(root)],)
        )
        thread.start()
        time.sleep(0.3)
        assert not (root / "cam").exists()
    thread.join()
    assert names(calls) == ["cam", "maps", "segmenter", "check"]
    assert "waiting" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_step(number):
    code = "import signal, sys, time\n"
    code += (
        f"signal.signal({int(number)}, lambda *_: sys.exit(0))\nprint(flush=True)\ntime.sleep(60)"
    )
    timer = threading.Timer(2, os.kill, (os.getpid(), number))
    timer.start()
    before = signal.getsignal(number)
    step = type("Step", (), {"name": "x"})
    assert pipeline._call([sys.executable, "-c", code], step, step, -1) == 128 + number
    assert signal.getsignal(number) is before
    timer.join()


def test_killed_step_has_the_exit_code_of_a_shell():
    step = type("Step", (), {"name": "x"})
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert pipeline._call([sys.executable, "-c", code], step, step, -1) == 137


def command_of(recipe, root):
    return [sys.executable, "-m", "wsss_zoo", "pipeline", str(recipe), "--root", str(root)]


def start(recipe, root):
    """Start a pipeline in a process group of its own, as a terminal does."""
    return ForkedCommand(command_of(recipe, root), log=root.parent / "log")


def finish(recipe, root):
    process = start(recipe, root)
    assert process.wait() == 0, (root.parent / "log").read_text()[-3000:]


def kill_when(recipe, root, happened):
    process, end = start(recipe, root), time.monotonic() + 300
    while not happened():
        assert process.poll() is None, (root.parent / "log").read_text()[-3000:]
        assert time.monotonic() < end, (root.parent / "log").read_text()[-3000:]
        time.sleep(0.002)
    process.kill()


def results(root, *steps):
    """Label maps, activation maps, metrics and weights of steps, by file."""
    found = {}
    for step in steps:
        for path in sorted((root / step).rglob("*")):
            if path.suffix in {".png", ".npz", ".csv"} or path.name in {
                "manifest.json",
                "quality.json",
                "val_results.json",
            }:
                found[str(path.relative_to(root))] = path.read_bytes()
    # The hash of the checkpoint file is in the manifest: a checkpoint also says how it came about.
    for name, content in found.items():
        if name.endswith("manifest.json"):
            found[name] = {**json.loads(content), "checkpoint_hash": None}
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "tags.yaml"
    path.write_text(yaml.safe_dump(RECIPE | SHEET, sort_keys=False))
    finish(path, folder / "r")
    return path, folder / "r"


def test_steps_are_started_as_a_module():
    """In these tests they are forks of this process, which start faster."""
    command = [sys.executable, "-m", "wsss_zoo", "--version"]
    assert subprocess.run(command, check=True, capture_output=True).stdout


def test_second_run_does_nothing_and_does_not_import_torch(undisturbed):
    path, root = undisturbed
    assert (root / "sheet.png").exists()
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*") if file.name != ".lock"}
    code = "import sys, wsss_zoo.cli as c; assert c.main(sys.argv[1:]) == 0; "
    code += "assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code, "pipeline", str(path), "--root", str(root)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.count("finished, nothing to do") == 4
    assert before == {
        file: file.stat().st_mtime_ns for file in root.rglob("*") if file.name != ".lock"
    }


def test_killed_in_fit_and_in_predict(undisturbed, tmp_path):
    path = tmp_path / "labels.yaml"
    path.write_text(yaml.safe_dump(ONLY_LABELS, sort_keys=False))
    root = tmp_path / "r"
    checkpoint, rows = root / "cam/checkpoints/last.ckpt", root / "cam/metrics.csv"
    # Lightning logs a step's row after the checkpoint of that step; killed between, it is lost.
    kill_when(
        path,
        root,
        lambda: (
            checkpoint.exists()
            and rows.exists()
            and rows.stat().st_mtime_ns > checkpoint.stat().st_mtime_ns
        ),
    )
    assert not (root / "cam/done.json").exists()
    kill_when(path, root, lambda: len(list((root / "maps/pseudo_labels").glob("*.png"))) > 5)
    assert not (root / "maps/done.json").exists()
    finish(path, root)
    assert results(root, "cam", "maps") == results(undisturbed[1], "cam", "maps")
    steps = json.loads((root / "summary.json").read_text())["steps"]
    assert all(step["resumed"] for step in steps.values())


@pytest.mark.slow
def test_killed_at_20_random_times(undisturbed, tmp_path):
    """As many pipelines as 20 kills take, each killed until it comes to its end between two."""
    path, rng = undisturbed[0], random.Random(0)
    steps = ("cam", "maps", "segmenter", "check")
    kills, pipelines = 0, 0
    while kills < 20:
        pipelines += 1
        root = tmp_path / str(pipelines)
        while kills < 20:
            command = command_of(path, root)
            with (root.parent / "log").open("a") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            try:
                assert process.wait(rng.uniform(1, 60)) == 0
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        finish(path, root)
        assert results(root, *steps) == results(undisturbed[1], *steps)
        assert (root / "sheet.png").read_bytes() == (undisturbed[1] / "sheet.png").read_bytes()
