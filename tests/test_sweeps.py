"""Every sweep runs: its commands are made by wandb's own agent, then parsed and run."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import yaml
from wandb import wandb_agent

from tests.tiny import QUIET, images
from tests.wandb_files import offline_runs
from wsss_zoo.cli import ZooCLI, main

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
SWEEPS = sorted(EXPERIMENTS.glob("sweeps/*.yaml"))
TINY = [*images(), *QUIET]


@pytest.fixture(autouse=True)
def _agents_place(tmp_path, monkeypatch):
    """Where a user would call the agent: a folder with experiments, and the variables named."""
    for name in [*os.environ]:
        if name.startswith(("WANDB", "WSSS_ZOO")):
            monkeypatch.delenv(name)
    values = {"VOC2012": "/data/VOC2012", "WARM": "runs/warm", "CAM": "runs/demo/cam"}
    for name, value in {**values, "WANDB_MODE": "offline", "PL_GLOBAL_SEED": "0"}.items():
        monkeypatch.setenv(name, value)
    # What the agent and the code set is taken away again.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "experiments").symlink_to(EXPERIMENTS)
    monkeypatch.chdir(tmp_path)
    # The service of an earlier test would take relative paths from that test's folder.
    wandb.teardown()


def choices(parameter) -> list:
    """Values to try: all of a list, the ends of an interval."""
    if "values" in parameter:
        return parameter["values"]
    assert parameter["distribution"] == "log_uniform_values"
    assert 0 < parameter["min"] < parameter["max"]
    return [parameter["min"], parameter["max"]]


def agents_command(sweep, values, monkeypatch) -> list[str]:
    """The command that wandb's agent starts for one point of a sweep, the program's name first."""
    started = []

    def process(**given):
        started.append(given["command"])
        return SimpleNamespace()

    monkeypatch.setattr(wandb_agent, "AgentProcess", process)
    agent = SimpleNamespace(
        _in_jupyter=False,
        _sweep_command=list(sweep["command"]),
        _function=None,
        _forward_signals=False,
        _run_processes={},
    )
    order = {"program": sweep["program"], "run_id": "r1"}
    order["args"] = {name: {"value": value} for name, value in values.items()}
    # As ``wandb agent`` sets it; wandb before 0.24 names the file of the settings after it.
    os.environ["WANDB_SWEEP_ID"] = "s1"
    wandb_agent.Agent._command_run(agent, order)
    # The ids of sweep and run, and where its settings are, would meet no server here.
    os.environ.pop("WANDB_SWEEP_ID")
    os.environ.pop("WANDB_RUN_ID")
    os.environ.pop("WANDB_SWEEP_PARAM_PATH")
    interpreter, program, *arguments = started[0]
    assert (interpreter, program) == ("/usr/bin/env", "wsss-zoo")
    return arguments


def points(sweep):
    """The first and the last choice of every parameter."""
    for place in (0, -1):
        yield {name: choices(given)[place] for name, given in sweep["parameters"].items()}


def fit_cam(folder):
    root = ["--trainer.default_root_dir", str(folder), "--trainer.max_steps=1"]
    ZooCLI(["fit", "--model=CAM", "--model.backbone=test_resnet", "--data=Shapes", *TINY, *root])


def test_there_are_some():
    assert {"supervised_lr", "cam_thresholds"} <= {path.stem for path in SWEEPS}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_is_one_that_wandb_takes(path):
    text = path.read_text()
    sweep = yaml.safe_load(text)
    assert text.startswith("# ")
    assert set(sweep) == {
        *("project", "name", "program", "command", "method", "metric", "parameters")
    }
    assert sweep["name"] == path.stem
    assert sweep["method"] in {"grid", "random", "bayes"}
    assert sweep["metric"]["goal"] == "maximize"
    if sweep["method"] == "grid":
        assert all("values" in given for given in sweep["parameters"].values())
    assert "--trainer.logger=WandbLogger" in sweep["command"]
    assert sweep["command"][-1] == "${args}"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_agents_commands_are_parsed(path, monkeypatch, capsys):
    sweep = yaml.safe_load(path.read_text())
    if "predict" in sweep["command"]:
        fit_cam(Path("runs/demo/cam"))
        capsys.readouterr()
    for values in points(sweep):
        arguments = agents_command(sweep, values, monkeypatch)
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--print_config"])
        assert caught.value.code == 0
        config = yaml.safe_load(capsys.readouterr().out)
        assert config["trainer"]["logger"]["class_path"].endswith("WandbLogger")
        for name, value in values.items():
            group, _, key = name.partition(".")
            given = config[group]
            found = given if not key else given.get("init_args", given)[key]
            assert found == value, name


def test_a_fit_of_a_sweep_runs(monkeypatch):
    sweep = yaml.safe_load((EXPERIMENTS / "sweeps/supervised_lr.yaml").read_text())
    arguments = agents_command(sweep, next(points(sweep)), monkeypatch)
    cli = ZooCLI([*arguments, *TINY, "--trainer.fast_dev_run=true"])
    assert cli.trainer.global_step == 1
    assert cli.model.hparams["lr"] == 0.0003


def test_a_prediction_of_a_sweep_is_measured_in_wandb(monkeypatch):
    fit_cam(Path("runs/demo/cam"))
    sweep = yaml.safe_load((EXPERIMENTS / "sweeps/cam_thresholds.yaml").read_text())
    arguments = agents_command(sweep, next(points(sweep)), monkeypatch)
    ZooCLI([*arguments, "--data.predict_limit=2"])
    (folder,) = Path("runs/CAM").iterdir()
    (run,) = offline_runs(folder)
    assert run.job_type == "predict"
    assert len(run.logged(sweep["metric"]["name"])) == 1
    assert run.config["labels"]["bg_threshold"] == 0.05
