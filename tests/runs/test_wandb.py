import io
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import yaml
from jsonargparse import Namespace
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

import wsss_zoo
from tests.pipeline import test_command as test_pipeline
from tests.tiny import tiny
from tests.wandb_files import offline_runs
from wsss_zoo import methods
from wsss_zoo.cli import main
from wsss_zoo.runs import read_metrics
from wsss_zoo.runs.wandb import (
    RECORD,
    describe_run,
    earlier_id,
    prepare_wandb,
    read_record,
    stays_offline,
    wandb_run,
)
from wsss_zoo.cli import ZooCLI

# A method of every kind of output, and its options.
KINDS = {
    "FixMatch": ["--data.labeled_split=0.5"],
    "CAM": [],
    "CPC": ["--model.patch_size=16", "--model.patch_stride=8", "--model.val_size=64"],
}
TINY = [*tiny(), "--trainer.log_every_n_steps", "1"]
LOGGER = ["--trainer.logger", "WandbLogger"]


@pytest.fixture(autouse=True)
def _offline_and_alone(tmp_path, monkeypatch):
    for name in [*os.environ]:
        if name.startswith(("WANDB", "WSSS_ZOO", "NETRC")):
            monkeypatch.delenv(name)
    settings = {"WANDB_MODE": "offline", "WANDB_CONSOLE": "off", "WANDB_SILENT": "true"}
    for name, value in {**settings, "PL_GLOBAL_SEED": "0", "PL_SEED_WORKERS": "0"}.items():
        monkeypatch.setenv(name, value)
    # What a test's code sets is taken away again.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.chdir(tmp_path)


def fit(folder, *options, model="Supervised"):
    root = ["--trainer.default_root_dir", str(folder)]
    return ZooCLI(["fit", "--model", model, *TINY, *root, *LOGGER, *options])


def test_no_kind_of_output_is_left_out():
    of_all = {getattr(methods, name).output for name in methods.__all__}
    assert {getattr(methods, name).output for name in KINDS} == of_all


@pytest.mark.parametrize("method", KINDS)
def test_every_kind_of_output(tmp_path, method):
    kind = getattr(wsss_zoo, method)
    semi = kind.supervision == "semi"
    fit(tmp_path / "r", "--trainer.max_epochs", "1", *KINDS[method], model=method)
    (run,) = offline_runs(tmp_path / "r")
    assert (run.project, run.group, run.job_type) == ("wsss_zoo", method, "fit")
    assert run.tags == [method, "Shapes", "train", *(["labeled 0.5"] if semi else [])]
    assert run.name == f"{tmp_path.name}/r"
    assert run.exit_code == 0
    saved = yaml.safe_load((tmp_path / "r/config.yaml").read_text())
    assert {key: run.config[key] for key in saved} == saved
    assert run.config["class_names"] == wsss_zoo.Shapes().class_names
    # The very rows of metrics.csv, which is written all the same.
    rows = read_metrics(tmp_path / "r/metrics.csv")
    for key in {key for row in rows for key in row} - {"step", "epoch"}:
        written = [float(row[key]) for row in rows if key in row]
        assert run.logged(key) == pytest.approx(written), key
    assert "train/loss" in run.names()
    # Pictures: of a pretext task there are none.
    has = {"segmentation": {"pictures", "masks"}, "classification": {"pictures"}}.get(kind.output)
    shown = {key.split("/")[1] for key in run.names() if key.endswith("/filenames")}
    assert shown == (has or set())
    for key in shown:
        for name in run.logged(f"val/{key}/filenames")[0]:
            assert (run.folder / "files" / name).is_file()


def test_masks_have_the_names_of_the_classes(tmp_path):
    fit(tmp_path, "--trainer.max_epochs", "1")
    (run,) = offline_runs(tmp_path)
    names = {str(index): name for index, name in enumerate(run.config["class_names"])}
    kinds = run.config["_wandb"]["mask/class_labels"].values()
    assert [kind["value"] for kind in kinds] == [names | {"255": "ignored"}] * 2
    masks = run.logged("val/masks/all_masks")[0]
    assert [set(mask) for mask in masks] == [{"truth", "prediction"}] * 2
    assert run.logged("val/masks/captions") == [["val_000000", "val_000001"]]


def test_predict_and_validate_have_runs_of_their_own_in_the_group(tmp_path):
    config = tmp_path / "family.yaml"
    config.write_text("model: {class_path: CAM}\n")
    fit(tmp_path / "r", "--config", str(config), "--trainer.max_steps", "1", model="CAM")
    own = ["--config", str(tmp_path / "r/config.yaml"), "--data.predict_limit", "2"]
    own += ["--ckpt_path", str(tmp_path / "r/checkpoints/last.ckpt")]
    ZooCLI(["predict", *own])
    ZooCLI(["validate", *own])
    runs = offline_runs(tmp_path / "r")
    assert [run.job_type for run in runs] == ["fit", "predict", "validate"]
    assert len({run.id for run in runs}) == 3
    assert {run.group for run in runs} == {"family"}
    assert runs[0].tags == runs[1].tags == ["CAM", "Shapes", "train"]
    assert runs[2].tags == ["CAM", "Shapes", "val"]
    assert {"pseudo/miou", "pseudo/coverage"} <= runs[1].names()
    assert "val/map" in runs[2].names()


def test_resumed_fit_keeps_its_run_and_others_do_not(tmp_path):
    options = ["--trainer.max_steps", "4", "--checkpoint.every_n_train_steps", "1"]
    crash = ["--trainer.callbacks+", "tests.cli.test_main.Crash", "--trainer.callbacks.step", "2"]
    with pytest.raises(ConnectionError):
        fit(tmp_path / "a", *options, *crash)
    assert read_record(tmp_path / "a")["fit"]["finished"] is False
    checkpoint = str(tmp_path / "a/checkpoints/last.ckpt")
    fit(tmp_path / "a", *options, "--ckpt_path", checkpoint)
    first, second = offline_runs(tmp_path / "a")
    assert first.id == second.id
    assert (first.exit_code, second.exit_code) == (1, 0)
    steps = [step for run in (first, second) for step in run.logged("trainer/global_step")]
    assert max(steps) == 4
    # From another folder's checkpoint, from the start, and from a run's configuration: new runs.
    fit(tmp_path / "b", *options, "--ckpt_path", checkpoint)
    (other,) = offline_runs(tmp_path / "b")
    saved = ["--config", str(tmp_path / "b/config.yaml"), "--ckpt_path", "null"]
    ZooCLI(["fit", *saved, "--trainer.default_root_dir", str(tmp_path / "a")])
    again = offline_runs(tmp_path / "a")[-1]
    assert len({first.id, other.id, again.id}) == 3
    assert read_record(tmp_path / "a")["fit"]["id"] == again.id


# A child of a process with threads; it touches none of them.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.slow
def test_killed_pipeline_goes_on_with_the_runs_of_its_steps(tmp_path):
    wandb.teardown()  # each step has a service of its own
    recipe = {**test_pipeline.ONLY_LABELS}
    recipe["common"] = {**recipe["common"]}
    recipe["common"]["trainer"] = {**recipe["common"]["trainer"], "logger": "WandbLogger"}
    path, root = tmp_path / "labels.yaml", tmp_path / "r"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    test_pipeline.kill_when(path, root, (root / "cam/checkpoints/last.ckpt").exists)
    maps = root / "maps/pseudo_labels"
    test_pipeline.kill_when(path, root, lambda: len(list(maps.glob("*.png"))) > 5)
    test_pipeline.finish(path, root)
    for step in ("cam", "maps"):
        folders = sorted(path.name for path in (root / step / "wandb").glob("offline-run-*"))
        assert len(folders) == 2
        assert len({name.rsplit("-", 1)[1] for name in folders}) == 1
    (fit_id,), (predict_id,) = (
        {entry["id"] for entry in read_record(root / step).values()} for step in ("cam", "maps")
    )
    assert fit_id != predict_id
    last = {step: offline_runs(root / step)[-1] for step in ("cam", "maps")}
    assert {name: (run.group, run.job_type) for name, run in last.items()} == {
        "cam": ("labels", "cam"),
        "maps": ("labels", "maps"),
    }
    assert "pseudo/miou" in last["maps"].names()


def test_one_of_several_loggers(tmp_path):
    config = tmp_path / "loggers.yaml"
    config.write_text(
        "trainer: {logger: [WandbLogger, {class_path: CSVLogger, init_args: {save_dir: t}}]}\n"
    )
    root = ["--config", str(config), "--trainer.default_root_dir", str(tmp_path / "r")]
    ZooCLI(["fit", "--model", "Supervised", *TINY, *root, "--trainer.max_steps", "1"])
    (run,) = offline_runs(tmp_path / "r")
    own = read_metrics(tmp_path / "r/metrics.csv")
    assert run.logged("train/loss") == pytest.approx([float(own[0]["train/loss"])])
    assert list(Path("t").rglob("metrics.csv"))


def test_what_the_user_asks_for_counts(tmp_path):
    given = {"project": "p", "group": "g", "job_type": "j", "name": "n", "id": "i1"}
    options = [
        token for key, value in given.items() for token in (f"--trainer.logger.{key}", value)
    ]
    fit(tmp_path, "--trainer.max_steps", "1", *options, "--trainer.logger.tags", "[t]")
    (run,) = offline_runs(tmp_path)
    assert {key: getattr(run, key) for key in given} == given
    assert run.tags == ["t"]
    assert read_record(tmp_path)["fit"]["group"] == "g"


def test_trainer_goes_on_with_the_run_after_the_command(tmp_path):
    cli = fit(tmp_path, "--trainer.max_steps", "1")
    assert wandb.run is None
    cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    wandb.finish()
    first, second = offline_runs(tmp_path)
    assert first.id == second.id


def test_a_run_that_the_caller_has_open_is_used(tmp_path):
    with wandb.init(mode="offline", dir=tmp_path, id="mine", settings={"silent": True}):
        with pytest.warns(UserWarning, match="a wandb run already in progress"):
            fit(tmp_path / "r", "--trainer.max_steps", "1")
        assert wandb.run is not None
    (run,) = offline_runs(tmp_path)
    assert "train/loss" in run.names()
    assert not (tmp_path / "r" / RECORD).exists()


def test_fast_dev_run_starts_none(tmp_path):
    fit(tmp_path, "--trainer.fast_dev_run", "true")
    assert list(tmp_path.iterdir()) == []


def options_of(logger=None, **data):
    return Namespace(
        config=None,
        ckpt_path=None,
        trainer=Namespace(logger=logger),
        model=Namespace(class_path="wsss_zoo.CAM"),
        data=Namespace(
            class_path="wsss_zoo.Shapes",
            init_args=Namespace(
                **{"train_split": "train", "val_split": "val", "test_split": None, **data}
            ),
        ),
    )


@pytest.mark.parametrize(
    ("config", "subcommand", "group"),
    [
        (None, "fit", "CAM"),
        (["experiments/voc_animals/fixmatch.yaml", "own.yaml"], "fit", "fixmatch"),
        (["runs/x/config.yaml", "step.yaml"], "fit", "CAM"),
        (["fixmatch.yaml"], "predict", "kept"),
        (["fixmatch.yaml"], "resumed", "kept"),
    ],
)
def test_group_is_that_of_the_folder_or_the_configuration(tmp_path, config, subcommand, group):
    (tmp_path / RECORD).write_text('{"fit": {"id": "a", "group": "kept", "finished": true}}')
    options = options_of(predict_split="all")
    options.config = config
    resumed = subcommand == "resumed"
    names = describe_run(options, tmp_path, "fit" if resumed else subcommand, resumed=resumed)
    assert names["group"] == group
    assert names["name"] == f"{tmp_path.parent.name}/{tmp_path.name}"


def test_tags(tmp_path):
    options = options_of(labeled_split=f"lists/{'x' * 80}.txt", val_split="val")
    names = describe_run(options, tmp_path, "test", resumed=False)
    assert names["tags"] == ["CAM", "Shapes", "val", f"labeled {'x' * 56}"]


def test_environment_comes_before_what_is_derived(tmp_path, monkeypatch):
    for name, value in {"RUN_GROUP": "g", "JOB_TYPE": "j", "TAGS": "a,b", "NAME": "n"}.items():
        monkeypatch.setitem(os.environ, f"WANDB_{name}", value)
    names = describe_run(options_of(), tmp_path, "fit", resumed=False)
    assert names == {"group": "g", "job_type": "j", "tags": ["a", "b"], "name": "n"}


def test_which_run_is_gone_on_with(tmp_path):
    folder = tmp_path / "r"
    checkpoint = str(folder / "checkpoints/last.ckpt")
    assert earlier_id(folder, "fit", checkpoint) is None
    folder.mkdir()
    (folder / RECORD).write_text(
        '{"fit": {"id": "a", "finished": true}, "predict": {"id": "b", "finished": false},'
        ' "validate": {"id": "c", "finished": true}}'
    )
    assert earlier_id(folder, "fit", checkpoint) == "a"
    assert earlier_id(folder, "fit", None) is None
    assert earlier_id(folder, "fit", str(tmp_path / "other/last.ckpt")) is None
    assert earlier_id(folder, "predict", checkpoint) == "b"
    assert earlier_id(folder, "validate", checkpoint) is None
    assert earlier_id(folder, "test", checkpoint) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"fit": {}}', '{"fit": 3}'])
def test_damaged_record(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(ValueError, match=r"wandb_runs\.json is damaged .*: delete it"):
        read_record(tmp_path)


@pytest.fixture
def started(monkeypatch):
    """Arguments of each call of wandb.init, which starts nothing."""
    calls = []

    def init(**arguments):
        calls.append(arguments)
        return SimpleNamespace(id="new", group=arguments["group"], finish=lambda exit_code: None)

    monkeypatch.setattr(wandb, "init", init)
    return calls


@pytest.mark.parametrize(
    ("mode", "option", "offline", "expected"),
    [
        (None, False, True, "offline"),
        (None, False, False, None),
        (None, True, False, "offline"),
        ("disabled", False, False, "disabled"),
    ],
)
def test_how_a_run_is_started(tmp_path, monkeypatch, started, mode, option, offline, expected):
    os.environ.pop("WANDB_MODE")
    if mode:
        os.environ["WANDB_MODE"] = mode
    monkeypatch.setattr("wsss_zoo.runs.wandb.stays_offline", lambda: offline)
    (tmp_path / RECORD).write_text('{"predict": {"id": "b", "finished": false}}')
    options = options_of(predict_split="train")
    # As the command line makes the logger: what is not given is None.
    logger = WandbLogger(save_dir=tmp_path, offline=option, resume=None, mode=None)
    with wandb_run([logger], options, tmp_path, "predict"):
        assert read_record(tmp_path)["predict"] == {"id": "new", "group": "CAM", "finished": False}
    assert read_record(tmp_path)["predict"]["finished"] is True
    (arguments,) = started
    # Without resume, wandb's server would delete what the run of this id has.
    assert (arguments["mode"], arguments["id"], arguments["resume"]) == (expected, "b", "allow")


def test_agents_id_comes_first(tmp_path, started, monkeypatch):
    monkeypatch.setitem(os.environ, "WANDB_RUN_ID", "swept")
    (tmp_path / RECORD).write_text('{"predict": {"id": "b", "finished": false}}')
    options = options_of(predict_split="train")
    with wandb_run([WandbLogger(save_dir=tmp_path)], options, tmp_path, "predict"):
        pass
    assert started[0]["id"] is None


def test_other_ranks_start_none(tmp_path, started, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with wandb_run([WandbLogger(save_dir=tmp_path)], options_of(), tmp_path, "fit"):
        pass
    assert started == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_does_not_start(tmp_path, monkeypatch, capsys, resumed):
    def init(**arguments):
        raise wandb.errors.CommError("Run initialization has timed out after 90.0 sec.")

    monkeypatch.setattr(wandb, "init", init)
    if resumed:
        (tmp_path / RECORD).write_text('{"validate": {"id": "b", "finished": false}}')
    root = ["--trainer.default_root_dir", str(tmp_path), *LOGGER]
    monkeypatch.setattr("sys.argv", ["wsss-zoo", "validate", "--model", "Supervised", *TINY, *root])
    assert main() == 1
    error = capsys.readouterr().err
    assert "could not start a run (CommError: Run initialization has timed out" in error
    assert "WANDB_MODE=offline keeps it" in error
    assert "wandb login" in error
    assert ("to begin a new one" in error) == resumed
    assert "Traceback" not in error


def test_without_wandb(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb.sdk", None)
    root = ["--trainer.default_root_dir", str(tmp_path), *LOGGER]
    monkeypatch.setattr("sys.argv", ["wsss-zoo", "fit", "--model", "Supervised", *TINY, *root])
    assert main() == 1
    error = capsys.readouterr().err
    assert "needs wandb, which cannot be imported" in error
    assert "pip install wandb" in error


def test_two_of_them_are_refused(tmp_path):
    path = "pytorch_lightning.loggers.WandbLogger"
    loggers = [Namespace(class_path=path, init_args=Namespace()) for _ in range(2)]
    with pytest.raises(ValueError, match="has 2 WandbLoggers"):
        prepare_wandb(loggers, tmp_path)


@pytest.mark.parametrize("project", [None, "mine"])
def test_logger_gets_the_folder_and_a_project(tmp_path, monkeypatch, project):
    path = "pytorch_lightning.loggers.WandbLogger"
    logger = Namespace(class_path=path, init_args=Namespace(project=project))
    prepare_wandb([logger, True], tmp_path)
    assert logger.init_args == Namespace(project=project or "wsss_zoo", save_dir=str(tmp_path))
    prepare_wandb(None, tmp_path)
    monkeypatch.setitem(os.environ, "WANDB_PROJECT", "theirs")
    logger.init_args.project = None
    prepare_wandb(logger, tmp_path)
    assert logger.init_args.project is None


def test_what_is_no_logger(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--model", "CAM", "--data", "Shapes", "--trainer.logger", "Wandb"])
    error = capsys.readouterr().err
    assert "that is no logger; give --trainer.logger WandbLogger" in error
    assert len(error.splitlines()) < 5


@pytest.mark.parametrize(
    ("environment", "netrc", "offline"),
    [
        ({}, None, True),
        ({"WANDB_API_KEY": "k"}, None, False),
        ({"WANDB_IDENTITY_TOKEN_FILE": "f"}, None, False),
        ({"WANDB_MODE": "disabled"}, None, False),
        ({}, "machine api.wandb.ai login user password k\n", False),
        ({}, "machine api.forge.coreweave.com login user password k\n", False),
        ({}, "machine example.org login user password k\n", True),
        ({}, "machine api.wandb.ai login", True),
        *[
            (
                {"WANDB_BASE_URL": "https://example.org:8080/x"},
                f"machine {host} login user password k\n",
                offline,
            )
            for host, offline in [
                ("example.org", False),
                ("example.org:8080", False),
                ("api.wandb.ai", True),
            ]
        ],
    ],
)
def test_offline_without_a_key(tmp_path, monkeypatch, environment, netrc, offline):
    path = tmp_path / "netrc"
    if netrc is not None:
        path.write_text(netrc)
    os.environ.pop("WANDB_MODE")
    os.environ.update({"NETRC": str(path)} | environment)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    settings = SimpleNamespace(api_key=None, mode="online", base_url="https://api.wandb.ai")
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=settings))
    assert stays_offline() is offline


@pytest.mark.parametrize("given", [{"api_key": "k"}, {"mode": "disabled"}])
def test_settings_files_of_wandb_count(tmp_path, monkeypatch, given):
    os.environ.pop("WANDB_MODE")
    os.environ["NETRC"] = str(tmp_path / "none")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    settings = {"api_key": None, "mode": "online", "base_url": "https://api.wandb.ai", **given}
    monkeypatch.setattr(
        wandb, "setup", lambda: SimpleNamespace(settings=SimpleNamespace(**settings))
    )
    assert stays_offline() is False


def test_at_a_terminal_wandb_asks_itself(monkeypatch):
    os.environ.pop("WANDB_MODE")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert stays_offline() is False


def test_folder_of_a_copy(tmp_path):
    """A folder that was moved keeps its run; the record knows no path."""
    fit(tmp_path / "a", "--trainer.max_steps", "1")
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = str(tmp_path / "b/checkpoints/last.ckpt")
    fit(tmp_path / "b", "--trainer.max_steps", "2", "--ckpt_path", moved)
    first, second = offline_runs(tmp_path / "b")
    assert first.id == second.id
