import pytest
import torch
from pytorch_lightning import Callback, Trainer

from wsss_zoo import Shapes, Supervised
from wsss_zoo.runs.checkpoints import last_checkpoint
from wsss_zoo.runs.checkpoints.last_checkpoint import LastCheckpoint

PARTS = ["last.ckpt", "part_1.ckpt", "part_2.ckpt"]


def fit(folder, checkpoint, ckpt_path=None, **options):
    data = Shapes(num_train=8, image_size=64, crop_size=64, batch_size=2, num_workers=0)
    callbacks = [checkpoint, *options.pop("callbacks", [])]
    trainer = Trainer(
        default_root_dir=folder,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    torch.manual_seed(0)
    trainer.fit(Supervised(7, backbone="test_resnet"), data, ckpt_path=ckpt_path)
    return folder / "checkpoints"


def steps_in(folder):
    return {
        path.name: torch.load(path, weights_only=True)["global_step"]
        for path in sorted(folder.iterdir())
    }


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_steps": 7}, [7, 2, 4]),
        ({"max_steps": 3}, [3, 1, 2]),
        # Parts may end with an epoch, here of four steps, or of two if gradients are accumulated.
        ({"max_epochs": 3}, [12, 4, 8]),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, [6, 2, 4]),
    ],
)
def test_parts_of_the_training(tmp_path, options, steps):
    found = steps_in(fit(tmp_path, LastCheckpoint(keep_parts=3), **options))
    assert found == dict(zip(PARTS, steps, strict=True))


def test_one_part_is_the_last_checkpoint(tmp_path):
    assert steps_in(fit(tmp_path, LastCheckpoint(), max_steps=4)) == {"last.ckpt": 4}


@pytest.mark.parametrize(("minutes", "saved"), [(60.0, []), (4.0, [1, 2, 4, 5]), (10.0, [2, 4])])
def test_saved_by_time_too(minutes, saved, tmp_path, monkeypatch):
    """Steps of five minutes; none is saved at the end of an epoch of three, but after it."""
    clock, steps = [0.0], []

    class Slow(Callback):
        def on_train_batch_start(self, *_):
            clock[0] += 300.0

    publish = LastCheckpoint._publish

    def note(self, trainer):
        steps.extend([] if self._prepared_step is None else [self._prepared_step])
        publish(self, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(last_checkpoint.time, "monotonic", lambda: clock[0])
        patch.setattr(LastCheckpoint, "_publish", note)
        length = {"max_steps": 6, "limit_train_batches": 3, "callbacks": [Slow()]}
        fit(tmp_path, LastCheckpoint(every_n_minutes=minutes), **length)
    assert steps == [*saved, 6]


class Kill(LastCheckpoint):
    """Ends the process, as it were, after a step's checkpoints are written."""

    def on_train_batch_end(self, trainer, *args):
        super().on_train_batch_end(trainer, *args)
        if trainer.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_killed_run_has_the_same_parts(tmp_path):
    whole = fit(tmp_path / "whole", LastCheckpoint(keep_parts=3), max_steps=7)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path / "killed", Kill(every_n_train_steps=1, keep_parts=3), max_steps=7)
    last = str(tmp_path / "killed/checkpoints/last.ckpt")
    killed = fit(tmp_path / "killed", LastCheckpoint(keep_parts=3), last, max_steps=7)
    assert steps_in(killed) == steps_in(whole)
    for name in PARTS:
        states = [
            torch.load(path / name, weights_only=True)["state_dict"] for path in (whole, killed)
        ]
        torch.testing.assert_close(*states, rtol=0, atol=0)


def test_parts_hold_weights_only(tmp_path):
    folder = fit(tmp_path, LastCheckpoint(keep_parts=2), max_steps=4)
    part, last = (
        torch.load(folder / name, weights_only=True) for name in ("part_1.ckpt", PARTS[0])
    )
    assert "optimizer_states" not in part
    assert "optimizer_states" in last
    assert part["hyper_parameters"]["backbone"] == "test_resnet"


def test_fast_dev_run_writes_nothing(tmp_path):
    fit(tmp_path, LastCheckpoint(keep_parts=3), fast_dev_run=True)
    assert not (tmp_path / "checkpoints").exists()


def test_rejects(tmp_path):
    with pytest.raises(ValueError, match="every_n_train_steps must be at least 1, got 0"):
        LastCheckpoint(every_n_train_steps=0)
    with pytest.raises(ValueError, match="keep_parts must be at least 1, got 0"):
        LastCheckpoint(keep_parts=0)
    with pytest.raises(ValueError, match="every_n_minutes must be greater than 0, got 0"):
        LastCheckpoint(every_n_minutes=0)
    with pytest.raises(ValueError, match=r"keep_parts 3 is more than the steps of .* \(2\)"):
        fit(tmp_path, LastCheckpoint(keep_parts=3), max_steps=2)
