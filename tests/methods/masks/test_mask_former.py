"""MaskFormer, and what it shares with SimFormer: clipping, groups, logits, precision, resume."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback

from tests.checkpoints import save_checkpoint, with_opinions
from tests.each import each
from tests.methods.weak_shot_batches import weak_shot_batch
from wsss_zoo import MaskFormer, Shapes, SimFormer
from wsss_zoo.methods.masks import mask_former
from wsss_zoo.methods.proposal_losses import class_loss, mask_losses, match_layers

SMALL = {"backbone": "test_resnet", "queries": 7, "channels": 16, "decoder_layers": 2}
SMALL |= {"feedforward": 24}
PAIRS = {"pair_points": 10}

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)
BOTH = pytest.mark.parametrize("kind", [MaskFormer, SimFormer])


def method(kind=MaskFormer, num_classes=5, **options):
    torch.manual_seed(0)
    own = PAIRS if kind is SimFormer else {}
    result = kind(num_classes, **(SMALL | own | options))
    result.logged = {}
    result.log = lambda name, value, **_: result.logged.update({name: value})
    result.log_dict = lambda values, **_: result.logged.update(values)
    return result.train()


def quiet(learner):
    """Without dropout and with running statistics: the same in every pass."""
    return with_opinions(learner).eval()


def data(kind, **options):
    novel = {"supervision": "weak_shot", "novel_classes": ["fox", "crane"]}
    sizes = {"num_train": 8, "num_val": 2, "image_size": 32, "crop_size": 32, "batch_size": 2}
    regime = novel if kind is SimFormer else {}
    return Shapes(num_workers=0, **(sizes | regime | options))


@each("size", [64, 50])
def test_loss_is_class_and_20_focal_and_dice_of_all_layers(size):
    learner, batch = quiet(method()), weak_shot_batch(size=size)
    loss = learner.training_step(batch, 0)
    proposals = learner.model(batch["image"])
    mask = torch.full((2, 64, 64), 255)
    mask[:, :size, :size] = batch["mask"]
    targets = mask_former.class_targets(mask, 5)
    matches = match_layers(proposals, mask, targets)
    focal, dice = mask_losses(proposals.mask_logits, matches, mask, targets)
    expected = class_loss(proposals.class_logits, matches, 0.1) + 20 * focal + dice
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(learner.logged["train/loss"], expected.detach())
    torch.testing.assert_close(learner.logged["train/loss_mask"], focal.detach())


@pytest.mark.parametrize("weight", ["mask", "dice"])
def test_a_weight_of_0_switches_a_loss_off(weight):
    batch = weak_shot_batch()
    learner = quiet(method(**{f"{weight}_weight": 0.0}))
    loss, logged = learner.training_step(batch, 0), learner.logged
    names = {"mask": 20, "dice": 1} | {weight: 0}
    expected = logged["train/loss_class"]
    for name, factor in names.items():
        expected = expected + factor * logged[f"train/loss_{name}"]
    torch.testing.assert_close(loss.detach(), expected)


def test_masks_of_255_alone_leave_the_class_loss():
    learner, batch = quiet(method()), weak_shot_batch()
    batch["mask"] = torch.full_like(batch["mask"], 255)
    learner.training_step(batch, 0).backward()
    assert learner.logged["train/loss_mask"] == learner.logged["train/loss_dice"] == 0
    assert torch.equal(learner.logged["train/loss"], learner.logged["train/loss_class"])
    # All parameters have a gradient, as DDP needs it.
    assert all(parameter.grad is not None for parameter in learner.parameters())


@BOTH
@torch.no_grad()
def test_logits_have_the_order_of_the_scores(kind):
    learner, image = quiet(method(kind)), weak_shot_batch()["image"][..., :45, :]
    logits, scores = learner(image), learner.model.scores(image)
    assert logits.shape == scores.shape == (2, 5, 45, 64)
    assert torch.equal(logits.argmax(1), scores.argmax(1))
    torch.testing.assert_close(logits.softmax(1), scores / scores.sum(1, keepdim=True))
    for parameter in learner.model.class_head.parameters():
        parameter.zero_()
    learner.model.class_head.bias[-1] = 1e4
    # All queries are sure that there is nothing.
    assert learner(image).isfinite().all()


class Norm(Callback):
    """Norm of all gradients when the step is done."""

    def on_train_batch_end(self, trainer, learner, outputs, batch, batch_idx):
        grads = [p.grad.flatten() for p in learner.parameters() if p.grad is not None]
        self.value = float(torch.cat(grads).norm())


@BOTH
@pytest.mark.parametrize(
    ("options", "own", "expected"),
    [
        ({}, {}, 0.01),
        ({}, {"grad_clip": 0.5}, 0.5),
        ({"gradient_clip_val": 0.2}, {}, 0.2),
        ({}, {"grad_clip": 0.0}, None),
    ],
)
def test_gradients_are_clipped_to_a_hundredth_unless_told_otherwise(
    kind, options, own, expected, trainer
):
    norm = Norm()
    fit = trainer(max_steps=1, limit_val_batches=0, callbacks=[norm], **options)
    learner = kind(7, **(SMALL | own | (PAIRS if kind is SimFormer else {})))
    fit.fit(learner, data(kind))
    if expected is None:
        assert norm.value > 1
    else:
        assert norm.value == pytest.approx(expected, rel=1e-3)


@BOTH
def test_groups(kind):
    learner = method(kind, lr=1e-5, weight_decay=1e-4)
    learner._trainer = SimpleNamespace(estimated_stepping_batches=10)
    optimizer = learner.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found[id(parameter)] = group["lr"], group["weight_decay"]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)
    for name, parameter in learner.named_parameters():
        lr, decay = found[id(parameter)]
        assert lr == pytest.approx(1e-5 if name.startswith("model.backbone") else 1e-4), name
        module = learner.get_submodule(name.rpartition(".")[0])
        free = "Norm" in type(module).__name__ or isinstance(module, torch.nn.Embedding)
        assert decay == (0 if free else 1e-4), name


@BOTH
def test_predicts_at_the_size_of_the_image(kind, trainer):
    learner = kind(7, **SMALL)
    output = trainer().predict(learner, datamodule=data(kind, image_size=45))[0]
    assert output["preds"].shape == output["confidence"].shape == (1, 45, 45)
    assert (output["confidence"] > 0).all()


def test_starts_from_sim_former(tmp_path):
    first = quiet(method(SimFormer))
    path = save_checkpoint(tmp_path / "sim.ckpt", first)
    second = MaskFormer(5, **SMALL, init_from=path).eval()
    image = weak_shot_batch()["image"]
    with torch.no_grad():
        assert torch.equal(second(image), first(image))
    # And back: the similarity network starts afresh.
    path = save_checkpoint(tmp_path / "mask.ckpt", second)
    third = SimFormer(5, **SMALL, init_from=path)
    assert all(
        torch.equal(value, third.model.state_dict()[name])
        for name, value in second.model.state_dict().items()
    )
    assert third.pair_queue.sum() == 2
