"""A finished run that is made longer is the longer run, stopped where the shorter one ended."""

import pytest
import torch

from tests.methods.zoo import quick
from tests.resumed_runs import differences, train
from wsss_zoo.methods import base
from wsss_zoo.methods.optimizer import polynomial_schedule

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
]

FOUR_BATCHES = {"num_train": 8, "image_size": 32, "crop_size": 32}
ONE_BATCH = FOUR_BATCHES | {"num_train": 2}


def steps(count, **options):
    return {"max_steps": count} | options


def epochs(count, **options):
    return {"max_steps": -1, "max_epochs": count} | options


@pytest.fixture(autouse=True)
def _alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


CASES = {
    "at the end of an epoch": (steps(4), steps(8), FOUR_BATCHES),
    "within an epoch": (steps(3), steps(9), FOUR_BATCHES),
    "epochs": (epochs(1), epochs(3), FOUR_BATCHES),
    "steps, then epochs": (steps(6), epochs(2), FOUR_BATCHES),
    "epochs, then steps": (epochs(1), steps(7), FOUR_BATCHES),
    "without validation": (*(steps(n, limit_val_batches=0) for n in (4, 8)), FOUR_BATCHES),
    "accumulated": (*(steps(n, accumulate_grad_batches=2) for n in (3, 5)), FOUR_BATCHES),
    "validation within": (*(steps(n, val_check_interval=2) for n in (6, 9)), FOUR_BATCHES),
    "every second epoch": (*(steps(n, check_val_every_n_epoch=2) for n in (4, 9)), FOUR_BATCHES),
    "epochs of one batch": (steps(2), steps(5), ONE_BATCH),
    "twice the same epoch": (steps(5), steps(7), FOUR_BATCHES),
}


OFTEN = {"within an epoch", "epochs, then steps", "accumulated", "epochs of one batch"}


@pytest.mark.parametrize("case", quick(CASES, OFTEN))
def test_longer_run(case, tmp_path, monkeypatch):
    short, long, data = CASES[case]
    whole = train("Supervised", tmp_path / "whole", trainer=long, data=data)
    # The reference has the schedule of the longer run from the start.
    length = whole["/schedule/steps"]
    with monkeypatch.context() as patch:
        patch.setattr(base, "polynomial_schedule", lambda o, _: polynomial_schedule(o, length))
        train("Supervised", tmp_path / "cut", trainer=short, data=data)
    cut = train("Supervised", tmp_path / "cut", trainer=long, data=data)
    assert differences(whole, cut) == []
