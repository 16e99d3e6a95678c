"""Shares of classes among kept pseudo-labels, and the word about a class that dies."""

import logging
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer

from tests.methods.zoo import make_data, make_method
from wsss_zoo.callbacks import KeptClasses
from wsss_zoo.callbacks.training import kept_classes


def run(kept_by_step, mask, callback=None, start=0, batches=1):
    """Feed a callback one step after the other; gives what it logged."""
    logged = []
    data = SimpleNamespace(class_names=["background", "cat", "dog"])
    strategy = SimpleNamespace(reduce=lambda x, **_: x, root_device=torch.device("cpu"))
    trainer = SimpleNamespace(
        global_step=start, strategy=strategy, is_global_zero=True, datamodule=data, training=True
    )
    method = SimpleNamespace(
        log=lambda name, value: logged.append((trainer.global_step, name, value))
    )
    callback = callback or KeptClasses()
    for number, kept in enumerate(kept_by_step, 1):
        trainer.global_step = start + number // batches
        method.kept_counts = torch.tensor(kept)
        callback.on_train_batch_end(trainer, method, None, {"labeled": {"mask": mask}}, 0)
    return callback, trainer, logged


# 12 background, 3 cat, 1 unknown: a share of 0.8 and 0.2; no dog.
MASK = torch.tensor([[[0] * 12 + [1] * 3 + [255]]]).expand(5, 1, 16)


def as_logged(step, **ratios):
    return [(step, f"train/kept_ratio/{name}", pytest.approx(r)) for name, r in ratios.items()]


def test_ratios_are_those_of_the_window(monkeypatch):
    monkeypatch.setattr(kept_classes, "_WINDOW", 2)
    _, _, logged = run([[6, 2, 0], [9, 1, 2], [10, 0, 0]], MASK)
    assert logged == as_logged(2, background=(15 / 20) / 0.8, cat=(3 / 20) / 0.2)


def test_batches_of_a_step_are_looked_at_together(monkeypatch):
    """With accumulated gradients a step lasts for several batches, the first one too."""
    monkeypatch.setattr(kept_classes, "_WINDOW", 1)
    kept = [[6, 2, 0], [9, 1, 2], [10, 0, 0], [4, 0, 0], [8, 8, 0]]
    _, _, logged = run(kept, MASK, batches=2)
    assert logged == [
        *as_logged(1, background=(15 / 20) / 0.8, cat=(3 / 20) / 0.2),
        *as_logged(2, background=1 / 0.8, cat=0.0),
    ]


def test_a_rare_class_is_judged_when_five_crops_have_shown_it(monkeypatch):
    """Over all steps until then, while the background is judged in each."""
    monkeypatch.setattr(kept_classes, "_WINDOW", 1)
    mask = MASK.clone()
    mask[3:][mask[3:] == 1] = 0
    _, _, logged = run([[8, 2, 0], [9, 0, 1], [7, 3, 0]], mask)
    assert [step for step, name, _ in logged if name.endswith("cat")] == [2]
    [cat] = [value for _, name, value in logged if name.endswith("cat")]
    assert cat == pytest.approx((2 / 20) / (9 / 75))
    [*_, background] = [value for _, name, value in logged if name.endswith("background")]
    assert background == pytest.approx((7 / 10) / (66 / 75))


def test_a_class_that_dies_is_named_once(monkeypatch, caplog):
    monkeypatch.setattr(kept_classes, "_WINDOW", 1)
    caplog.set_level(logging.WARNING, "wsss_zoo")
    run([[80, 20, 0], [100, 0, 0], [80, 20, 0], [1000, 1, 0]], MASK)
    [record] = caplog.records
    said = record.getMessage()
    assert said.startswith("class 'cat' dies among the pseudo-labels at step 2: it has 0 % of ")
    assert "and 20 % of the labelled ones; its IoU will fall. Give image tags" in said
    caplog.clear()
    # It never lived: a warm start that does not know it yet.
    run([[100, 0, 0], [1000, 1, 0]], MASK)
    assert caplog.records == []


def test_a_resumed_run_goes_on_with_its_counts(monkeypatch, caplog):
    monkeypatch.setattr(kept_classes, "_WINDOW", 3)
    steps = [[80, 20, 0], [70, 20, 0], [60, 30, 0], [90, 0, 0], [50, 0, 0], [70, 0, 3]]
    whole = run(steps, MASK)[2]
    cut, trainer, logged = run(steps[:4], MASK)
    checkpoint = {}
    cut.on_save_checkpoint(trainer, None, checkpoint)
    resumed = KeptClasses()
    resumed.on_load_checkpoint(trainer, None, checkpoint)
    resumed.on_train_start(trainer, None)
    assert logged + run(steps[4:], MASK, resumed, 4)[2] == whole
    assert "class 'cat' dies" in caplog.text
    # Another training begins afresh.
    resumed.on_train_start(SimpleNamespace(global_step=0), None)
    assert run(steps[:3], MASK, resumed)[2] == whole[:2]


@pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers")
@pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode")
def test_in_a_training(tmp_path, monkeypatch):
    """What FixMatch keeps of each class, from the labels that it logs."""
    monkeypatch.setattr(kept_classes, "_WINDOW", 2)
    monkeypatch.setattr(kept_classes, "_SHOWN", 1)
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=2, default_root_dir=tmp_path, callbacks=[KeptClasses()], **options)
    method, data = make_method("FixMatch", conf_thresh=0.0), make_data("FixMatch", tmp_path)
    labels, masks = [], []
    log, loss = method.log_pseudo_labels, method.supervised_loss

    def note_label(unlabeled, label, kept):
        labels.append(label[unlabeled["valid"]])
        log(unlabeled, label, kept)

    def note_mask(logits, mask):
        masks.append(mask[mask != 255])
        return loss(logits, mask)

    monkeypatch.setattr(method, "log_pseudo_labels", note_label)
    monkeypatch.setattr(method, "supervised_loss", note_mask)
    trainer.fit(method, datamodule=data)
    kept, given = torch.cat(labels), torch.cat(masks)
    for place, name in enumerate(data.class_names):
        key = f"train/kept_ratio/{name}"
        if (given == place).any():
            ratio = (kept == place).double().mean() / (given == place).double().mean()
            assert float(trainer.callback_metrics[key]) == pytest.approx(float(ratio), abs=1e-6)
        else:
            assert key not in trainer.callback_metrics
