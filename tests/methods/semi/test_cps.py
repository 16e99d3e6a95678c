"""CPS's step against its formula with and without CutMix."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.methods.semi_batches import TINY, quiet, semi_batch
from wsss_zoo.functional import draw_cutmix_masks
from wsss_zoo.methods import CPS, Supervised


def method(**options):
    torch.manual_seed(0)
    return quiet(CPS(4, TINY, **options))


def supervised(learner, batch):
    image, mask = batch["labeled"]["image"], batch["labeled"]["mask"]
    networks = (learner.network, learner.partner)
    return sum(F.cross_entropy(net(image), mask, ignore_index=255) for net in networks)


def test_plain_step_crosses_labels_on_all_images():
    batch = semi_batch()
    learner = method(cutmix=False, unlabeled_weight=1.5).eval()
    with torch.no_grad():
        image = torch.cat([batch["labeled"]["image"], batch["unlabeled"]["weak"]])
        valid = torch.cat([batch["labeled"]["mask"] != 255, batch["unlabeled"]["valid"]])
        first, second = learner.network(image), learner.partner(image)
        labels = [logits.argmax(1).masked_fill(~valid, 255) for logits in (first, second)]
        cross = F.cross_entropy(first, labels[1], ignore_index=255)
        cross += F.cross_entropy(second, labels[0], ignore_index=255)
        expected = supervised(learner, batch) + 1.5 * cross
        loss = learner.training_step(batch, 0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_cutmix_step_mixes_the_labels_of_the_unmixed_images():
    batch = semi_batch()
    learner = method().eval()
    torch.manual_seed(6)
    region = draw_cutmix_masks(3, (64, 64))
    weak, valid = batch["unlabeled"]["weak"], batch["unlabeled"]["valid"]
    with torch.no_grad():
        mixed = torch.where(region[:, None], weak.roll(1, 0), weak)
        labels = []
        for network in (learner.network, learner.partner):
            logits = network(weak)
            blend = torch.where(region[:, None], logits.roll(1, 0), logits)
            counted = torch.where(region, valid.roll(1, 0), valid)
            labels.append(blend.argmax(1).masked_fill(~counted, 255))
        cross = F.cross_entropy(learner.network(mixed), labels[1], ignore_index=255)
        cross += F.cross_entropy(learner.partner(mixed), labels[0], ignore_index=255)
        torch.manual_seed(6)
        loss = learner.training_step(batch, 0)
    torch.testing.assert_close(loss, supervised(learner, batch) + cross, rtol=1e-4, atol=1e-6)


@each("cutmix", [True, False])
def test_networks_start_differently_and_both_learn(cutmix):
    learner = method(cutmix=cutmix)
    assert not torch.equal(learner.network.head.weight, learner.partner.head.weight)
    learner.training_step(semi_batch(), 0).backward()
    for network in (learner.network, learner.partner):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.head.parameters())


def test_gradients_are_those_of_two_separate_optimisers():
    """Each network's gradient of the sum is that of its own two terms alone."""
    batch = semi_batch()
    learner = method(cutmix=False, unlabeled_weight=1.5).eval()
    learner.training_step(batch, 0).backward()
    image = torch.cat([batch["labeled"]["image"], batch["unlabeled"]["weak"]])
    valid = torch.cat([batch["labeled"]["mask"] != 255, batch["unlabeled"]["valid"]])
    with torch.no_grad():
        label = learner.partner(image).argmax(1).masked_fill(~valid, 255)
    logits = learner.network(image)
    own = F.cross_entropy(logits[:2], batch["labeled"]["mask"], ignore_index=255)
    own += 1.5 * F.cross_entropy(logits, label, ignore_index=255)
    weight = learner.network.head.weight
    alone = torch.autograd.grad(own, weight)[0]
    torch.testing.assert_close(weight.grad, alone, rtol=1e-4, atol=1e-6)


def test_label_passes_leave_their_mark_on_the_running_statistics():
    """The released code labels in train mode too; frozen backbones stay as they are."""
    batch = semi_batch()
    learner = method(freeze_backbone_bn=True).train()
    name = next(n for n, _ in learner.network.decoder.named_buffers() if "num_batches" in n)
    learner.training_step(batch, 0)
    assert int(dict(learner.network.decoder.named_buffers())[name]) == 2
    assert all(
        int(buffer) == 0
        for n, buffer in learner.network.backbone.named_buffers()
        if "num_batches" in n
    )


def test_warm_starts_must_differ(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": Supervised(4, TINY).state_dict()}, path)
    for other in (None, str(path)):
        with pytest.raises(ValueError, match="the two networks must differ"):
            method(init_from=str(path), partner_init_from=other)
