"""Supervised: learns, resumes, ignores 255, runs in half precision and on a (fake) GPU."""

import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.functional import confusion_matrix, mean_iou, ohem_cross_entropy
from wsss_zoo.methods import Supervised
from wsss_zoo.modules import Evaluation

TINY = "test_efficientnet"

# Lightning's hints on loaders: these tests have no workers and mostly no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(**options):
    torch.manual_seed(0)
    result = Supervised(4, **({"backbone": TINY} | options))
    result.log = lambda *_, **__: None
    return result


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "largefov"])
def test_learns_two_images_and_predicts_the_same_after_reload(
    architecture, samples, loader, trainer, tmp_path
):
    torch.manual_seed(0)
    steps, lr, stride = (30, 1e-2, 16) if architecture == "deeplabv3plus" else (40, 6e-3, 8)
    learner = Supervised(4, TINY, architecture, lr=lr, head_lr_mult=1, output_stride=stride)
    fit = trainer(max_steps=steps)
    fit.fit(learner, loader(steps))
    outputs = fit.predict(learner, loader(batch_size=1))
    confusion = sum(
        confusion_matrix(output["preds"], sample["mask"][None], 4)
        for output, sample in zip(outputs, samples, strict=True)
    )
    assert mean_iou(confusion) > 0.9
    fit.save_checkpoint(tmp_path / "last.ckpt")
    again = Supervised.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.hparams == learner.hparams
    for output, other in zip(outputs, fit.predict(again, loader(batch_size=1)), strict=True):
        assert torch.equal(output["preds"], other["preds"])
        assert torch.equal(output["confidence"], other["confidence"])


def test_validation_returns_classes_and_prediction_their_probability(batch):
    learner = method().eval()
    with torch.no_grad():
        probs = learner(batch["image"]).softmax(1)
        assert torch.equal(learner.validation_step(batch, 0)["preds"], probs.argmax(1))
        output = learner.predict_step(batch, 0)
    assert torch.equal(output["preds"], probs.argmax(1))
    assert torch.equal(output["confidence"], probs.amax(1))


def test_evaluation_options_reach_the_steps(batch):
    learner = method().eval()
    learner.evaluation = Evaluation(scales=(0.5, 1.0), flip=True)
    with torch.no_grad():
        confidence, preds = learner.evaluation(learner, batch["image"]).max(1)
        assert not torch.equal(learner(batch["image"]).softmax(1).amax(1), confidence)
        assert torch.equal(learner.test_step(batch, 0)["preds"], preds)
        output = learner.predict_step(batch, 0)
    assert torch.equal(output["preds"], preds)
    assert torch.equal(output["confidence"], confidence)


@pytest.mark.parametrize("loss", ["ce", "ohem"])
def test_loss_is_what_it_says(batch, loss):
    learner = method(loss=loss, ohem_thresh=0.3, ohem_min_kept=50).eval()
    logits = learner(batch["image"])
    expected = F.cross_entropy(logits, batch["mask"], ignore_index=255)
    if loss == "ohem":
        expected = ohem_cross_entropy(logits, batch["mask"], 0.3, 50)
    torch.testing.assert_close(learner.training_step(batch, 0), expected)


@pytest.mark.parametrize("loss", ["ce", "ohem"])
def test_batch_of_ignored_pixels_has_loss_zero_and_no_nan(batch, loss):
    learner = method(loss=loss)
    value = learner.training_step(batch | {"mask": torch.full_like(batch["mask"], 255)}, 0)
    value.backward()
    assert value == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in learner.parameters())


def test_ignored_pixels_do_not_count(batch):
    learner = method().eval()
    mask = batch["mask"].clone()
    mask[:, :, :32] = 255
    logits = learner(batch["image"])
    expected = F.cross_entropy(logits[..., 32:], mask[..., 32:], ignore_index=255)
    torch.testing.assert_close(learner.training_step(batch | {"mask": mask}, 0), expected)


def test_unknown_loss():
    with pytest.raises(ValueError, match="loss is 'dice'; give 'ce' or 'ohem'"):
        Supervised(4, TINY, loss="dice")
