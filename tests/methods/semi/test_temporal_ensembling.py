"""Temporal Ensembling against an ensemble kept pixel by pixel, and through kills and resumes."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from torch.utils.data import DataLoader

from tests.each import each
from tests.methods.semi_batches import TINY, changed, quiet, semi_batch
from wsss_zoo import Shapes
from wsss_zoo.methods import TemporalEnsembling

# Lightning's hints on loaders: these tests have no workers and mostly no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(step=0, **options):
    torch.manual_seed(0)
    return quiet(TemporalEnsembling(4, TINY, **({"ensemble_size": 8} | options)), step)


HEIGHT, WIDTH, CELLS, CROP = 24, 48, 6, 32
# Crops of two images, as (image, top, left, crop pixels per image pixel, mirrored).
STEPS = [
    [("a", 0, 0, 2, False), ("b", 4, 10, 2, True)],
    [("a", 8, 5, 2, True), ("b", 0, 16, 1, False)],
    [("b", 2, 14, 2, False), ("a", 6, 3, 4, True)],
    [("a", 0, 7, 1, True), ("b", 8, 20, 4, False)],
]


def crops(places, seed):
    """A batch of crops at integer scales, random pictures; what leaves the image is padding."""
    batch = semi_batch(size=CROP, unlabeled=2, views=1)
    generator = torch.Generator().manual_seed(seed)
    valid = torch.ones(2, CROP, CROP, dtype=torch.bool)
    for n, (_, top, _, scale, _) in enumerate(places):
        valid[n, (HEIGHT - top) * scale :] = False
    return changed(
        batch,
        weak=torch.rand(2, 3, CROP, CROP, generator=generator),
        strong=torch.rand(2, 1, 3, CROP, CROP, generator=generator),
        valid=valid,
        strong_valid=valid[:, None],
        geometry=torch.tensor([[t, x, s, s, f] for _, t, x, s, f in places], dtype=torch.float32),
        image_size=torch.tensor([[HEIGHT, WIDTH]] * 2),
        image_id=[place[0] for place in places],
    )


class ByHand:
    """Every prediction of every cell of every image, in lists."""

    def __init__(self, alpha):
        self.alpha, self.seen = alpha, {}

    def place(self, place, i, j):
        """Where a crop pixel lies in the image, in cells."""
        _, top, left, scale, flip = place
        j = CROP - 1 - j if flip else j
        y, x = top + (i + 0.5) / scale, left + (j + 0.5) / scale
        return y * CELLS / HEIGHT, x * CELLS / WIDTH

    def target(self, image, y, x):
        """Bilinear between the known cells; None if the own cell is not known."""
        total, share = 0.0, 0.0
        if (image, int(y), int(x)) not in self.seen:
            return None
        for row in range(CELLS):
            for column in range(CELLS):
                near = [
                    max(0, 1 - abs(min(max(v - 0.5, 0), CELLS - 1) - c))
                    for v, c in ((y, row), (x, column))
                ]
                past = self.seen.get((image, row, column))
                if past and near[0] * near[1]:
                    weights = [self.alpha ** (len(past) - 1 - k) for k in range(len(past))]
                    mean = np.average(past, axis=0, weights=weights)
                    total, share = total + near[0] * near[1] * mean, share + near[0] * near[1]
        return total / share

    def loss(self, places, probs, valid):
        """Mean squared difference over valid pixels; unknown ones count with 0."""
        total = 0.0
        for n, i, j in valid.nonzero().tolist():
            target = self.target(places[n][0], *self.place(places[n], i, j))
            if target is not None:
                total += float(((probs[n, :, i, j] - target) ** 2).sum())
        return total / (int(valid.sum()) * probs.shape[1])

    def add(self, places, probs, valid):
        for n, place in enumerate(places):
            pixels = {}
            for i, j in valid[n].nonzero().tolist():
                y, x = self.place(place, i, j)
                pixels.setdefault((int(y), int(x)), []).append(probs[n, :, i, j])
            area = place[3] ** 2 * (HEIGHT // CELLS) * (WIDTH // CELLS)
            for cell, values in pixels.items():
                if len(values) >= area / 2:
                    self.seen.setdefault((place[0], *cell), []).append(np.mean(values, axis=0))


@pytest.mark.parametrize("view", ["strong", "weak"])
def test_losses_of_several_steps_are_those_of_an_ensemble_by_hand(view):
    learner = method(view=view, ensemble_size=CELLS, unlabeled_weight=2.0).eval()
    # Sure predictions that change from pixel to pixel, so that differences are large.
    learner.network = torch.nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        learner.network.weight.mul_(10)
    by_hand = ByHand(0.6)
    for number, places in enumerate(STEPS):
        batch = crops(places, number)
        half, labeled = batch["unlabeled"], batch["labeled"]
        image = half["weak"] if view == "weak" else half["strong"][:, 0]
        with torch.no_grad():
            probs = learner(image).softmax(1).numpy()
            supervised = F.cross_entropy(
                learner(labeled["image"]), labeled["mask"], ignore_index=255
            )
        expected = by_hand.loss(places, probs, half["valid"])
        by_hand.add(places, probs, half["valid"])
        loss = learner.training_step(batch, 0).detach()
        assert (expected > 1e-3) == (number > 0)
        assert float(learner.logged["train/loss_unlabeled"]) == pytest.approx(expected, rel=5e-3)
        assert float(loss) == pytest.approx(float(supervised) + 2 * expected, rel=1e-3)
    counts = learner.ensemble.count[:2]
    for row, image_id in enumerate("ab"):
        for y in range(CELLS):
            for x in range(CELLS):
                assert counts[row, y, x] == len(by_hand.seen.get((image_id, y, x), []))
    assert counts.max() > 2
    assert counts.min() == 0


def test_weight_is_zero_at_first_sight_of_a_cell():
    learner = method(gate_by_tags=False)
    batch = semi_batch()
    batch["labeled"]["mask"].fill_(255)
    loss = learner.training_step(batch, 0)
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in learner.parameters() if p.grad is not None)
    assert learner.logged["train/mask_ratio"] == 0
    assert learner.training_step(batch, 0) > 0
    assert learner.logged["train/mask_ratio"] > 0.8


def test_ensemble_is_constant_and_only_the_prediction_has_a_gradient():
    learner = method().eval()
    batch = semi_batch()
    learner.training_step(batch, 0)
    assert not learner.ensemble.z.requires_grad
    learner.training_step(batch, 0).backward()
    assert learner.network.head.weight.grad.abs().max() > 0


def test_bias_of_the_average_is_corrected():
    """The same prediction again and again is its own target, whatever the number of visits."""
    learner, batch = method(ensemble_size=64).eval(), semi_batch(unlabeled=2)
    for _ in range(4):
        learner.training_step(batch, 0)
        assert learner.logged["train/loss_unlabeled"] < 1e-6


def test_padding_and_cutout_neither_count_nor_enter():
    batch = semi_batch()
    hidden = ~batch["unlabeled"]["strong_valid"][:, 0]
    losses, held = [], []
    for noise in (0.0, 1.0):
        learner = method(ensemble_size=64)
        learner.network = torch.nn.Conv2d(3, 4, 1)
        torch.nn.init.constant_(learner.network.weight, 0.5)
        torch.nn.init.constant_(learner.network.bias, 0.1)
        with torch.no_grad():
            learner.network.weight[1] = 2
        strong = batch["unlabeled"]["strong"].clone()
        strong[:, 0][hidden[:, None].expand(3, 3, 64, 64)] = noise
        for shift in (0.0, 0.2):
            moved = changed(batch, strong=strong + shift * ~hidden[:, None, None])
            losses.append(learner.training_step(moved, 0))
        held.append(learner.ensemble)
    assert losses[:2] == losses[2:]
    assert torch.equal(held[0].z, held[1].z)
    padded = held[0].count[0].float()
    assert (padded[:32] == 2).all()
    assert (padded[32:] == 0).all()


def test_tags_gate_what_the_ensemble_takes_over():
    learner, batch = method(gate_by_tags=True).eval(), semi_batch()
    learner.training_step(batch, 0)
    assert (learner.ensemble.z[:2, 2] == 0).all()
    assert (learner.ensemble.z[2, 2][learner.ensemble.count[2] > 0] > 0).all()


def test_labels_that_are_logged_are_the_ensembles():
    learner, batch = method(ensemble_size=64).eval(), semi_batch()
    truth = learner(batch["unlabeled"]["strong"][:, 0]).argmax(1)
    batch = changed(batch, audit_mask=truth)
    learner.training_step(batch, 0)
    other = changed(batch, strong=torch.rand_like(batch["unlabeled"]["strong"]))
    learner.training_step(other, 0)
    assert learner.logged["train/pseudo_acc_kept"] > 0.99


class Kill(Callback):
    """Stops a run after some steps with a checkpoint, as a kill after one would."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def shapes(**options):
    sizes = {"num_train": 12, "num_val": 2, "image_size": 48, "crop_size": 40, "batch_size": 2}
    settings = sizes | {"labeled_split": 0.5, "num_workers": 0, "seed": 0}
    return Shapes(supervision="semi", **(settings | options))


def fit(make, data=None, checkpoint=None, steps=6, callbacks=(), folder=None, **options):
    torch.manual_seed(0)
    settings = {"ensemble_size": 16, "lr": 1e-3, "rampup_steps": 0} | options
    learner = TemporalEnsembling(7, TINY, **settings)
    root = {} if folder is None else {"default_root_dir": folder}
    run = make(max_steps=steps, limit_val_batches=0, callbacks=list(callbacks), **root)
    run.fit(learner, datamodule=data or shapes(), ckpt_path=checkpoint, weights_only=True)
    return learner


def equal(first, second):
    weights = second.state_dict()
    return (
        first.ensemble.image_ids == second.ensemble.image_ids
        and torch.equal(first.ensemble.z, second.ensemble.z)
        and torch.equal(first.ensemble.count, second.ensemble.count)
        and all(torch.equal(value, weights[key]) for key, value in first.state_dict().items())
    )


def as_before(ensemble, **changes):
    """State of an ensemble as earlier versions wrote it."""
    parts = (ensemble.z, ensemble.count)
    packed = torch.cat([part.flatten(1).view(torch.uint8) for part in parts], 1)
    return {"image_ids": ensemble.image_ids, "cells": ensemble.cells, "bytes": packed} | changes


def test_checkpoint_of_an_earlier_version_resumes(trainer, tmp_path):
    last = tmp_path / "last.ckpt"
    whole = fit(trainer)
    fit(trainer, callbacks=[Kill(2, last)])
    checkpoint = torch.load(last, weights_only=True)
    held = TemporalEnsembling(7, TINY, ensemble_size=16).ensemble
    held.load_state_dict(checkpoint["ensemble"], torch.device("cpu"))
    torch.save(checkpoint | {"ensemble": as_before(held)}, last)
    assert equal(whole, fit(trainer, checkpoint=last))


def test_checkpoint_of_an_earlier_version_with_a_file(trainer, tmp_path, caplog):
    last = tmp_path / "last.ckpt"
    fit(trainer, callbacks=[Kill(2, last)])
    checkpoint = torch.load(last, weights_only=True)
    file = "ensemble-00000002-0123456789abcdef.bin"
    checkpoint["ensemble"] = {"image_ids": ["a"], "cells": 16, "file": file}
    torch.save(checkpoint, last)
    with pytest.raises(ValueError, match="which this version does not read; start a new run"):
        fit(trainer, checkpoint=last, ensemble_storage="disk")
    assert "ensemble_storage 'disk' is ignored" in caplog.text


def test_every_unlabelled_image_has_a_row_before_the_first_step(trainer):
    learner = fit(trainer, steps=1)
    assert len(learner.ensemble.image_ids) == len(learner.ensemble.z) == 6
    assert (learner.ensemble.count.amax((1, 2)) > 0).sum() == 2


class Filled(Callback):
    """Looks at the ensemble before the first step."""

    def on_train_batch_start(self, trainer, learner, batch, batch_idx):
        if trainer.global_step == 0:
            self.z, self.count = learner.ensemble.z.clone(), learner.ensemble.count.clone()
            self.training = learner.network.decoder.training


def test_warm_fill_is_a_first_visit_of_every_image(trainer, tmp_path, caplog):
    torch.manual_seed(0)
    start = TemporalEnsembling(7, TINY)
    torch.save({"state_dict": start.state_dict()}, tmp_path / "warm.ckpt")
    data, filled = shapes(), Filled()
    options = {"warm_fill": True, "init_from": str(tmp_path / "warm.ckpt")}
    learner = fit(trainer, data, callbacks=[filled], steps=1, **options)
    assert (filled.count == 1).all()
    assert filled.training
    start.eval()
    for row, image_id in enumerate(learner.ensemble.image_ids):
        image = torch.from_numpy(data.read_image(image_id)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            mean = F.avg_pool2d(start(image).softmax(1), 3)[0]
        torch.testing.assert_close(filled.z[row].float(), 0.4 * mean, atol=1e-3, rtol=0)
    assert "warm_fill without init_from" not in caplog.text
    fit(trainer, steps=1, warm_fill=True)
    assert "warm_fill without init_from: the ensemble begins with a fresh network" in caplog.text


def test_warm_fill_needs_the_data_set(trainer):
    batches = {key: DataLoader([v], batch_size=None) for key, v in semi_batch().items()}
    learner = TemporalEnsembling(4, TINY, warm_fill=True)
    with pytest.raises(ValueError, match="warm_fill needs the data set of unlabelled images"):
        trainer(max_steps=1).fit(learner, batches)


def test_loader_of_the_users_own_needs_no_data_set(trainer):
    batches = {key: DataLoader([v, v], batch_size=None) for key, v in semi_batch().items()}
    learner = TemporalEnsembling(4, TINY, ensemble_size=8)
    trainer(max_steps=2).fit(learner, batches)
    assert learner.ensemble.image_ids == ["u0", "u1", "u2"]
    assert learner.ensemble.count.max() == 2


def test_prediction_does_not_keep_the_ensemble(trainer, tmp_path):
    path = tmp_path / "last.ckpt"
    fit(trainer, callbacks=[Kill(1, path)])
    assert torch.load(path, weights_only=True)["ensemble"]["z"].shape == (6, 7, 16, 16)
    again = TemporalEnsembling(7, TINY)
    trainer().predict(again, datamodule=shapes(predict_limit=1), ckpt_path=path, weights_only=True)
    assert again._resumed is None
    assert again.ensemble.image_ids == []
    TemporalEnsembling.load_from_checkpoint(path, weights_only=True)


class Written(Callback):
    """Writes down what a rank has seen, as its memory is gone with it."""

    def __init__(self, folder):
        self.folder, self.batches = folder, []

    def on_train_batch_end(self, trainer, learner, outputs, batch, batch_idx):
        self.batches.append(batch["unlabeled"])

    def on_train_end(self, trainer, learner):
        state = {"batches": self.batches, "ensemble": learner.ensemble.state_dict()}
        torch.save(state, self.folder / f"{learner.global_rank}.pt")


class Frozen(TemporalEnsembling):
    """Never learns, so that predictions can be made again."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("warm_fill", [False, True])
def test_ranks_keep_one_ensemble_of_the_images_of_all(warm_fill, trainer, tmp_path):
    torch.manual_seed(0)
    learner = Frozen(7, TINY, ensemble_size=16, warm_fill=warm_fill).eval()
    ranks = {"devices": 2, "strategy": "ddp_fork"}
    run = trainer(max_steps=2, limit_val_batches=0, callbacks=[Written(tmp_path)], **ranks)
    # Seven images: in the first fill the last one is on both ranks.
    data = shapes(num_train=14, batch_size=1)
    run.fit(learner, datamodule=data)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    ensembles = [state["ensemble"] for state in states]
    assert ensembles[0]["image_ids"] == ensembles[1]["image_ids"]
    assert all(torch.equal(ensembles[0][key], ensembles[1][key]) for key in ("z", "count"))
    alone = Frozen(7, TINY, ensemble_size=16)
    alone.load_state_dict(learner.state_dict())
    quiet(alone.eval())
    if warm_fill:
        alone.hparams["warm_fill"] = True
        images = SimpleNamespace(ids=ensembles[0]["image_ids"], source=data.source)
        alone.trainer.train_dataloader = {"unlabeled": SimpleNamespace(dataset=images)}
        alone.trainer.global_rank = 0
        alone.trainer.precision_plugin = SimpleNamespace(forward_context=nullcontext)
        alone.on_train_start()
    alone.ensemble.add(ensembles[0]["image_ids"], torch.device("cpu"))
    labeled = {"image": torch.rand(2, 3, 40, 40), "mask": torch.zeros(2, 40, 40).long()}
    for batches in zip(*(state["batches"] for state in states), strict=True):
        assert batches[0]["image_id"] != batches[1]["image_id"]
        for half in batches:
            alone.training_step({"labeled": labeled, "unlabeled": half}, 0)
    held = alone.ensemble.state_dict()
    assert held["image_ids"] == ensembles[0]["image_ids"]
    assert torch.equal(held["count"], ensembles[0]["count"])
    assert held["count"].any()
    torch.testing.assert_close(held["z"], ensembles[0]["z"], atol=1e-3, rtol=0)


@each(
    ("options", "message"),
    [
        ({"view": "both"}, "view is 'both'"),
        ({"ensemble_storage": "tape"}, "ensemble_storage is 'tape'"),
        ({"ensemble_size": 0}, "cells is 0"),
        ({"alpha": 1.0}, r"alpha is 1\.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TemporalEnsembling(4, TINY, **options)
