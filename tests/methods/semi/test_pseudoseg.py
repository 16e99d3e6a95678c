"""PseudoSeg: its loss against a naive one, tags, padding, CutOut, bad batches, resume."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import calibrated_fusion, confusion_matrix, grad_cam, mean_iou
from wsss_zoo.methods import PseudoSeg, Supervised

TINY = "test_efficientnet"

# Lightning's hints on loaders: these tests have no workers and mostly no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(**options):
    torch.manual_seed(0)
    result = PseudoSeg(4, **({"backbone": TINY, "attention_dim": 16} | options))
    result.logged = {}
    result.log_dict = result.logged.update
    return result


@pytest.fixture
def semi(batch):
    """Two labelled and two unlabelled crops of 40 x 40, which the network pads to 48 x 48."""
    generator = torch.Generator().manual_seed(0)
    labeled = {k: v[..., 8:48, 12:52] if k in ("image", "mask") else v for k, v in batch.items()}
    weak = labeled["image"].flip(-1)
    valid = torch.ones(2, 40, 40, dtype=torch.bool)
    valid[0, 25:] = False
    strong_valid = valid[:, None].repeat(1, 2, 1, 1)
    strong_valid[:, 0, 5:17, 7:19] = False
    strong = (weak[:, None] + 0.1 * torch.randn(2, 2, 3, 40, 40, generator=generator)).clamp(0, 1)
    unlabeled = {
        "weak": weak,
        "strong": strong,
        "valid": valid,
        "strong_valid": strong_valid,
        "geometry": torch.zeros(2, 5),
        "image_id": ["c", "d"],
        "image_labels": torch.tensor([[1.0, 0, 1], [0, 0, 0]]),
        "has_image_labels": torch.tensor([True, False]),
        "audit_mask": labeled["mask"].flip(-1),
    }
    return {"labeled": labeled, "unlabeled": unlabeled}


def changed(semi, **values):
    """The batch with other values, or without those that are None, in the unlabelled half."""
    unlabeled = semi["unlabeled"] | values
    return semi | {"unlabeled": {k: v for k, v in unlabeled.items() if v is not None}}


def refined(learner, image, tags, visible):
    """Refined Grad-CAMs by gradients of the classifier's scores, on the grid of stride 16."""
    features = [feature.detach() for feature in learner.network.features(image)]
    features[-1].requires_grad_()
    scores = learner.branch.classifier(features[-1].mean((2, 3)))
    tags = torch.where(tags.isnan(), (scores.sigmoid() >= 0.5).float(), tags)
    cams = []
    for c in range(3):
        gradient = torch.autograd.grad(scores[:, c].sum(), features[-1], retain_graph=True)[0]
        cam = grad_cam(features[-1].detach(), gradient) * tags[:, c, None, None]
        cams.append(cam / cam.amax((1, 2), keepdim=True).clamp_min(1e-5))
    visible = F.pad(visible, (0, 8, 0, 8))[:, ::16, ::16]
    return learner.branch.refinement(features[-2:], torch.stack(cams, 1), visible), scores


def naive_loss(learner, semi, *, tags, soft=True, thresh=0.0, labeled_tags=None):
    """The loss in eval mode: each kind of image for itself, pixels one by one.

    Args:
        tags: Tags (2, 3) of the unlabelled images as they are used; NaN where they are predicted.
    """
    labeled, unlabeled = semi["labeled"], semi["unlabeled"]
    network, mask = learner.network, labeled["mask"]
    image_labels = labeled["image_labels"] if labeled_tags is None else labeled_tags
    loss_seg = F.cross_entropy(network(labeled["image"]), mask, ignore_index=255)
    sgc, scores = refined(learner, labeled["image"], image_labels, mask != 255)
    sgc = F.interpolate(sgc, (48, 48), mode="bilinear")[..., :40, :40]
    loss_sa = F.cross_entropy(sgc, mask, ignore_index=255)
    sgc, weak_scores = refined(learner, unlabeled["weak"], tags, unlabeled["valid"])
    known = ~tags.isnan().any(1)
    loss_cls = F.binary_cross_entropy_with_logits(
        torch.cat([scores, weak_scores[known]]), torch.cat([image_labels, tags[known]])
    )
    decoder = network.head(network.decoder(network.features(unlabeled["weak"])))
    sgc = F.interpolate(sgc, (12, 12), mode="bilinear")
    probs = calibrated_fusion(decoder, sgc, 0.5 if soft else 1.0)
    total, count = 0.0, 0
    for v in range(unlabeled["strong"].shape[1]):
        strong = network.head(network.decoder(network.features(unlabeled["strong"][:, v])))
        for m in range(2):
            for y in range(10):
                for x in range(10):
                    count += int(unlabeled["strong_valid"][m, v, 4 * y, 4 * x])
                    q, z = probs[m, :, y, x], strong[m, :, y, x].log_softmax(0)
                    if not unlabeled["strong_valid"][m, v, 4 * y, 4 * x] or q.max() < thresh:
                        continue
                    total -= (q * z).sum() if soft else z[q.argmax()]
    return loss_seg + learner.hparams["unlabeled_weight"] * total / count + loss_cls + loss_sa


@pytest.mark.parametrize("label", ["soft", "hard"])
@each("thresh", [0.0, 0.55])
def test_loss_is_the_sum_of_four(semi, label, thresh):
    learner = method(label=label, conf_thresh=thresh, unlabeled_weight=0.7).eval()
    tags = torch.tensor([[1.0, 0, 1], [torch.nan] * 3])
    expected = naive_loss(learner, semi, tags=tags, soft=label == "soft", thresh=thresh)
    torch.testing.assert_close(learner.training_step(semi, 0), expected)


def test_gradients_are_those_of_the_naive_loss(semi):
    learner = method().eval()
    tags = torch.tensor([[1.0, 0, 1], [torch.nan] * 3])
    other = copy.deepcopy(learner)
    learner.training_step(semi, 0).backward()
    # There the classifier's loss of labelled and weak images stops at the features.
    naive_loss(other, semi, tags=tags).backward()
    for name, value in learner.named_parameters():
        if name.startswith(("branch.", "network.head")):
            expected = dict(other.named_parameters())[name].grad
            torch.testing.assert_close(value.grad, expected, rtol=1e-3, atol=1e-6)


@each("options", [{"use_tags": False}, {}])
def test_without_tags_the_classifier_predicts_them(semi, options):
    learner = method(**options).eval()
    # Some classes on, some off.
    torch.nn.init.normal_(learner.branch.classifier.weight)
    given = semi if options else changed(semi, image_labels=None, has_image_labels=None)
    expected = naive_loss(learner, semi, tags=torch.full((2, 3), torch.nan))
    torch.testing.assert_close(learner.training_step(given, 0), expected)


def test_labelled_images_without_tags_take_those_of_the_cropped_mask(semi):
    learner = method().eval()
    labeled = {k: v for k, v in semi["labeled"].items() if k != "image_labels"}
    shown = torch.tensor(
        [[float((mask == c).any()) for c in (1, 2, 3)] for mask in labeled["mask"]]
    )
    tags = torch.tensor([[1.0, 0, 1], [torch.nan] * 3])
    expected = naive_loss(learner, semi, tags=tags, labeled_tags=shown)
    torch.testing.assert_close(learner.training_step(semi | {"labeled": labeled}, 0), expected)


def test_cutout_and_padding_of_the_strong_view_do_not_count(semi):
    learner = method().eval()
    loss = learner.training_step(semi, 0)
    strong_valid = semi["unlabeled"]["strong_valid"].clone()
    strong_valid[:, 0, 5:17, 7:19] = True
    strong_valid[0, :, 25:] = False
    assert learner.training_step(changed(semi, strong_valid=strong_valid), 0) != loss


def test_gating_by_tags_rules_classes_out_of_the_label(semi):
    learner, seen = method(gate_by_tags=True).eval(), []
    learner._consistency_loss = lambda probs, _: (seen.append(probs), probs.sum())[1]
    learner.training_step(semi, 0)
    probs = seen[0]
    assert probs[0, 2].max() == 0
    assert probs[1].amin((1, 2)).min() > 0
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 12, 12))
    plain = method().eval()
    plain._consistency_loss = learner._consistency_loss
    plain.training_step(semi, 0)
    expected = seen[1][0, [0, 1, 3]]
    expected[1:] *= (1 - expected[0]) / expected[1:].sum(0)
    torch.testing.assert_close(probs[0, [0, 1, 3]], expected)
    torch.testing.assert_close(probs[1], seen[1][1])


def test_labels_are_logged_at_the_size_of_the_crop_and_the_audit_changes_no_loss(semi):
    learner = method(conf_thresh=0.5).eval()
    loss = learner.training_step(semi, 0)
    assert {"train/mask_ratio", "train/pseudo_acc", "train/pseudo_acc_kept"} <= set(learner.logged)
    assert 0 < learner.logged["train/mask_ratio"] <= 1
    assert learner.training_step(changed(semi, audit_mask=None), 0) == loss


def test_no_confident_pixel_has_no_unlabelled_loss(semi):
    learner = method(conf_thresh=1.0)
    learner.training_step(semi, 0).backward()
    assert learner.logged["train/loss_unlabeled"] == 0
    assert learner.logged["train/mask_ratio"] == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in learner.parameters())


@pytest.mark.parametrize("label", ["soft", "hard"])
def test_crops_of_padding_and_masks_of_255_are_finite(semi, label):
    learner = method(label=label, gate_by_tags=True)
    nothing = torch.zeros_like(semi["unlabeled"]["valid"])
    mean = torch.tensor(learner.image_mean)[:, None, None]
    bad = changed(
        semi,
        weak=mean.expand(2, 3, 40, 40),
        strong=mean.expand(2, 2, 3, 40, 40),
        valid=nothing,
        strong_valid=nothing[:, None].repeat(1, 2, 1, 1),
    )
    labeled = semi["labeled"] | {"mask": torch.full((2, 40, 40), 255)}
    value = learner.training_step(bad | {"labeled": labeled}, 0)
    value.backward()
    assert torch.isfinite(value)
    for name in ("labeled", "unlabeled", "refinement"):
        assert learner.logged[f"train/loss_{name}"] == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in learner.parameters())


def test_dropout_in_training_is_that_of_the_maps(semi):
    learner = method().train()
    losses = set()
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.add(learner.training_step(semi, 0).item())
    # Batch statistics do not remember, dropout follows the seed.
    assert len(losses) == 2


class SemiLoader(torch.utils.data.Dataset):
    def __init__(self, samples, steps):
        batch = torch.utils.data.default_collate(samples)
        valid = torch.ones(2, 64, 64, dtype=torch.bool)
        unlabeled = {
            "weak": batch["image"],
            "strong": batch["image"][:, None] * 0.8,
            "valid": valid,
            "strong_valid": valid[:, None],
        }
        self.batch, self.steps = {"labeled": batch, "unlabeled": unlabeled}, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batch


def semi_loader(samples, steps):
    return torch.utils.data.DataLoader(SemiLoader(samples, steps), batch_size=None)


@pytest.mark.slow
def test_learns_and_predicts_the_same_after_reload(samples, loader, trainer, tmp_path):
    torch.manual_seed(0)
    learner = PseudoSeg(4, TINY, lr=8e-3, head_lr_mult=1, evaluate="average", ema_decay=0.8)
    fit = trainer(max_steps=40)
    fit.fit(learner, semi_loader(samples, 40))
    outputs = fit.predict(learner, loader(batch_size=1))
    confusion = sum(
        confusion_matrix(output["preds"], sample["mask"][None], 4)
        for output, sample in zip(outputs, samples, strict=True)
    )
    assert mean_iou(confusion) > 0.9
    fit.save_checkpoint(tmp_path / "last.ckpt")
    again = PseudoSeg.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.hparams == learner.hparams
    for output, other in zip(outputs, fit.predict(again, loader(batch_size=1)), strict=True):
        assert torch.equal(output["preds"], other["preds"])
        assert torch.equal(output["confidence"], other["confidence"])


def test_starts_from_a_supervised_checkpoint_with_fresh_heads(samples, trainer, tmp_path, caplog):
    supervised = Supervised(4, TINY)
    fit = trainer()
    fit.strategy.connect(supervised)
    fit.save_checkpoint(tmp_path / "warm.ckpt", weights_only=True)
    learner = PseudoSeg(4, TINY, init_from=str(tmp_path / "warm.ckpt"))
    assert "tensors start afresh: branch." in caplog.text
    for name, value in supervised.network.state_dict().items():
        assert torch.equal(learner.network.state_dict()[name], value)


def test_the_refinement_has_no_weight_decay():
    learner = method()
    groups = {group["name"]: group for group in learner.parameter_groups()}
    assert set(map(id, groups["head refinement"]["params"])) == set(
        map(id, learner.branch.refinement.parameters())
    )
    assert groups["head refinement"]["weight_decay"] == 0
    assert groups["head refinement"]["lr"] == groups["head"]["lr"] == 10 * groups["backbone"]["lr"]
    listed = [id(value) for group in groups.values() for value in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in learner.parameters())


@each(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1; maps need background and a class"),
        ({"label": "mixed"}, "label is 'mixed'; give 'soft' or 'hard'"),
        ({"temperature": 0.0}, "temperature is 0.0; give a positive number"),
        ({"conf_thresh": 1.5}, "conf_thresh is 1.5"),
        ({"unlabeled_weight": -1.0}, "unlabeled_weight is -1.0"),
        ({"evaluate": "teacher"}, "evaluate is 'teacher'"),
        ({"gate_by_tags": True, "use_tags": False}, "gate_by_tags needs the tags that use_tags"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        PseudoSeg(**({"num_classes": 4, "backbone": TINY} | options))


def test_gating_without_any_tags(semi):
    with pytest.raises(ValueError, match="gate_by_tags needs image-level tags"):
        method(gate_by_tags=True).training_step(
            changed(semi, image_labels=None, has_image_labels=None), 0
        )
