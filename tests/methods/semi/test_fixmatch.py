"""FixMatch's step against the loss written out pixel by pixel."""

import pytest
import torch
import torch.nn.functional as F

from tests.methods.semi_batches import TINY, changed, quiet, semi_batch
from wsss_zoo.functional import draw_cutmix_boxes
from wsss_zoo.methods import FixMatch


def method(**options):
    torch.manual_seed(0)
    return quiet(FixMatch(4, TINY, conf_thresh=0.26, **options))


def expected_loss(learner, batch, box, weak_logits, strong_logits, logits):
    """(L_x + L_u) / 2 by loops over images."""
    unlabeled = batch["unlabeled"]
    confidence, label = weak_logits.softmax(1).max(1)
    total, count = 0.0, 0
    for image in range(len(label)):
        other = (image - 1) % len(label)
        for y, x in torch.cartesian_prod(torch.arange(64), torch.arange(64)).tolist():
            source = other if box[image, y, x] else image
            if not unlabeled["strong_valid"][source, 0, y, x]:
                continue
            count += 1
            if confidence[source, y, x] >= 0.26:
                scores = strong_logits[image, :, y, x]
                total += torch.logsumexp(scores, 0) - scores[label[source, y, x]]
    loss_x = F.cross_entropy(logits, batch["labeled"]["mask"], ignore_index=255)
    return (loss_x + total / count) / 2


@pytest.mark.parametrize("labels_from", ["student", "average"])
def test_step_equals_the_loop(labels_from):
    batch = semi_batch(unlabeled=2)
    # In eval mode a batch's images do not see each other, so that each can be run alone.
    learner = method(labels_from=labels_from, cutmix_prob=1.0).eval()
    if learner.average is not None:
        with torch.no_grad():
            learner.average.network.head.bias += torch.tensor([0.0, 0.2, 0.0, 0.1])
    torch.manual_seed(5)
    box = draw_cutmix_boxes(2, (64, 64), 1.0)
    strong = batch["unlabeled"]["strong"][:, 0]
    mixed = torch.where(box[:, None], strong.roll(1, 0), strong)
    with torch.no_grad():
        teacher = learner.average if learner.average is not None else learner.network
        expected = expected_loss(
            learner,
            batch,
            box,
            teacher(batch["unlabeled"]["weak"]),
            learner.network(mixed),
            learner.network(batch["labeled"]["image"]),
        )
        torch.manual_seed(5)
        loss = learner.training_step(batch, 0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert learner.logged["train/loss"] == loss


def test_no_gradient_goes_through_the_weak_view():
    batch = semi_batch()
    weak = batch["unlabeled"]["weak"].requires_grad_()
    # Batch statistics of the decoder tie labelled and weak images together; frozen ones do not.
    for learner, tied in ((method(cutmix_prob=0.0), True), (method(cutmix_prob=0.0).eval(), False)):
        weak.grad = None
        learner.training_step(batch, 0).backward()
        assert (weak.grad is not None and bool(weak.grad.any())) is tied


def test_without_a_confident_pixel_only_labelled_images_teach():
    batch = semi_batch()
    torch.manual_seed(0)
    learner = quiet(FixMatch(4, TINY, conf_thresh=1.0)).eval()
    loss = learner.training_step(batch, 0)
    alone = F.cross_entropy(
        learner.network(batch["labeled"]["image"]), batch["labeled"]["mask"], ignore_index=255
    )
    torch.testing.assert_close(loss, alone / 2)
    assert learner.logged["train/loss_unlabeled"] == 0
    assert learner.logged["train/mask_ratio"] == 0


def test_a_single_unlabelled_image_is_mixed_with_itself():
    batch = semi_batch(unlabeled=1)
    learner = method(cutmix_prob=1.0).eval()
    torch.manual_seed(2)
    mixed = learner.training_step(batch, 0)
    learner.hparams["cutmix_prob"] = 0.0
    torch.manual_seed(2)
    torch.testing.assert_close(mixed, learner.training_step(batch, 0))


def test_weight_of_the_unlabelled_images():
    batch, learner = changed(semi_batch(), audit_mask=None), method().eval()
    torch.manual_seed(1)
    once = learner.training_step(batch, 0)
    learner.hparams["unlabeled_weight"] = 3.0
    torch.manual_seed(1)
    thrice = learner.training_step(batch, 0)
    torch.testing.assert_close(thrice - once, learner.logged["train/loss_unlabeled"])
