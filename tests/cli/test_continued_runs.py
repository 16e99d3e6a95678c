"""What counts at a resume and at an evaluation: options of the optimiser, classes, checkpoints."""

import logging
import shutil

import pytest
import torch
import yaml
from pytorch_lightning import Callback, Trainer

from tests.tiny import tiny
from wsss_zoo import Shapes, Supervised
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.runs import read_metrics
from wsss_zoo.runs.checkpoints.segmenter import load_segmenter
from wsss_zoo.runs.folder import CHECKPOINT

# Four steps an epoch.
TINY = [*tiny(size=32, train=8), "--trainer.log_every_n_steps", "1"]
CLASSES = "[fox, crane, panda]"


class Groups(Callback):
    """Keeps what the optimiser works with in each step, and the images."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        (optimizer,) = trainer.optimizers
        groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        self.seen.append((trainer.current_epoch, tuple(batch["image_id"]), groups))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSSS_ZOO_RUN_FOLDER", raising=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps, one epoch, on three classes."""
    folder = tmp_path_factory.mktemp("run") / "r"
    fit(folder, "--data.classes", CLASSES, "--trainer.max_steps", "4")
    return folder


def fit(folder, *options, model="Supervised"):
    root = ["--trainer.default_root_dir", str(folder)]
    return ZooCLI(["fit", "--model", model, *TINY, *root, *options])


def resume(run, folder, *options):
    shutil.copytree(run, folder)
    given = ["--config", str(folder / "config.yaml"), "--trainer.default_root_dir", str(folder)]
    callback = ["--trainer.callbacks+", "tests.cli.test_continued_runs.Groups"]
    given += ["--ckpt_path", str(folder / CHECKPOINT), *options, *callback]
    cli = ZooCLI(["fit", *given])
    groups = next(c for c in cli.trainer.callbacks if isinstance(c, Groups))
    return cli, groups.seen


def error_of(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    return said[0]


def test_a_longer_run_goes_on(run, tmp_path, caplog):
    """Epoch 1 begins, with its images, the rates are those of the schedule of eight steps."""
    with caplog.at_level(logging.INFO, "wsss_zoo"):
        cli, seen = resume(run, tmp_path / "r", "--trainer.max_steps", "8")
    assert "falls over 8 steps; in the checkpoint's run over 4" in caplog.text
    assert [epoch for epoch, _, _ in seen] == [1] * 4
    assert sorted(image for _, images, _ in seen for image in images) == sorted(
        cli.datamodule.ids_of("train")
    )
    assert [groups[0]["lr"] for _, _, groups in seen] == pytest.approx(
        [1e-4 * (1 - step / 8) ** 0.9 for step in range(4, 8)]
    )
    rows = read_metrics(tmp_path / "r" / "metrics.csv")
    assert [row["step"] for row in rows if "train/loss" in row] == [*"01234567"]
    assert [row["step"] for row in rows if "val/miou" in row] == ["3", "7"]


def test_a_finished_run_that_is_not_made_longer(run, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "wsss_zoo"):
        resume(run, tmp_path / "r")
    assert "last.ckpt is of step 4, which is the end of the training: nothing was" in caplog.text
    assert read_metrics(tmp_path / "r/metrics.csv") == read_metrics(run / "metrics.csv")


def test_options_of_the_optimiser_count_at_a_resume(run, tmp_path):
    options = "--trainer.max_steps 6 --model.lr 0.5 --model.weight_decay 0.3"
    options += " --model.head_lr_mult 3 --model.optimizer adam"
    _, seen = resume(run, tmp_path / "r", *options.split())
    now = [f * (1 - 4 / 6) ** 0.9 for f in (0.5, 1.5)]
    assert [group["lr"] for group in seen[0][2]] == pytest.approx(now)
    assert {group["weight_decay"] for group in seen[0][2]} == {0.3}
    config = yaml.safe_load((tmp_path / "r/config.yaml").read_text())["model"]["init_args"]
    assert (config["lr"], config["weight_decay"], config["optimizer"]) == (0.5, 0.3, "adam")
    saved = torch.load(tmp_path / "r" / CHECKPOINT, weights_only=True)
    (state,) = saved["optimizer_states"]
    assert not state["param_groups"][0].get("decoupled_weight_decay", False)
    assert saved["lr_schedulers"][0]["base_lrs"] == [0.5, 1.5]


def test_another_kind_of_optimiser_is_refused(run, capsys):
    given = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run / CHECKPOINT)]
    said = error_of(capsys, "fit", *given, "--model.optimizer", "sgd", "--trainer.max_steps", "8")
    assert "has the state of 'adamw', and model.optimizer is 'sgd'; leave out" in said


def test_nesterov_goes_on_with_the_momentum_of_sgd(tmp_path):
    fit(tmp_path / "a", "--trainer.max_steps", "1", "--model.optimizer", "sgd")
    _, seen = resume(
        tmp_path / "a", tmp_path / "b", "--trainer.max_steps=2", "--model.optimizer=nesterov"
    )
    assert all(group["nesterov"] for group in seen[0][2])


def test_weights_alone_cannot_be_resumed(run, tmp_path, capsys):
    path = tmp_path / "part.ckpt"
    content = torch.load(run / CHECKPOINT, weights_only=True)
    torch.save({k: v for k, v in content.items() if k != "optimizer_states"}, path)
    given = ["--config", str(run / "config.yaml"), "--ckpt_path", str(path)]
    assert "has weights only, and no state to resume" in error_of(capsys, "fit", *given)


def test_other_start_weights_are_refused_at_a_resume(run, tmp_path, capsys):
    other = ["--model.init_from", str(run / CHECKPOINT)]
    given = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run / CHECKPOINT)]
    # The run began without; its configuration says so.
    said = error_of(capsys, "fit", *given, *other)
    assert "but a resumed run has the weights of its checkpoint" in said


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_classes_in_another_order(command, run, capsys):
    given = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run / CHECKPOINT)]
    said = error_of(capsys, command, *given, "--data.classes", "[crane, fox, panda]")
    assert "has the classes of the data set in another order: class 1 is fox, in the data " in said
    assert "--data.classes [fox, crane, panda]" in said
    said = error_of(capsys, command, *given, "--data.classes", "[fox, crane, daisy]")
    assert "with other classes: class 3 is panda, in the data set daisy; give" in said
    assert "(background, fox, crane, panda)" in said


def test_classes_of_start_weights_in_another_order(run, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wsss_zoo")
    options = ["--model.init_from", str(run / CHECKPOINT), "--trainer.max_steps", "1"]
    with pytest.raises(ValueError, match=r"init_from .* in another order: class 1 is fox, in the"):
        fit(tmp_path / "r", *options, "--data.classes", "[crane, fox, panda]")
    # A file that is not there, nor read: the start weights have the backbone.
    fit(tmp_path / "r", *options, "--data.classes", CLASSES, "--model.weights", "none.pth")
    assert "model.weights none.pth is left out: model.init_from has the whole" in caplog.text
    config = yaml.safe_load((tmp_path / "r/config.yaml").read_text())
    assert config["model"]["init_args"]["weights"] is None


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_runs_configuration_brings_its_checkpoint(command, run, tmp_path, caplog, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    # A run that was moved: its configuration names the old folder.
    given = [command, "--config", str(copy / "config.yaml")]
    given += ["--trainer.default_root_dir", str(tmp_path / "out")]
    with caplog.at_level(logging.INFO, "wsss_zoo"):
        cli = ZooCLI(given)
    assert f"{command} uses the checkpoint of the run, {copy / CHECKPOINT}" in caplog.text
    trained = torch.load(run / CHECKPOINT, weights_only=True)["state_dict"]
    torch.testing.assert_close(cli.model.state_dict(), trained, rtol=0, atol=0)
    written = "config.yaml"
    config = yaml.safe_load((tmp_path / "out" / written).read_text())
    assert config["ckpt_path"] == str(copy / CHECKPOINT)
    (copy / CHECKPOINT).unlink()
    said = error_of(capsys, *given)
    assert f"is the configuration of a training, but {copy} has no checkpoints/last.ckpt" in said


def test_the_folder_of_a_run_brings_its_checkpoint(run, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    root = ["--trainer.default_root_dir", str(tmp_path / "r"), "--data.classes", CLASSES]
    cli = ZooCLI(["validate", "--model", "Supervised", *TINY, *root])
    assert cli.trainer.ckpt_path == str(tmp_path / "r" / CHECKPOINT)


def test_evaluation_needs_no_start_weights(run, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    start = str(tmp_path / "start.ckpt")
    path = tmp_path / "r/config.yaml"
    path.write_text(path.read_text().replace("init_from: null", f"init_from: {start}"))
    assert start in path.read_text()
    root = ["--trainer.default_root_dir", str(tmp_path / "r")]
    assert main(["validate", "--config", str(path), *root]) == 0


def test_a_plain_checkpoint_of_python_is_loaded(tmp_path):
    """Lightning's own file, with its default callback and without the command line."""
    method = Supervised(7, backbone="test_resnet")
    data = Shapes(num_train=2, image_size=32, crop_size=32, batch_size=2, num_workers=0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(default_root_dir=tmp_path, max_steps=1, accelerator="cpu", **quiet)
    trainer.fit(method, data)
    for name, weights_only in (("whole.ckpt", False), ("weights.ckpt", True)):
        trainer.save_checkpoint(tmp_path / name, weights_only=weights_only)
        loaded = load_segmenter(str(tmp_path / name))
        assert type(loaded.method) is Supervised
        assert loaded.class_names == data.class_names
        assert loaded.names_known
        torch.testing.assert_close(loaded.method.state_dict(), method.state_dict())
    again = Supervised.load_from_checkpoint(tmp_path / "whole.ckpt", weights_only=True)
    assert again.hparams["backbone"] == "test_resnet"
