"""SimFormer: its sum of losses, what each switch does, the data module's classes, learning."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.methods.masks.test_mask_former import PAIRS, SMALL, data, method, quiet
from tests.methods.weak_shot_batches import weak_shot_batch
from wsss_zoo import SimFormer
from wsss_zoo.functional import class_targets, confusion_matrix, intersection_over_union
from wsss_zoo.methods.proposal_losses import (
    class_loss,
    complementary_losses,
    mask_losses,
    match_layers,
)
from wsss_zoo.methods.weak_shot.pair_losses import distillation_loss, sim_net_loss

WEIGHTS = {"class": 1.0, "mask": 20.0, "dice": 1.0, "comp": 0.2, "pair": 1.0, "distill": 0.5}

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def sim_former(**options):
    learner = quiet(method(SimFormer, **options))
    learner.is_base = torch.tensor([True, True, True, False, False])
    return learner


def joined(batch, name):
    return torch.cat([batch[name], batch["reference"][name]])


@pytest.mark.parametrize("pairing", ["cross_image", "code"])
@each("size", [64, 50])
def test_loss_is_the_weighted_sum_over_images_and_references(size, pairing):
    learner, batch = sim_former(pairing=pairing, distill_kind="ce"), weak_shot_batch(size=size)
    queue = learner.pair_queue.clone()
    torch.manual_seed(1)
    loss = learner.training_step(batch, 0)
    right = 64 - size
    mask = F.pad(joined(batch, "mask"), (0, right, 0, right), value=255)
    valid = F.pad(joined(batch, "valid").float(), (0, right, 0, right)).bool()
    tags = joined(batch, "image_labels")
    proposals = learner.model(joined(batch, "image"))
    targets = class_targets(mask, 5, F.pad(tags, (1, 0)))
    assert not targets.has_mask.all()
    matches = match_layers(proposals, mask, targets)
    focal, dice = mask_losses(proposals.mask_logits, matches, mask, targets)
    comp = complementary_losses(proposals.mask_logits, matches, mask, valid, -2.9444, 5)
    labels, inside = mask[:, ::4, ::4], valid[:, ::4, ::4]
    network, is_base, embeddings = learner.sim_net, learner.is_base, proposals.pixel_embeddings
    torch.manual_seed(1)
    pair, queue = sim_net_loss(network, embeddings.detach(), labels, inside, is_base, queue, 10)
    distill = distillation_loss(network, proposals, labels, tags, is_base, 10, "ce", pairing)
    of_class = class_loss(proposals.class_logits, matches, 0.1)
    expected = of_class + 20 * focal + dice + 0.2 * comp + pair + 0.5 * distill
    torch.testing.assert_close(loss, expected)
    assert torch.equal(learner.pair_queue, queue)
    names = {name.removeprefix("train/loss_"): value for name, value in learner.logged.items()}
    assert set(names) == {*WEIGHTS, "train/loss"}
    torch.testing.assert_close(names["comp"], comp.detach())
    torch.testing.assert_close(names["distill"], distill.detach())


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, set(WEIGHTS)),
        ({"comp_weight": 0.0}, set(WEIGHTS) - {"comp"}),
        ({"distill_weight": 0.0}, set(WEIGHTS) - {"distill"}),
        ({"pair_weight": 0.0, "distill_weight": 0.0}, set(WEIGHTS) - {"pair", "distill"}),
        ({"mask_weight": 0.0}, set(WEIGHTS)),
        ({"dice_weight": 0.0}, set(WEIGHTS)),
    ],
)
def test_a_weight_of_0_switches_a_loss_off(options, left):
    learner = sim_former(**options)
    loss = learner.training_step(weak_shot_batch(), 0)
    found = {name.removeprefix("train/loss_") for name in learner.logged} - {"train/loss"}
    assert found == left
    expected = sum(
        options.get(f"{name}_weight", weight) * learner.logged[f"train/loss_{name}"]
        for name, weight in WEIGHTS.items()
        if name in left
    )
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert (learner.sim_net is None) is ("pair" not in left)
    assert ("pair_queue" in learner.state_dict()) is ("pair" in left)


def test_image_and_reference_take_part_alike():
    learner, batch = sim_former(pair_weight=0.0, distill_weight=0.0), weak_shot_batch()
    reference = batch["reference"]
    swapped = {**reference, "reference": {k: v for k, v in batch.items() if k != "reference"}}
    torch.testing.assert_close(learner.training_step(batch, 0), learner.training_step(swapped, 0))


@pytest.mark.parametrize("kind", ["no base class", "no novel class", "neither", "padding"])
def test_batches_that_lack_something(kind):
    learner, batch = sim_former().train(), weak_shot_batch()
    for side in (batch, batch["reference"]):
        if kind != "no novel class":
            side["mask"] = torch.full_like(side["mask"], 255)
        if kind not in ("no base class", "padding"):
            side["image_labels"] = torch.zeros_like(side["image_labels"])
        if kind == "padding":
            side["valid"] = torch.zeros_like(side["valid"])
    learner.training_step(batch, 0).backward()
    assert all(value.isfinite() for value in learner.logged.values())
    # All have a gradient, as DDP needs it.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())
    idle = {
        "no base class": {"mask", "dice", "pair"},
        "no novel class": {"comp", "distill"},
        "neither": {"mask", "dice", "pair", "comp", "distill"},
        "padding": {"mask", "dice", "pair"},
    }[kind]
    zero = {name for name in WEIGHTS if learner.logged[f"train/loss_{name}"] == 0}
    assert zero == idle


def test_only_the_similarity_network_learns_from_pairs_of_base_pixels():
    weights = {f"{name}_weight": 0.0 for name in ("mask", "dice", "comp", "distill")}
    learner, batch = sim_former(**weights), weak_shot_batch()
    with_pairs, gradients = learner.training_step(batch, 0), {}
    with_pairs.backward()
    gradients = {name: p.grad.clone() for name, p in learner.model.named_parameters()}
    learner.zero_grad()
    learner.hparams["pair_weight"] = 0.0
    learner.training_step(batch, 0).backward()
    for name, parameter in learner.model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name])


def test_novel_classes_come_from_the_data_module(trainer):
    learner = SimFormer(7, **SMALL, **PAIRS)
    module = data(SimFormer)
    trainer(fast_dev_run=True).fit(learner, module)
    named = dict(zip(module.class_names, learner.is_base.tolist(), strict=True))
    assert {name for name, base in named.items() if not base} == {"fox", "crane"}
    assert named["background"]
    assert "is_base" not in learner.state_dict()


def test_without_background_the_first_class_may_be_novel():
    learner = sim_former()
    names = ["wall", "sky", "tree", "door", "road"]
    module = SimpleNamespace(
        class_names=names, novel_classes=["wall"], num_classes=5, background=False
    )
    learner._trainer = SimpleNamespace(datamodule=module)
    learner.setup("fit")
    assert learner.is_base.tolist() == [False, True, True, True, True]
    batch = weak_shot_batch()
    for side in (batch, batch["reference"]):
        mask = side["mask"]
        side["mask"] = torch.where(mask == 0, 255, mask)
        side["image_labels"] = torch.eye(5)[[0, 0]]
    learner.training_step(batch, 0)
    # The tag of class 0 is a target without mask.
    assert learner.logged["train/loss_comp"] > 0
    assert learner.logged["train/loss_distill"] != 0


def test_queue_is_in_the_checkpoint(trainer, tmp_path):
    learner, fit = SimFormer(7, **SMALL, **PAIRS), trainer(max_steps=2, limit_val_batches=0)
    fit.fit(learner, data(SimFormer))
    fit.save_checkpoint(tmp_path / "last.ckpt")
    # Two steps behind the first entry, and no other.
    assert learner.pair_queue.any(1).sum() == 3
    assert learner.pair_queue[-3].tolist() == [1, 1]
    again = SimFormer.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(again.pair_queue, learner.pair_queue)


def test_another_regime_is_refused(trainer):
    with pytest.raises(ValueError, match="weak_shot"):
        trainer(fast_dev_run=True).fit(SimFormer(7, **SMALL), data(SimFormer, supervision="mask"))


@each(
    ("options", "message"),
    [
        ({"distill_kind": "kl"}, "distill_kind is 'kl'; give 'cce', 'ce' or 'b0.5'"),
        ({"pairing": "both"}, "pairing is 'both'; give 'cross_image' or 'code'"),
        ({"pair_points": 4}, "pair_points is 4; give at least 5"),
        ({"pair_weight": 0.0}, r"distill_weight is 0.5 with pair_weight 0.0: the similarity"),
        ({"comp_weight": -1.0}, "comp_weight is -1.0; give 0"),
        ({"grad_clip": -1.0}, "grad_clip is -1.0; give 0"),
        ({"queries": 0}, "queries is 0; give a number >= 1"),
        ({"channels": 12}, "channels is 12; give a multiple of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        method(SimFormer, **options)


def drawn_batch(generator, N=4, size=48):
    """Two boxes per picture, of the colours of two of three classes; the third class is novel."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.2, 0.9], [0.1, 0.9, 0.3]])
    image = 0.4 + 0.2 * torch.rand(N, 3, size, size, generator=generator)
    truth = torch.zeros(N, size, size, dtype=torch.int64)
    for n in range(N):
        for c in torch.randperm(3, generator=generator)[:2].tolist():
            (y, x), (h, w) = (
                torch.randint(*ends, (2,), generator=generator).tolist()
                for ends in ((0, size - 20), (14, 21))
            )
            box = image[n, :, y : y + h, x : x + w]
            box.mul_(0.2).add_(0.8 * colours[c, :, None, None])
            truth[n, y : y + h, x : x + w] = c + 1
    tags = torch.zeros(N, 3)
    tags[:, 2] = (truth == 3).flatten(1).any(1).float()
    valid, mask = torch.ones_like(truth, dtype=torch.bool), truth.where(truth != 3, 255)
    return {"image": image, "mask": mask, "valid": valid, "image_labels": tags, "truth": truth}


def learnt(comp_weight, seed=0):
    """IoU of each class after a hundred steps on drawn pictures, on others."""
    options = {"queries": 8, "channels": 32, "feedforward": 64, "output_stride": 16}
    learner = method(SimFormer, 4, comp_weight=comp_weight, **options)
    learner.is_base[3] = False
    optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(100):
        optimizer.zero_grad()
        batch = drawn_batch(generator) | {"reference": drawn_batch(generator)}
        learner.training_step(batch, 0).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 0.01)
        optimizer.step()
    shown = drawn_batch(torch.Generator().manual_seed(99), 24)
    with torch.no_grad():
        preds = learner.eval()(shown["image"]).argmax(1)
    return intersection_over_union(confusion_matrix(preds, shown["truth"], 4))


@pytest.mark.slow
def test_the_complementary_loss_finds_the_class_that_has_tags_alone():
    """Novel IoU of two seeds: 0.71 and 0.83 with it, 0.11 and 0.00 without."""
    with_it, without = learnt(0.2), learnt(0.0)
    assert with_it[3] > 0.5
    assert without[3] < 0.3
    assert with_it[:3].min() > 0.4
    assert without[:3].min() > 0.4
