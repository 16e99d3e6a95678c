import functools
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Callback
from pytorch_lightning.loggers import CSVLogger

import wsss_zoo
from tests.tiny import tiny
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.cli.main import COMMANDS
from wsss_zoo.methods import Supervised
from wsss_zoo.runs import read_metrics

TINY = tiny(size=48, train=12)


class OwnMethod(Supervised):
    """A user's method, named by its path."""


class Crash(Callback):
    """Stands for a kill: raises before a step, or before a validation."""

    def __init__(self, step: int, stage: str = "train") -> None:
        self.step, self.stage = step, stage

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.stage == "train" and trainer.global_step == self.step:
            raise ConnectionError("crash")

    def on_validation_start(self, trainer, pl_module):
        if self.stage == "val" and trainer.global_step == self.step:
            raise ConnectionError("crash")


class Terminate(Callback):
    """Stands for a scheduler that wants the machine back."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WSSS_ZOO_RUN_FOLDER", "WSSS_ZOO_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    # seed_everything leaves its seed for the processes that it starts.
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of three steps, with a validation after the third."""
    folder = tmp_path_factory.mktemp("run") / "x"
    options = [
        "--trainer.max_steps",
        "3",
        "--trainer.limit_train_batches",
        "3",
        "--model.lr",
        "0.001",
    ]
    fit(folder, *options)
    return folder


def fit(folder, *options, model="Supervised"):
    root = ["--trainer.default_root_dir", str(folder)]
    return ZooCLI(["fit", "--model", model, *TINY, *root, *options])


def error_of(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_help_names_every_command_and_is_quick(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"{name} " in printed
        assert command.summary in printed
    code = "import sys, wsss_zoo.cli as c; c.main([]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=300)


def test_flags_and_lists_as_they_were_typed(tmp_path, capsys):
    ranked = ["reliability", "--earlier", "[a, b]", "--last", "c", "--print_config"]
    for args in (ranked, ["reliability", "--earlier", "a", "--earlier=b", *ranked[3:]]):
        with pytest.raises(SystemExit) as caught:
            main(args)
        assert caught.value.code == 0
        config = yaml.safe_load(capsys.readouterr().out)
        assert (config["earlier"], config["last"]) == (["a", "b"], "c")
    assert "--foo" in error_of(capsys, "compare", "x", "--foo")
    assert "expected one argument" in error_of(capsys, "compare", "x", "--baseline")
    error = error_of(capsys, "export", "--ckpt_path", "x", "--format", "tflite")
    assert error.splitlines()[0].startswith(
        "wsss-zoo export: error: --format: Expected Literal['onnx', "
    )
    assert error.splitlines()[1:] == ["wsss-zoo export --help lists all options"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: wsss-zoo {name}")
    # Usage and what the command does are seen without scrolling; no markup of docstrings in them.
    first = re.split("The method|options:", printed)[0]
    assert len(first.splitlines()) <= 24
    assert "``" not in first


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_unknown_command(capsys):
    assert main(["fitt"]) == 2
    assert (
        "no command 'fitt' (did you mean fit?); there are: train, fit, val"
        in capsys.readouterr().err
    )


def test_methods_are_listed_with_what_they_need():
    """Without torch, which takes seconds to import."""
    code = "import sys, wsss_zoo.cli as c; c.main(['methods']); assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code]
    options = {"capture_output": True, "text": True, "timeout": 300}
    lines = subprocess.run(command, check=True, **options).stdout.splitlines()
    assert any("CAM" in line and "tags for every image" in line for line in lines)
    assert any("Supervised" in line and "masks" in line for line in lines)
    assert any("UniMatch" in line and "a few masks, many images" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "--model is missing: name the method; there are: CAM,"),
        (
            "--model CAM",
            "--data is missing: name the data set; there are: ADE20K, COCO, COCOStuff10K",
        ),
        ("--model Cam --data Shapes", "no method 'Cam' (did you mean CAM?); there are: CAM,"),
        ("--model Xyzzy --data Shapes", "no method 'Xyzzy'; there are: CAM,"),
        ("--model CAM --data Shape", "no data set 'Shape' (did you mean Shapes?)"),
        ("--model no.such.Method --data Shapes", "no.such.Method: No module named 'no'"),
        ("--model CAM --data Shapes --model.lrr 1", "CAM: Option 'lrr' is not accepted"),
        ("--model CAM --data Shapes --trainer.max_step 1", "--trainer.max_step 1"),
        ("--model CAM --data VOC2012", "required: root"),
        (
            "--model CAM --data Shapes --model.num_classes 9",
            "--model.num_classes 9: the number of classes is taken from the data module (7 for "
            "Shapes, the background included); remove it",
        ),
        (
            "--model CAM --data Shapes --data.supervision mask",
            "--data.supervision: supervision 'mask' is given, but CAM learns from 'image_labels'",
        ),
        ("--model CAM --data Shapes --ckpt_path no.ckpt", "no.ckpt: there is no such file"),
        ("--model CAM --data Shapes --ckpt_path bad.ckpt", "bad.ckpt is no checkpoint"),
        ("--config no.yaml", "no.yaml"),
        ("--config classes.yaml", "classes.yaml: model.init_args.num_classes 9"),
        ("--config supervision.yaml", "supervision.yaml: data.init_args.supervision"),
    ],
)
def test_bad_input(options, message, tmp_path, capsys):
    (tmp_path / "bad.ckpt").write_bytes(b"PK but not a checkpoint")
    (tmp_path / "classes.yaml").write_text(
        "model: {class_path: CAM, init_args: {num_classes: 9}}\ndata: {class_path: Shapes}\n"
    )
    (tmp_path / "supervision.yaml").write_text(
        "model: {class_path: CAM}\ndata: {class_path: Shapes, init_args: {supervision: mask}}\n"
    )
    error = error_of(capsys, "fit", *options.split())
    assert message in error
    # No pages of usage in front of it.
    assert len(error.splitlines()) < 5


def test_supervision_that_is_the_methods_own_may_be_given():
    cli = fit("a", "--trainer.fast_dev_run", "true", "--data.supervision", "mask")
    assert cli.datamodule.supervision == "mask"


def test_what_a_constructor_says_is_not_buried():
    with pytest.raises(ValueError, match=r"^timm knows no backbone 'nosuchnet'"):
        fit("a", "--model.backbone", "nosuchnet")


def test_own_errors_are_one_line_on_the_command_line(monkeypatch, capsys):
    args = ["fit", "--model", "CAM", "--data", "VOC2012", "--data.root", "nowhere"]
    args += ["--trainer.max_steps", "1"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(args)
    monkeypatch.setattr("sys.argv", ["wsss-zoo", *args])
    assert main() == 1
    error = capsys.readouterr().err
    assert "wsss-zoo fit: error: " in error
    assert "Traceback" not in error
    monkeypatch.setenv("WSSS_ZOO_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main()


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("sys.argv", ["wsss-zoo", "fit", "--model", "CAM", *TINY])
    monkeypatch.setattr(ZooCLI, "before_instantiate_classes", lambda self: json.loads("{"))
    with pytest.raises(json.JSONDecodeError):
        main()


def test_run_folder_holds_config_metrics_and_one_checkpoint(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["lr"] == 0.001
    assert config["trainer"]["default_root_dir"] == str(run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    assert checkpoint["hyper_parameters"]["num_classes"] == 7
    rows = read_metrics(run / "metrics.csv")
    assert any("val/miou" in row for row in rows)
    assert not (run / "hparams.yaml").exists()


def test_checkpoint_of_the_command_line_loads_in_python(run):
    path = run / "checkpoints" / "last.ckpt"
    method = Supervised.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert method.hparams["backbone"] == "test_resnet"
    assert equal(method.state_dict(), weights(run))


def test_default_run_folders_are_numbered(tmp_path, monkeypatch):
    for number in range(2):
        monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)
        options = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
        main(["fit", "--model", "Supervised", *TINY, *options])
        assert (tmp_path / f"runs/Supervised/version_{number}/checkpoints/last.ckpt").exists()


def test_machines_do_not_choose_a_run_folder_each():
    with pytest.raises(ValueError, match=r"cannot agree on .* give --trainer\.default_root_dir"):
        main(["fit", "--model", "Supervised", *TINY, "--trainer.num_nodes=2"])


def test_start_weights_that_are_not_there(tmp_path):
    options = ["--model.init_from", str(tmp_path / "none.ckpt")]
    with pytest.raises(FileNotFoundError, match=r"^weights file .*none\.ckpt does not exist; give"):
        main(["fit", "--model", "Supervised", *TINY, *options])


def weights(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_config_of_a_run_repeats_it(run, tmp_path):
    folder = tmp_path / "again"
    args = ["--config", str(run / "config.yaml"), "--trainer.default_root_dir", str(folder)]
    ZooCLI(["fit", *args])
    assert equal(weights(run), weights(folder))
    assert (run / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()


def test_shipped_callbacks_survive_the_users_list(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "trainer: {callbacks: [{class_path: pytorch_lightning.callbacks.LearningRateMonitor}]}\n"
    )
    options = ["--config", "c.yaml", "--trainer.logger", "false", "--trainer.max_steps", "1"]
    cli = ZooCLI(["fit", *options, "--model", "Supervised", *TINY])
    names = [type(callback).__name__ for callback in cli.trainer.callbacks]
    for name in (
        "LearningRateMonitor",
        "SegmentationMetrics",
        "ClassificationMetrics",
        "PseudoLabelWriter",
        "PredictionVisualizer",
        "LastCheckpoint",
    ):
        assert names.count(name) == 1
    assert "ModelCheckpoint" not in names


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ([], []),
        (["--trainer.logger", "false"], []),
        (
            ["--trainer.logger+", "CSVLogger", "--trainer.logger.save_dir", "t"],
            ["CSVLogger"],
        ),
    ],
)
def test_metrics_csv_is_written_whatever_logger_is_asked_for(tmp_path, options, others):
    limits = "--trainer.max_steps 1 --trainer.limit_val_batches 0 --trainer.log_every_n_steps 1"
    cli = fit(tmp_path / "r", *limits.split(), *options)
    first, *rest = cli.trainer.loggers
    assert isinstance(first, CSVLogger)
    assert [type(logger).__name__ for logger in rest] == others
    assert "train/loss" in read_metrics(tmp_path / "r" / "metrics.csv")[0]
    assert (tmp_path / "r" / "config.yaml").exists()


def test_checkpoint_does_not_change_what_is_asked_for(run):
    args = ["--model", "Supervised", *TINY, "--ckpt_path", str(run / "checkpoints/last.ckpt")]
    args += ["--model.lr", "0.7", "--trainer.default_root_dir", "r", "--trainer.max_steps", "4"]
    cli = ZooCLI(["fit", *args])
    assert cli.model.hparams["lr"] == 0.7
    config = yaml.safe_load(Path("r/config.yaml").read_text())
    assert config["model"]["init_args"]["lr"] == 0.7
    assert cli.trainer.global_step == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model CAM", "holds Supervised, model asks for CAM"),
        (
            "--model Supervised --data.classes [fox,daisy]",
            "has 7 classes, the data set has 3: background, fox, daisy; give the data set",
        ),
        (
            "--model Supervised --model.backbone resnet10t",
            "(backbone is 'resnet10t', in the checkpoint 'test_resnet'",
        ),
    ],
)
@pytest.mark.parametrize("subcommand", ["fit", "validate"])
def test_checkpoint_of_another_network(run, options, message, subcommand, capsys):
    checkpoint = ["--ckpt_path", str(run / "checkpoints/last.ckpt")]
    assert message in error_of(capsys, subcommand, *TINY, *checkpoint, *options.split())


def test_evaluation_in_the_runs_folder_adds_to_it(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    args = ["--config", str(run / "config.yaml"), "--trainer.default_root_dir", str(folder)]
    args += ["--ckpt_path", str(folder / "checkpoints/last.ckpt")]
    before = (folder / "config.yaml").read_bytes()
    rows = read_metrics(folder / "metrics.csv")
    cli = ZooCLI(["validate", *args, "--evaluation.scales", "[0.5, 1.0]", "--evaluation.flip=true"])
    assert cli.model.evaluation.scales == (0.5, 1.0)
    assert cli.model.evaluation.flip
    results = json.loads((folder / "val_results.json").read_text())["metrics"]
    after = read_metrics(folder / "metrics.csv")
    assert after[: len(rows)] == rows
    assert float(after[-1]["val/miou"]) == pytest.approx(results["val/miou"], abs=1e-6)
    assert (folder / "config.yaml").read_bytes() == before
    config = yaml.safe_load((folder / "config_validate.yaml").read_text())
    assert config["evaluation"]["scales"] == [0.5, 1.0]


@pytest.mark.parametrize("asked", [True, False])
def test_channels_last(asked, tmp_path):
    options = ["--channels_last", str(asked).lower(), "--trainer.default_root_dir", str(tmp_path)]
    cli = ZooCLI(["fit", "--model", "Supervised", *TINY, "--trainer.max_steps", "1", *options])
    weights = [p for p in cli.model.parameters() if p.ndim == 4 and p.shape[1] > 1 < p.shape[2]]
    orders = {p.is_contiguous(memory_format=torch.channels_last) for p in weights}
    assert orders == {asked}


def test_predict_keeps_nothing_in_memory(run, tmp_path):
    args = ["--config", str(run / "config.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    args += ["--ckpt_path", str(run / "checkpoints/last.ckpt"), "--data.predict_limit", "3"]
    cli = ZooCLI(["predict", *args])
    assert len(list((tmp_path / "pseudo_labels").glob("*.png"))) == 3
    assert cli.trainer.predict_loop.predictions == []


def test_untrained_network_is_announced(tmp_path, caplog, run):
    args = ["--model", "Supervised", *TINY, "--trainer.default_root_dir", str(tmp_path / "r")]
    with caplog.at_level(logging.WARNING, "wsss_zoo"):
        main(["validate", *args])
        assert "validate without --ckpt_path runs a network that is not trained" in caplog.text
        caplog.clear()
        main(["validate", *args, "--model.init_from", str(run / "checkpoints/last.ckpt")])
        assert "not trained" not in caplog.text


def test_replacing_a_run_is_announced_and_starts_its_metrics_afresh(tmp_path, caplog):
    options = [
        "--trainer.limit_val_batches",
        "0",
        "--trainer.log_every_n_steps",
        "1",
        "--trainer.max_steps",
    ]
    fit(tmp_path / "r", *options, "3")
    with caplog.at_level(logging.WARNING, "wsss_zoo"):
        fit(tmp_path / "r", *options, "2")
    assert "holds a run, which this one replaces; to resume it give --ckpt_path" in caplog.text
    assert [row["step"] for row in read_metrics(tmp_path / "r" / "metrics.csv")] == ["0", "1"]


def test_stopped_run_does_not_pass_for_a_finished_one(tmp_path, capsys):
    options = ["--trainer.callbacks+", "tests.cli.test_main.Terminate", "--trainer.max_steps", "6"]
    root = ["--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", "--model", "Supervised", *TINY, *root, *options]) == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert "stopped by SIGTERM, not finished; step 3 is saved; go on with: wsss-zoo fit" in said
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    command = shlex.split(said[said.index("wsss-zoo fit --config") :])
    # The configuration has the callback that sends the signal, at step 2.
    assert main(command[1:]) == 0
    assert torch.load(command[-1], weights_only=True)["global_step"] == 6


class Interrupt(Callback):
    """Stands for Ctrl-C in a terminal."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def _interrupts():
    """Python's own handler: a shell starts commands in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_interrupted_run_is_saved(tmp_path, capsys):
    options = ["--trainer.callbacks+", "tests.cli.test_main.Interrupt", "--trainer.max_steps", "6"]
    options += ["--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", "--model", "Supervised", *TINY, *options]) == 128 + signal.SIGINT
    said = capsys.readouterr().err
    assert "stopped by Ctrl-C, not finished; step 3 is saved; go on with: wsss-zoo fit" in said
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 3


def test_an_interrupt_of_other_commands_is_one_line(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["wsss-zoo", "inspect", "--data", "Shapes"])
    monkeypatch.setattr(sys.modules["wsss_zoo.cli.main"], "_run", interrupt)
    assert main() == 128 + signal.SIGINT
    assert capsys.readouterr().err == "wsss-zoo inspect: stopped by Ctrl-C, not finished\n"


def test_long_messages_are_cut(monkeypatch, capsys):
    def fail(*_):
        exec(compile(code, wsss_zoo.__file__, "exec"))

    code = "raise ValueError('\\n'.join(f'line {n}' for n in range(142)))"
    monkeypatch.setattr("sys.argv", ["wsss-zoo", "inspect", "--data", "Shapes"])
    monkeypatch.setattr(sys.modules["wsss_zoo.cli.main"], "_run", fail)
    assert main() == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == ".. (132 more lines; WSSS_ZOO_TRACEBACK=1 shows all)"


def test_no_weights_without_a_network(monkeypatch, capsys, tmp_path):
    """One sentence, and no retries."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    args = ["fit", "--model", "Supervised", *TINY, "--model.backbone", "resnet18"]
    monkeypatch.setattr("sys.argv", ["wsss-zoo", *args, "--model.weights", "imagenet"])
    start = time.monotonic()
    assert main() == 1
    assert time.monotonic() - start < 10
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert (
        "timm could not load pretrained weights for 'resnet18': http://127.0.0.1:1 cannot be"
        in said
    )
    assert "give weights the path of a downloaded" in said


def test_own_class_by_its_path(tmp_path):
    cli = fit(tmp_path, "--trainer.fast_dev_run", "true", model="tests.cli.test_main.OwnMethod")
    assert type(cli.model).__name__ == "OwnMethod"


# Six steps an epoch, a checkpoint every three, but none where an epoch ends.
EVERY_THIRD = ["--checkpoint.every_n_train_steps", "3", "--trainer.log_every_n_steps", "1"]
EPOCHS, STEPS = ("--trainer.max_epochs", "3"), ("--trainer.max_steps", "14")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of an undisturbed run of this length, made once."""

    @functools.cache
    def of(*length):
        folder = tmp_path_factory.mktemp("whole") / "r"
        fit(folder, *length, *EVERY_THIRD)
        return folder

    return of


@pytest.mark.parametrize(
    ("length", "step", "stage", "saved"),
    [
        pytest.param(*(EPOCHS, 4, "train", 3), marks=pytest.mark.slow),
        pytest.param(*(EPOCHS, 6, "train", 3), marks=pytest.mark.slow),
        pytest.param(*(EPOCHS, 8, "train", 7), marks=pytest.mark.slow),
        pytest.param(*(EPOCHS, 12, "val", 10), marks=pytest.mark.slow),
        (STEPS, 6, "train", 3),
        pytest.param(*(STEPS, 12, "val", 10), marks=pytest.mark.slow),
    ],
)
def test_killed_run_resumes_to_the_same_result(tmp_path, length, step, stage, saved, whole_run):
    crash = ["--trainer.callbacks+", "tests.cli.test_main.Crash"]
    crash += ["--trainer.callbacks.step", str(step), "--trainer.callbacks.stage", stage]
    cut = tmp_path / "cut"
    with pytest.raises(ConnectionError):
        fit(cut, *length, *EVERY_THIRD, *crash)
    checkpoint = cut / "checkpoints/last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == saved
    fit(cut, *length, *EVERY_THIRD, "--ckpt_path", str(checkpoint))
    whole = whole_run(*length)
    assert equal(weights(whole), weights(cut))
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_resume_with_workers(tmp_path):
    options = "--trainer.max_epochs 2 --data.num_workers 1 --checkpoint.every_n_train_steps 3"
    crash = ["--trainer.callbacks+", "tests.cli.test_main.Crash", "--trainer.callbacks.step", "11"]
    fit(tmp_path / "whole", *options.split())
    with pytest.raises(ConnectionError):
        fit(tmp_path / "cut", *options.split(), *crash)
    checkpoint = str(tmp_path / "cut" / "checkpoints/last.ckpt")
    fit(tmp_path / "cut", *options.split(), "--ckpt_path", checkpoint)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
