"""Ended early and resumed, every method comes to the same as if nothing had happened."""

import functools
import os
import signal

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException

from tests.methods.zoo import CASES, KINDS, quick
from tests.resumed_runs import STEPS, Send, differences, in_child, killed, train
from wsss_zoo.runs.checkpoints import exact_resume
from wsss_zoo.runs.checkpoints.last_checkpoint import LastCheckpoint
from wsss_zoo.runs.folder import CHECKPOINT

pytestmark = [
    # The child of a process with threads; it touches none of them.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
]

# What is saved and read does not depend on the size of the images.
SMALL = {"image_size": 32, "crop_size": 32}


@pytest.fixture(autouse=True)
def _as_in_a_child():
    """One thread, for a forked process has no others; Trainer's determinism is for the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def check_kill(case, tmp_path, step=5, **settings):
    """Six batches, with three in the checkpoint: all of it happens within the epoch, or two."""
    settings["data"] = SMALL | settings.get("data", {})
    whole = train(case, tmp_path / "whole", **settings)
    killed(case, tmp_path / "cut", step, **settings)
    assert differences(whole, train(case, tmp_path / "cut", **settings)) == []
    return whole


@pytest.mark.parametrize("case", quick(CASES, KINDS))
def test_every_method(case, tmp_path):
    """Of five steps the fourth is lost; a validation comes after them."""
    whole = check_kill(case, tmp_path, 4, data={"num_train": 10}, trainer={"max_steps": 5})
    assert whole["/place/0"] == 5
    # Graphs are not validated.
    assert ("val/" in whole["/metrics"]) != case.startswith("GATCorrector")


@pytest.mark.parametrize("case", ["CAM", "SimFormer", "GATCorrector"])
def test_with_a_worker(case, tmp_path):
    check_kill(case, tmp_path, data={"num_workers": 1})


@pytest.mark.parametrize("case", ["MeanTeacher", "MaskFormer"])
def test_in_bfloat16(case, tmp_path):
    check_kill(case, tmp_path, trainer={"precision": "bf16-mixed"})


def test_filled_ensemble(tmp_path):
    check_kill("TemporalEnsembling", tmp_path, warm_fill=True)


@pytest.mark.parametrize(
    ("case", "epochs"), [pytest.param("CPS", 3, marks=pytest.mark.slow), ("SimFormer code", 2)]
)
def test_over_epochs(case, epochs, tmp_path):
    length = {"max_steps": -1, "max_epochs": epochs}
    whole = check_kill(case, tmp_path, step=11, trainer=length)
    assert whole["/place/1"] == epochs


def test_with_accumulated_gradients(tmp_path):
    accumulated = {"max_steps": 7, "accumulate_grad_batches": 2}
    check_kill("Supervised", tmp_path, trainer=accumulated)


@pytest.mark.parametrize("place", ["_prepare", "_publish"])
def test_killed_while_saving(place, tmp_path, monkeypatch, whole_run):
    """Between the state, its row in metrics.csv and its name: none counts without the others."""
    act, folder = getattr(LastCheckpoint, place), tmp_path / "cut"

    def act_and_die(self, trainer):
        at_stake = place == "_prepare" or self._prepared_step
        act(self, trainer)
        if trainer.global_step == 6 and at_stake:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, place, act_and_die)
        assert in_child(lambda: train("Supervised", folder, data=SMALL)) == -signal.SIGKILL
    saved = torch.load(folder / CHECKPOINT, weights_only=True)["global_step"]
    assert saved == {"_prepare": 3, "_publish": 6}[place]
    assert differences(whole_run({}), train("Supervised", folder, data=SMALL)) == []


class Stop(Callback):
    """Sends SIGTERM, or another signal, at a hook, once the run is as far."""

    def __init__(self, hook, step, batch=0, number=signal.SIGTERM):
        def send(trainer, pl_module, *arguments):
            batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready
            indices = [value for value in arguments if isinstance(value, int)]
            if batches == step and (not indices or batch == indices[0] or "train" in hook):
                signal.raise_signal(number)

        setattr(self, hook, send)


# Eight batches an epoch, of which the stop comes in this one; steps that are saved then.
PLACES = {
    "in a step": (Stop("on_before_backward", 5), 5),
    "after a step": (Stop("on_train_batch_end", 5), 5),
    "in the first step": (Stop("on_before_backward", 1), 1),
    "in the first part of a step": (Stop("on_before_backward", 5), 3),
    "in the last step of an epoch": (Stop("on_before_backward", 8), 8),
    "in the last step of an epoch without validation": (Stop("on_before_backward", 8), 9),
    "in a validation": (Stop("on_validation_batch_start", 8), 8),
    "in the last image of a validation": (Stop("on_validation_batch_start", 8, 1), 9),
    "in the step before a validation within the epoch": (Stop("on_before_backward", 3), 3),
    "in a validation within the epoch": (Stop("on_validation_batch_start", 3), 3),
    "at its end": (Stop("on_validation_batch_start", 3, 1), 4),
    "in the last epoch's validation": (Stop("on_validation_batch_start", 16), 16),
}
OPTIONS = {
    "in the first part of a step": {"accumulate_grad_batches": 2},
    "in the last step of an epoch without validation": {"limit_val_batches": 0},
    "in the step before a validation within the epoch": {"val_check_interval": 3},
    "in a validation within the epoch": {"val_check_interval": 3},
    "at its end": {"val_check_interval": 3},
}


@pytest.fixture
def terminal_interrupts():
    """Python's own handler of Ctrl-C: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """What a run of `Supervised` ends with that nothing stops, made once for all that need it."""

    @functools.cache
    def of(options):
        folder = tmp_path_factory.mktemp("whole") / "r"
        return train("Supervised", folder, trainer=dict(options), data=SMALL)

    return lambda trainer: of(tuple(trainer.items()))


# Each way through the loop once.
OFTEN = {
    "in a step",
    "in the first part of a step",
    "in the last step of an epoch",
    "in a validation",
    "in a validation within the epoch",
    "in the last epoch's validation",
}


@pytest.mark.parametrize("place", quick(PLACES, OFTEN))
def test_sigterm_saves_where_the_run_goes_on_exactly(place, tmp_path, whole_run):
    length = {"max_steps": -1, "max_epochs": 2}
    settings = {"trainer": length | OPTIONS.get(place, {}), "data": SMALL}
    stop, saved = PLACES[place]
    with pytest.raises(SIGTERMException) as stopped:
        train("Supervised", tmp_path / "cut", stop, **settings)
    folder = tmp_path / "cut"
    assert stopped.value.__notes__ == [
        f"step {saved} is saved; go on with: wsss-zoo fit --config {folder}/config.yaml "
        f"--ckpt_path {folder}/checkpoints/last.ckpt"
    ]
    assert torch.load(folder / CHECKPOINT, weights_only=True)["global_step"] == saved
    whole = whole_run(settings["trainer"])
    assert differences(whole, train("Supervised", folder, **settings)) == []


@pytest.mark.parametrize(
    ("hook", "step", "saved"),
    [("on_before_backward", 5, 5), ("on_before_backward", 8, 8), ("on_validation_start", 8, 8)],
)
def test_interrupt_saves_as_sigterm_does(
    hook, step, saved, tmp_path, whole_run, caplog, terminal_interrupts
):
    trainer = {"max_steps": -1, "max_epochs": 2}
    before = signal.getsignal(signal.SIGINT)
    stop = Stop(hook, step, number=signal.SIGINT)
    with pytest.raises(SIGTERMException) as stopped, caplog.at_level("WARNING", "wsss_zoo"):
        train("Supervised", tmp_path / "cut", stop, trainer=trainer, data=SMALL)
    assert stopped.value.interrupted
    assert f"step {saved} is saved; go on with: wsss-zoo fit" in stopped.value.__notes__[0]
    assert "Ctrl-C: this step is finished and saved, then the run stops; again" in caplog.text
    assert signal.getsignal(signal.SIGINT) is before
    cut = train("Supervised", tmp_path / "cut", trainer=trainer, data=SMALL)
    assert differences(whole_run(trainer), cut) == []
    assert signal.getsignal(signal.SIGINT) is before


class Twice(Callback):
    """Ctrl-C, which a terminal and a pipeline both send, and again after two seconds."""

    def __init__(self, monkeypatch):
        self.clock, self.monkeypatch = 100.0, monkeypatch

    def on_before_backward(self, trainer, *_):
        if trainer.global_step == 4:
            self.monkeypatch.setattr(exact_resume.time, "monotonic", lambda: self.clock)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            self.clock += 2
            signal.raise_signal(signal.SIGINT)


def test_a_second_interrupt_stops_at_once(tmp_path, monkeypatch, terminal_interrupts):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train("Supervised", tmp_path, Twice(monkeypatch), data=SMALL)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["global_step"] == 3


def test_sigterm_in_the_last_step_lets_the_run_end(tmp_path, whole_run):
    send = Send(signal.SIGTERM, STEPS - 1)
    assert differences(whole_run({}), train("Supervised", tmp_path, send, data=SMALL)) == []


@pytest.mark.parametrize("length", [{"max_steps": -1, "max_epochs": 6}, {"max_steps": 6}])
def test_sigterm_with_epochs_of_one_batch(length, tmp_path):
    settings = {"data": {"num_train": 2} | SMALL, "trainer": length}
    with pytest.raises(SIGTERMException):
        train("Supervised", tmp_path / "cut", Send(signal.SIGTERM, 1), **settings)
    assert torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)["global_step"] == 2
    whole = train("Supervised", tmp_path / "whole", **settings)
    assert differences(whole, train("Supervised", tmp_path / "cut", **settings)) == []
