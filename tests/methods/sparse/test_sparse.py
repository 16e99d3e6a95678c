"""Sparse's step against the losses written out image by image."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo import functional
from wsss_zoo.data import Shapes
from wsss_zoo.functional import draw_cutmix_boxes
from wsss_zoo.methods import Sparse, Supervised

TINY = "test_efficientnet"
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(**options):
    torch.manual_seed(0)
    learner = Sparse(4, TINY, conf_thresh=0.26, **options)
    learner.logged = {}
    learner.log = lambda name, value, **_: learner.logged.update({name: value})
    learner.log_dict = learner.logged.update
    return learner


@pytest.fixture
def labels():
    """A scribbled image, one with a full mask and one without any label, with padding."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.full((3, 64, 64), 255)
    mask[0, 5:9, 10:50] = 2
    mask[1] = torch.randint(0, 4, (64, 64), generator=generator)
    mask[1, :5] = 255
    valid = torch.ones(3, 64, 64, dtype=torch.bool)
    valid[2, :, 50:] = False
    strong_valid = valid.clone()
    strong_valid[1:, 30:40] = False
    possible = torch.ones(3, 4, 1, 1, dtype=torch.bool)
    possible[2, 1] = False
    image = torch.rand(3, 3, 64, 64, generator=generator)
    strong = torch.rand(3, 1, 3, 64, 64, generator=generator)
    return {
        "image": image,
        "mask": mask,
        "valid": valid,
        "possible": possible,
        "strong": strong,
        "strong_valid": strong_valid[:, None],
        "image_id": ["a", "b", "c"],
    }


def naive(learner, batch, box=None, reduction="image"):
    """L_partial, L_absent / 10 and L_u, image by image, in the order of the definition."""
    with torch.no_grad():
        teacher = learner.average(batch["image"])
        teacher = teacher.masked_fill(~batch["possible"], -torch.inf)
        confidence, label = teacher.softmax(1).max(1)
        # The last image has no label: its strong view teaches.
        view = torch.cat([batch["image"][:2], batch["strong"][2:, 0]])
        seen = torch.cat([batch["valid"][:2], batch["strong_valid"][2:, 0]])
        mask, possible = batch["mask"], batch["possible"].expand(-1, -1, 64, 64)
        if box is not None:

            def mix(x):
                return torch.where(box if x.ndim == 3 else box[:, None], x.roll(1, 0), x)

            view, seen, mask, possible = map(mix, (view, seen, mask, possible))
            label, confidence = map(mix, (label, confidence))
        logits = learner.network(view)
    partial, absent, taught, unknowns = [], [], [], 0
    for n in range(3):
        scores, known = logits[n].flatten(1).T, seen[n] & (mask[n] != 255)
        unknown = (seen[n] & (mask[n] == 255)).flatten()
        nll = F.cross_entropy(scores, mask[n].flatten(), ignore_index=255, reduction="none")
        if known.any():
            partial.append(nll[known.flatten()])
        allowed = possible[n].flatten(1).T
        counted = unknown & ~allowed.all(1)
        probs = scores.softmax(1)
        absent.append(-(probs * allowed).sum(1)[counted].log())
        sure = unknown & (confidence[n] >= 0.26).flatten()
        taught.append(F.cross_entropy(scores, label[n].flatten(), reduction="none")[sure])
        unknowns += unknown.sum()
    first = torch.stack([x.mean() for x in partial]).mean()
    if reduction == "pixel":
        first = torch.cat(partial).mean()
    return first + torch.cat(absent).mean() / 10 + torch.cat(taught).sum() / unknowns


@each(("reduction", "mixed"), [("image", False), ("pixel", False), ("image", True)])
def test_step_equals_the_loop(labels, reduction, mixed):
    learner = method(reduction=reduction, cutmix_prob=float(mixed)).eval()
    with torch.no_grad():
        learner.average.network.head.bias += torch.tensor([0.0, 0.2, 0.0, 0.1])
    torch.manual_seed(3)
    box = draw_cutmix_boxes(3, (64, 64), 1.0) if mixed else None
    expected = naive(learner, labels, box, reduction)
    torch.manual_seed(3)
    loss = learner.training_step(labels, 0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert learner.logged["train/loss"] == loss
    assert 0 < learner.logged["train/mask_ratio"] <= 1


def test_terms_are_those_of_the_functions(labels):
    learner = method(
        teacher=False, absent_weight=0.0, crf_weight=2.0, crf_start=0.0, mixture_weight=3.0
    ).eval()
    assert learner.average is None
    features = learner.network.decoder(learner.network.features(labels["image"]))
    cells = learner.network.head(features)
    logits = learner.network(labels["image"])
    mask, valid, image = labels["mask"], labels["valid"], labels["image"]
    expected = (
        functional.partial_cross_entropy(logits, mask)
        + 2 * functional.gated_crf_loss(cells.softmax(1), image, valid)
        + 3 * functional.gaussian_mixture_loss(logits, features, mask, valid)
    )
    torch.testing.assert_close(learner.training_step(labels, 0), expected)


def test_full_masks_by_pixel_equal_supervised(labels):
    learner = method(teacher=False, absent_weight=0.0, reduction="pixel")
    torch.manual_seed(0)
    plain = Supervised(4, TINY)
    plain.load_state_dict(learner.state_dict())
    plain.log = lambda *_, **__: None
    labels["mask"] = labels["mask"][1:2].expand(3, -1, -1)
    labels["valid"] = torch.ones_like(labels["valid"])
    losses = []
    for each_method in (learner, plain):
        torch.manual_seed(9)
        losses.append(each_method.training_step(labels, 0))
    torch.testing.assert_close(*losses)


def test_no_label_is_no_loss(labels):
    learner = method(teacher=False, crf_weight=1.0, crf_start=0.0, mixture_weight=1.0)
    labels["mask"][:] = 255
    labels["possible"][:] = True
    learner.hparams["crf_weight"] = 0.0
    loss = learner.training_step(labels, 0)
    assert loss == 0
    loss.backward()
    assert not any(p.grad.any() for p in learner.parameters() if p.grad is not None)


def test_the_crf_begins_late(trainer, labels):
    learner = Sparse(4, TINY, crf_weight=1.0, crf_start=0.5, absent_weight=0.0)
    steps = []
    learner.log = lambda *_, **__: None
    learner.log_dict = lambda values, **_: steps.append(set(values))
    loader = torch.utils.data.DataLoader([labels] * 4, batch_size=None)
    trainer(max_steps=4).fit(learner, loader)
    begun = ["train/loss_crf" in names for names in steps if "train/loss_labeled" in names]
    assert begun == [False, False, True, True]


def test_loss_falls_on_eight_images(trainer):
    data = Shapes(
        num_train=8, image_size=64, crop_size=64, batch_size=4, num_workers=0, val_split=None,
        supervision="sparse",
    )  # fmt: skip
    torch.manual_seed(0)
    learner = Sparse(7, TINY, lr=3e-3, head_lr_mult=1, conf_thresh=0.5)
    losses = []
    learner.log = lambda *_, **__: None
    learner.log_dict = lambda values, **_: losses.append(values.get("train/loss_labeled"))
    trainer(max_steps=40).fit(learner, datamodule=data)
    losses = [float(value) for value in losses if value is not None]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_views_that_are_missing(trainer):
    data = Shapes(
        num_train=4, image_size=64, crop_size=64, batch_size=2, num_workers=0, val_split=None,
        supervision="sparse", strong_views=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"Sparse needs 1 strong views .* draws 0; set data"):
        trainer(max_steps=1).fit(Sparse(7, TINY), datamodule=data)
    trainer(max_steps=1).fit(Sparse(7, TINY, teacher=False), datamodule=data)


def test_terms_of_cells_need_crops_of_whole_cells(trainer):
    data = Shapes(
        image_size=64, crop_size=40, num_train=2, num_val=1, num_workers=0, supervision="sparse"
    )
    learner = Sparse(7, TINY, tree_weight=0.4)
    with pytest.raises(ValueError, match=r"stride 16, but data.crop_size is 40; take 32"):
        trainer(max_steps=1).fit(learner, datamodule=data)


@each(
    ("options", "message"),
    [
        ({"conf_thresh": 2.0}, "conf_thresh is 2.0; give"),
        ({"crf_start": -1.0}, "crf_start is -1.0; give"),
        ({"absent_weight": -1.0}, "absent_weight is -1.0; give 0"),
        ({"tree_weight": -1.0}, "tree_weight is -1.0; give 0"),
        ({"reduction": "sum"}, "reduction is 'sum'; give 'image' or 'pixel'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Sparse(4, TINY, **options)
