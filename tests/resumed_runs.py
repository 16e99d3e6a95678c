"""Runs of the zoo's methods that end early, and all that a run ends with: for comparing two."""

import os
import signal
import sys
import traceback
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer, seed_everything

from tests.forked import wait_for
from tests.methods.zoo import make_data, make_method
from wsss_zoo.callbacks import (
    ClassificationMetrics,
    FiniteLoss,
    KeptClasses,
    PretextMetrics,
    SegmentationMetrics,
)
from wsss_zoo.runs.checkpoints.last_checkpoint import LastCheckpoint
from wsss_zoo.runs.folder import CHECKPOINT
from wsss_zoo.runs.logger import RunLogger

STEPS, EVERY = 8, 3


class Send(Callback):
    """Sends this process a signal between the gradients of a step and the step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def train(case, folder, *callbacks, data=None, trainer=None, **options):
    """Train a case in a folder, from its last checkpoint if there is one; gives `state_of` it."""
    last = folder / CHECKPOINT
    done = torch.load(last, weights_only=True)["global_step"] if last.exists() else None
    seed_everything(3, verbose=False)
    shared = {
        "max_steps": STEPS,
        "accelerator": "cpu",
        "deterministic": True,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    measures = [SegmentationMetrics(), ClassificationMetrics(), PretextMetrics()]
    run = Trainer(
        default_root_dir=folder,
        logger=RunLogger(str(folder), done),
        callbacks=[*measures, FiniteLoss(), KeptClasses(), LastCheckpoint(EVERY), *callbacks],
        **(shared | (trainer or {})),
    )
    # The graphs of one test are those of all its runs.
    images = make_data(case, folder.parent, **(data or {}))
    method = make_method(case, **options)
    ckpt_path = None if done is None else str(last)
    run.fit(method, datamodule=images, ckpt_path=ckpt_path, weights_only=True)
    return state_of(run)


def state_of(run):
    """All that a run ends with, by name: tensors, numbers and files."""
    folder, method = run.default_root_dir, run.lightning_module
    checkpoint = torch.load(f"{folder}/{CHECKPOINT}", weights_only=True)
    # Of the loops only where they are: they count the restarts too.
    loops = checkpoint.pop("loops")["fit_loop"]
    state = {
        "place": (run.global_step, run.current_epoch),
        "epoch": loops["epoch_progress"]["current"],
        "weights": method.state_dict(),
        "buffers": dict(method.named_buffers()),
        "optimizer": run.optimizers[0].state_dict(),
        "schedule": run.lr_scheduler_configs[0].scheduler.state_dict(),
        "checkpoint": checkpoint,
    }
    state["metrics"] = Path(folder, "metrics.csv").read_text(encoding="utf-8")
    if hasattr(method, "ensemble"):
        state |= {"z": method.ensemble.z, "count": method.ensemble.count}
    return dict(_flat("", state))


def differences(one, other):
    """Names of what is not the same to the last bit."""
    names = [name for name in one if name in other and not _same(one[name], other[name])]
    return sorted(one.keys() ^ other.keys()) + names


def in_child(function):
    """Call a function in a process of its own; how it ended: exit code, or minus a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = function() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return wait_for(child)


def killed(case, folder, step, **settings):
    """Train in a process of its own, which is killed in the step after so many."""
    send = Send(signal.SIGKILL, step)
    assert in_child(lambda: train(case, folder, send, **settings)) == -signal.SIGKILL
    saved = torch.load(folder / CHECKPOINT, weights_only=True)["global_step"]
    assert 0 < saved < step, "the checkpoint must lack steps that were made"


def _flat(name, value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}/{key}", inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _flat(f"{name}/{number}", inner)
    else:
        yield name, value


def _same(one, other):
    if not isinstance(one, torch.Tensor):
        return type(one) is type(other) and one == other
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    one, other = (value.detach().contiguous().flatten() for value in (one, other))
    # As bytes: a NaN is equal to itself, and 0 is not -0.
    return torch.equal(one.view(torch.uint8), other.view(torch.uint8))
