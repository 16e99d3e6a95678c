"""What every semi-supervised method must do, whatever its loss is."""

import pytest
import torch

from tests.each import each
from tests.methods.semi_batches import TINY, changed, quiet, semi_batch
from tests.methods.zoo import DILATED
from wsss_zoo.methods import (
    CPS,
    FixMatch,
    MeanTeacher,
    PiModel,
    Supervised,
    TemporalEnsembling,
    UniMatch,
    UniMatchV2,
)
from wsss_zoo.modules import Segmenter

METHODS = {
    "fixmatch": (FixMatch, {"conf_thresh": 0.2}),
    "fixmatch of the average": (FixMatch, {"conf_thresh": 0.2, "labels_from": "average"}),
    "unimatch": (UniMatch, {"conf_thresh": 0.2}),
    "unimatch of the average": (UniMatch, {"conf_thresh": 0.2, "labels_from": "average"}),
    "unimatch v2": (UniMatchV2, DILATED | {"conf_thresh": 0.2}),
    "cps": (CPS, {"cutmix": False}),
    "cps + cutmix": (CPS, {"cutmix": True}),
    "mean teacher": (MeanTeacher, {}),
    "mean teacher of cps": (MeanTeacher, {"student_view": "weak", "teacher_mode": "train"}),
    "pi model": (PiModel, {}),
    "pi model of two strong views": (PiModel, {"views": "two_strong"}),
    "temporal ensembling": (TemporalEnsembling, {"ensemble_size": 8}),
}
ALL = pytest.mark.parametrize("name", METHODS)

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(name, **options):
    torch.manual_seed(0)
    kind, own = METHODS[name]
    return quiet(kind(4, **({"backbone": TINY, "freeze_backbone_bn": True} | own | options)))


def loss_of(learner, batch):
    torch.manual_seed(7)
    return learner.training_step(batch, 0)


@ALL
def test_audit_masks_change_no_loss(name):
    batch = semi_batch(size=32)
    other = changed(batch, audit_mask=3 - batch["unlabeled"]["audit_mask"])
    losses = [loss_of(method(name), b) for b in (batch, other, changed(batch, audit_mask=None))]
    assert losses[0] == losses[1] == losses[2]


@ALL
def test_audit_is_logged_only_when_there_is_one(name):
    learner = method(name)
    loss_of(learner, changed(semi_batch(size=32), audit_mask=None))
    assert "train/pseudo_acc" not in learner.logged
    loss_of(learner, semi_batch(size=32))
    assert 0 <= learner.logged["train/pseudo_acc"] <= 1
    assert 0 <= learner.logged["train/mask_ratio"] <= 1


@ALL
def test_crops_of_padding_alone_teach_nothing_and_give_no_nan(name):
    batch = semi_batch(size=32)
    nothing = torch.zeros_like(batch["unlabeled"]["valid"])
    hidden = changed(
        batch, valid=nothing, strong_valid=torch.zeros_like(batch["unlabeled"]["strong_valid"])
    )
    hidden["labeled"] = batch["labeled"] | {"mask": torch.full_like(batch["labeled"]["mask"], 255)}
    learner = method(name)
    loss = loss_of(learner, hidden)
    loss.backward()
    assert loss == 0
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters() if p.grad is not None)


@ALL
def test_tags_keep_absent_classes_out_of_the_labels(name):
    batch = semi_batch(size=32)
    free, gated = method(name), method(name, gate_by_tags=True)
    for learner in (free, gated):
        # Whatever the networks would say: class 2, which the tags of the first two images rule out.
        with torch.no_grad():
            for module in learner.modules():
                if isinstance(module, Segmenter):
                    module.head.bias[2] += 3
        # What comes of an ensemble is only felt when an image comes again.
        loss_of(learner, batch)
    assert loss_of(free, batch) != loss_of(gated, batch)
    assert torch.isfinite(loss_of(gated, batch))
    with pytest.raises(ValueError, match="gate_by_tags needs image-level tags"):
        loss_of(gated, changed(batch, image_labels=None))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two supervised networks and their checkpoints."""
    torch.manual_seed(3)
    found = []
    for _ in range(2):
        path = tmp_path_factory.mktemp("teacher") / "last.ckpt"
        supervised = Supervised(4, TINY).eval()
        torch.save({"state_dict": supervised.state_dict()}, path)
        found.append((supervised, str(path)))
    return found


@ALL
def test_starts_from_a_supervised_network_and_gives_one_back(name, teachers, tmp_path):
    more = {"partner_init_from": teachers[1][1]} if name.startswith("cps") else {}
    learner = method(name, init_from=teachers[0][1], **more).eval()
    image = torch.rand(1, 3, 40, 56)
    with torch.no_grad():
        assert torch.equal(learner(image), teachers[0][0](image))
        if learner.average is not None:
            assert torch.equal(learner.average(image), teachers[0][0](image))
        if more:
            assert torch.equal(learner.partner(image), teachers[1][0](image))
        torch.save({"state_dict": learner.state_dict()}, tmp_path / "own.ckpt")
        back = Supervised(4, TINY, init_from=str(tmp_path / "own.ckpt")).eval()
        assert torch.equal(back(image), teachers[0][0](image))


@ALL
def test_evaluation_by_the_average(name, tmp_path, trainer):
    learner = method(name, evaluate="average", ema_decay=0.5, lr=0.1)
    assert learner.average is not None
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(0.1)
    learner.eval()
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(learner(image), learner.average.network(image))
    assert not torch.equal(learner(image), learner.network(image))


@each(
    ("options", "message"),
    [
        ({"conf_thresh": 1.5}, "conf_thresh is 1.5"),
        ({"cutmix_prob": -0.1}, "cutmix_prob is -0.1"),
        ({"unlabeled_weight": -1.0}, "unlabeled_weight is -1.0"),
        ({"loss": "dice"}, "loss is 'dice'"),
        ({"evaluate": "teacher"}, "evaluate is 'teacher'"),
        ({"labels_from": "best"}, "labels_from is 'best'"),
        ({"ema_decay": 1.0, "evaluate": "average"}, "decay is 1.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        FixMatch(4, TINY, **options)


def test_absent_classes_leave_images_without_tags_alone():
    learner = method("fixmatch", gate_by_tags=True)
    unlabeled = semi_batch(size=32)["unlabeled"]
    logits = torch.randn(3, 4, 64, 64)
    gated = learner.mask_absent_classes(logits, unlabeled)
    assert torch.equal(gated[2], logits[2])
    assert gated[:2, 2].eq(-torch.inf).all()


def test_log_counts_valid_and_known_pixels_only():
    learner = method("fixmatch")
    label = torch.tensor([[[1, 1, 2, 0]]])
    unlabeled = {
        "valid": torch.tensor([[[True, True, True, False]]]),
        "audit_mask": torch.tensor([[[1, 2, 255, 0]]]),
    }
    learner.log_pseudo_labels(unlabeled, label, torch.tensor([[[True, False, True, True]]]))
    assert learner.logged["train/mask_ratio"] == pytest.approx(2 / 3)
    assert learner.logged["train/pseudo_acc"] == pytest.approx(1 / 2)
    assert learner.logged["train/pseudo_acc_kept"] == 1
