"""Bad days of a training: a loss that is no number, a loader that dies, no memory, SLURM's end."""

import multiprocessing
import os
import re
import signal
import stat
import sys

import pytest
import torch
from pytorch_lightning import Callback

from tests.methods.zoo import CASES, KINDS, quick
from tests.resumed_runs import train
from tests.tiny import tiny
from wsss_zoo.callbacks import FiniteLoss
from wsss_zoo.callbacks.training.finite_loss import describe_images
from wsss_zoo.cli import main
from wsss_zoo.cli.error_advice import advice
from wsss_zoo.runs import read_metrics


@pytest.fixture(autouse=True)
def _no_hang():
    """A run that waits for ever is an error after four minutes."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("the run hangs"))
    signal.alarm(240)
    yield
    signal.alarm(0)
    torch.use_deterministic_algorithms(False)


def from_the_shell(monkeypatch, *args):
    """Run a command as the console script does: messages in place of errors."""
    monkeypatch.setattr(sys, "argv", ["wsss-zoo", *map(str, args)])
    return main()


TINY = tiny(size=48, train=12)


class Poison(Callback):
    """Makes the pixels, or the features of regions, of the first image of a batch NaN."""

    def __init__(self, step=4):
        self.step, self.images = step, ""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step != self.step:
            return
        self.images = describe_images(batch)
        for part in (batch, *batch.values()):
            if isinstance(part, dict):
                for name in {"image", "weak", "strong"} & part.keys():
                    part[name][:] = float("nan")
        if "graph" in batch:
            batch["graph"].x[:] = float("nan")


@pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")
@pytest.mark.parametrize("case", quick(CASES, KINDS))
def test_nan_is_reported_with_the_images_of_its_batch(case, tmp_path):
    poison = Poison()
    # Between two looks at the losses, and after a checkpoint.
    with pytest.raises(RuntimeError, match="the training loss is nan at batch") as stopped:
        train(case, tmp_path / "r", poison, trainer={"log_every_n_steps": 4})
    assert "(step 5)" in str(stopped.value)
    assert f", {poison.images}; the batch before had images" in str(stopped.value).replace(
        "had labeled images", "had images"
    )
    for part in ("labeled", "unlabeled", "reference", "other"):
        assert (f"{part} images train_" in poison.images) == (part in poison.images)
    assert "step 3 is saved; go on with" in stopped.value.__notes__[0]
    saved = torch.load(tmp_path / "r/checkpoints/last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


def test_parts_of_a_batch_are_named():
    semi = {"labeled": {"image_id": ["a"]}, "unlabeled": {"image_id": ["b", "c"]}}
    assert describe_images(semi) == "labeled images a, unlabeled images b, c"
    assert describe_images(torch.zeros(2)) == "images without ids"


def test_nan_does_not_get_into_a_checkpoint(tmp_path):
    """The losses are looked at before one is written, whenever they would be otherwise."""
    settings = {"log_every_n_steps": 8}
    with pytest.raises(RuntimeError, match=r"nan at batch 3 of epoch 0 \(step 4\)"):
        train("Supervised", tmp_path, Poison(3), trainer=settings)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 3


class BreakGradients(Callback):
    """Gradients that are NaN, of a loss that is a number."""

    def __init__(self, step):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(float("nan"))


@pytest.mark.parametrize(("step", "saved"), [(2, 0), (5, 3), (7, 6)])
def test_broken_weights_do_not_get_into_a_checkpoint(step, saved, tmp_path):
    """In the step before a checkpoint, and in the last one: no loss tells of them."""
    found = rf"\d+ of \d+ weights are NaN or infinite at step {step + 1} \(network.*last batch had"
    with pytest.raises(RuntimeError, match=found) as stopped:
        train("Supervised", tmp_path, BreakGradients(step))
    said = f"step {saved} is saved" if saved else "no step is saved"
    assert said in stopped.value.__notes__[-1]
    last = tmp_path / "checkpoints/last.ckpt"
    assert last.exists() == bool(saved)
    if saved:
        state = torch.load(last, weights_only=True)
        assert state["global_step"] == saved
        assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_losses_are_looked_at_together(monkeypatch, tmp_path):
    """Not at every step: that would wait for the device."""
    looks = []
    monkeypatch.setattr(FiniteLoss, "_check_losses", lambda self: looks.append(len(self._seen)))
    train("Supervised", tmp_path, trainer={"log_every_n_steps": 8, "limit_val_batches": 0})
    # Two checkpoints, the log, and the last checkpoint.
    assert looks == [3, 6, 8, 8]


@pytest.mark.parametrize(("every", "seen"), [(0, 0), (5, 3), (None, 3)])
def test_how_often_is_an_option(every, seen):
    callback = FiniteLoss(every)
    run = type("Run", (), {"log_every_n_steps": 50, "current_epoch": 0, "global_step": 1})
    for batch_idx in range(3):
        loss = {"loss": torch.tensor(float("inf"))}
        batch = {"image_id": ["a"]}
        callback.on_train_batch_start(run, None, batch, batch_idx)
        callback.on_train_batch_end(run, None, loss, batch, batch_idx)
    assert len(callback._seen) == seen
    with pytest.raises(ValueError, match="every_n_batches is -1; give the number"):
        FiniteLoss(-1)


class Break(Callback):
    """A bug in a step."""

    def on_before_backward(self, trainer, pl_module, loss):
        raise KeyError("a bug")


def test_other_errors_of_a_step_name_its_images(tmp_path):
    with pytest.raises(KeyError) as error:
        train("Supervised", tmp_path, Break())
    first, second = error.value.__notes__
    assert re.fullmatch(r"it was batch 0 of epoch 0, images train_\d+, train_\d+", first)
    assert second == "no step is saved; start the same command again"


class KillWorker(Callback):
    """Kills the process that loads images, as the system does when memory is full."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 1:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)


def test_loader_that_dies_ends_the_run(tmp_path, monkeypatch, capsys):
    options = ["--trainer.callbacks+", "tests.test_faults_training.KillWorker"]
    options += ["--data.num_workers", "1", "--trainer.max_epochs", "3"]
    options += ["--trainer.default_root_dir", tmp_path]
    assert from_the_shell(monkeypatch, "fit", "--model", "Supervised", *TINY, *options) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    # It may die while it waits, or while it hands over a batch.
    assert said.startswith("wsss-zoo fit: error: DataLoader worker ")
    assert "lower data.num_workers or data.batch_size" in said
    assert said.endswith("no step is saved; start the same command again")


def test_loader_that_dies_while_it_hands_over_a_batch():
    with pytest.raises(ConnectionResetError) as loading:
        exec(compile("raise ConnectionResetError(104, 'reset')", "torch/dataloader.py", "exec"))
    said = advice(loading.value, "fit")
    assert said.startswith("DataLoader worker ended while it handed over a batch ([Errno 104]")
    assert "lower data.num_workers or data.batch_size" in said
    assert advice(ConnectionResetError(104, "of a server"), "fit") is None


def test_out_of_memory_says_what_to_lower(tmp_path, monkeypatch, capsys):
    # More than an address can name.
    crop = ["--data.crop_size", 4_000_000, "--trainer.default_root_dir", tmp_path]
    crop += ["--trainer.max_steps", 2]
    assert from_the_shell(monkeypatch, "fit", "--model", "Supervised", *TINY, *crop) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("wsss-zoo fit: error: out of memory (")
    for option in ("data.batch_size", "data.crop_size", "precision bf16-mixed", "model.queries"):
        assert option in said


@pytest.mark.parametrize(
    ("error", "command", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nx"), "fit", "crop"),
        (torch.OutOfMemoryError("CUDA out of memory."), "predict", "evaluation.window"),
        (torch.OutOfMemoryError("CUDA out of memory."), "label", "smaller"),
        (MemoryError(), "fit", r"\(MemoryError\)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "fit", "data.batch_size"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), "fit", "data.batch_size"),
        (OSError(28, "No space left on device", "a.png"), "predict", r"'a\.png'; free space"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "fit", "free space"),
    ],
)
def test_advice(error, command, words):
    said = advice(error, command)
    assert said is not None
    assert "\n" not in said
    assert re.search(words, said)


@pytest.mark.parametrize("error", [RuntimeError("sizes differ"), OSError(2, "no"), KeyError("a")])
def test_no_advice_on_other_errors(error):
    assert advice(error, "fit") is None


class EndOfTime(Callback):
    """Stands for SLURM: the signal before the end of a job's time, and the end."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == 7 and not os.environ.get("SLURM_RESTART_COUNT"):
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of SLURM, and its command, which notes how it was called."""
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin/scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    job = {"NTASKS": 1, "NTASKS_PER_NODE": 1, "JOB_ID": 77, "JOB_NAME": "train", "NODEID": 0}
    job |= {"LOCALID": 0, "PROCID": 0, "NNODES": 1, "NODELIST": "localhost"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("slurm")
def test_slurm_stops_and_starts_again(tmp_path, monkeypatch, capsys):
    previous = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    options = "--trainer.max_steps 12 --trainer.log_every_n_steps 1 --trainer.limit_val_batches 0"
    callback = ["--trainer.callbacks+", "tests.test_faults_training.EndOfTime"]
    command = ["fit", "--model", "Supervised", *TINY, *options.split(), *callback]
    command += ["--trainer.default_root_dir"]
    assert main([*command, str(tmp_path / "r")]) == 128 + signal.SIGTERM
    assert (tmp_path / "called").read_text() == "requeue 77\n"
    assert (tmp_path / "r/hpc_ckpt_1.ckpt").exists()
    assert "step 8 is saved" in capsys.readouterr().err
    # The same command, by SLURM.
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main([*command, str(tmp_path / "r")]) == 0
    assert main([*command, str(tmp_path / "whole")]) == 0
    runs = [tmp_path / name / "checkpoints/last.ckpt" for name in ("r", "whole")]
    states = [torch.load(path, weights_only=True)["state_dict"] for path in runs]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    rows = [read_metrics(tmp_path / name / "metrics.csv") for name in ("r", "whole")]
    assert rows[0] == rows[1]
    signal.signal(signal.SIGUSR1, previous)
