"""Mean Teacher's step against its formula, and its teacher."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.methods.semi_batches import TINY, quiet, semi_batch
from wsss_zoo import Shapes
from wsss_zoo.functional import sigmoid_rampup
from wsss_zoo.methods import MeanTeacher


def method(step=0, **options):
    torch.manual_seed(0)
    learner = quiet(MeanTeacher(4, TINY, **options), step)
    with torch.no_grad():
        learner.average.network.head.bias += torch.tensor([0.0, 0.5, -0.5, 0.2])
    return learner


@each("step", [0, 5, 10])
def test_strong_student_learns_the_teachers_weak_view(step):
    batch = semi_batch()
    unlabeled, labeled = batch["unlabeled"], batch["labeled"]
    learner = method(step, unlabeled_weight=30.0, rampup_steps=10).eval()
    with torch.no_grad():
        student = learner.network(unlabeled["strong"][:, 0]).softmax(1)
        teacher = learner.average.network(unlabeled["weak"]).softmax(1)
        square = (student - teacher).square().movedim(1, -1)[unlabeled["strong_valid"][:, 0]]
        loss_x = F.cross_entropy(
            learner.network(labeled["image"]), labeled["mask"], ignore_index=255
        )
        loss = learner.training_step(batch, 0)
    weight = 30.0 * sigmoid_rampup(step, 10)
    torch.testing.assert_close(loss, loss_x + weight * square.mean(), rtol=1e-4, atol=1e-6)


def test_row_of_the_cps_paper_counts_labelled_images_too():
    batch = semi_batch()
    unlabeled, labeled = batch["unlabeled"], batch["labeled"]
    learner = method(student_view="weak", teacher_mode="train").eval()
    with torch.no_grad():
        image = torch.cat([labeled["image"], unlabeled["weak"]])
        valid = torch.cat([labeled["mask"] != 255, unlabeled["valid"]])
        logits = learner.network(image)
        square = (logits.softmax(1) - learner.average.network(image).softmax(1)).square()
        loss_x = F.cross_entropy(logits[:2], labeled["mask"], ignore_index=255)
        loss = learner.training_step(batch, 0)
    expected = loss_x + 100 * square.movedim(1, -1)[valid].mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_teacher_gets_no_gradient_and_is_evaluated():
    learner = method()
    learner.training_step(semi_batch(), 0).backward()
    assert all(parameter.grad is None for parameter in learner.average.parameters())
    learner.eval()
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(learner(image), learner.average.network(image))
    assert not torch.equal(method(evaluate="student").eval()(image), learner(image))


@pytest.mark.parametrize(("mode", "moves"), [("eval", False), ("train", True)])
def test_teachers_statistics(mode, moves):
    learner = method(teacher_mode=mode).train()
    before = {name: b.clone() for name, b in learner.average.named_buffers()}
    learner.training_step(semi_batch(), 0)
    after = dict(learner.average.named_buffers())
    assert any(not torch.equal(before[name], after[name]) for name in before) == moves


def test_teacher_follows_each_optimiser_step(trainer):
    data = Shapes(
        supervision="semi",
        num_train=8,
        num_val=2,
        image_size=64,
        crop_size=64,
        batch_size=2,
        labeled_split=0.5,
        num_workers=0,
    )
    learner = MeanTeacher(7, TINY, ema_decay=0.9)
    average, networks = learner.average, []
    update = average.update
    average.update = lambda network, step: (networks.append(step), update(network, step))
    trainer(max_steps=4, accumulate_grad_batches=2, max_epochs=4).fit(learner, datamodule=data)
    assert networks == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["student_view", "teacher_mode", "evaluate"])
def test_bad_choices(name):
    with pytest.raises(ValueError, match=f"{name} is 'both'"):
        MeanTeacher(4, TINY, **{name: "both"})
