"""UniMatch's step against FixMatch's loss on each of its views."""

import pytest
import torch
import torch.nn.functional as F

from tests.methods.semi_batches import TINY, quiet, semi_batch
from wsss_zoo import Shapes
from wsss_zoo.functional import draw_cutmix_boxes, fixmatch_loss
from wsss_zoo.methods import UniMatch


def method(**options):
    torch.manual_seed(0)
    return quiet(UniMatch(4, TINY, **({"conf_thresh": 0.26} | options)))


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "largefov"])
def test_step_is_the_weighted_sum_of_its_views(architecture):
    batch = semi_batch()
    unlabeled, stride = batch["unlabeled"], 16 if architecture == "deeplabv3plus" else 8
    learner = method(architecture=architecture, output_stride=stride, feature_dropout=0.0).eval()
    torch.manual_seed(4)
    boxes = [draw_cutmix_boxes(3, (64, 64), 0.5) for _ in range(2)]
    with torch.no_grad():
        weak_logits = learner.network(unlabeled["weak"])
        confidence, label = weak_logits.softmax(1).max(1)
        # Nothing is dropped: the perturbed view is the weak one.
        loss_fp = fixmatch_loss(weak_logits, label, confidence, 0.26, unlabeled["valid"])
        strong = []
        for view, box in enumerate(boxes):
            image = unlabeled["strong"][:, view]
            mix = [
                torch.where(box, value.roll(1, 0), value)
                for value in (label, confidence, unlabeled["strong_valid"][:, view])
            ]
            image = torch.where(box[:, None], image.roll(1, 0), image)
            strong.append(fixmatch_loss(learner.network(image), mix[0], mix[1], 0.26, mix[2]))
        labeled = batch["labeled"]
        loss_x = F.cross_entropy(
            learner.network(labeled["image"]), labeled["mask"], ignore_index=255
        )
        torch.manual_seed(4)
        loss = learner.training_step(batch, 0)
    expected = (loss_x + strong[0] / 4 + strong[1] / 4 + loss_fp / 2) / 2
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_half_of_the_channels_that_are_used_are_dropped(monkeypatch):
    seen = []
    learner = method()
    decode = learner.network.decode

    def spy(features, size):
        seen.append(features)
        return decode(features, size)

    monkeypatch.setattr(learner.network, "decode", spy)
    learner.training_step(semi_batch(), 0)
    clean, perturbed = seen[0], seen[1]
    for place, (before, after) in enumerate(zip(clean, perturbed, strict=True)):
        before, dropped = before[2:], (after == 0).flatten(2).all(2)
        if place not in learner.network.decoder.inputs:
            assert torch.equal(before, after)
            continue
        kept = ~dropped[..., None, None]
        torch.testing.assert_close(after, before * 2 * kept)
        assert dropped.float().mean() == pytest.approx(0.5, abs=0.2)


def test_needs_two_strong_views(trainer):
    data = Shapes(
        supervision="semi",
        num_train=8,
        image_size=64,
        crop_size=64,
        labeled_split=0.5,
        num_workers=0,
    )
    with pytest.raises(
        ValueError, match=r"UniMatch needs 2 strong views.*set data\.strong_views to 2"
    ):
        trainer(max_steps=1).fit(UniMatch(7, TINY), datamodule=data)


def test_feature_dropout_out_of_range():
    with pytest.raises(ValueError, match=r"feature_dropout is 1\.0"):
        method(feature_dropout=1.0)
