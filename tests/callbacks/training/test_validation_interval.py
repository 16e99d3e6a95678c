import pytest

from tests.tiny import tiny
from wsss_zoo.callbacks.training.validation_interval import validation_steps
from wsss_zoo.cli import ZooCLI
from wsss_zoo.runs import read_metrics


@pytest.mark.parametrize("epoch", [1, 3, 10, 99, 1000])
@pytest.mark.parametrize("total", [1, 8, 60, 997, 4000, 105_000])
def test_never_more_than_asked_and_never_none(total, epoch):
    steps = validation_steps(total, epoch)
    if steps is None:
        assert epoch >= min(100, total / 20)
        return
    assert epoch < steps <= total
    assert total // steps <= max(20, total / 100)
    if any(total % n == 0 for n in range(steps, 2 * steps)):
        assert total % steps == 0


def test_without_an_end():
    assert validation_steps(float("inf"), 3) == 100
    assert validation_steps(float("inf"), 200) is None


# Epochs of one step: 24 validations without the choice.
SHORT = [*tiny(size=32, train=2, val=1), "--trainer.max_steps", "24"]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ([], range(1, 24, 2)),
        (["--trainer.accumulate_grad_batches", "3"], range(1, 24, 2)),
        pytest.param(["--trainer.check_val_every_n_epoch", "1"], range(24), marks=pytest.mark.slow),
        (["--trainer.val_check_interval", "1.0"], range(24)),
        (["--trainer.check_val_every_n_epoch", "12"], [11, 23]),
    ],
)
def test_validations_of_a_run_with_short_epochs(options, steps, tmp_path):
    root = ["--trainer.default_root_dir", str(tmp_path)]
    ZooCLI(["fit", "--model", "Supervised", *SHORT, *root, *options])
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows if "val/miou" in row] == list(steps)
