"""Co-attention: losses of both variants, views, references, maps, resume, autocast, fake CUDA."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.each import each
from wsss_zoo import CoAttention, Shapes
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.files.pseudo_labels import read_manifest
from wsss_zoo.functional import (
    class_activation_map,
    co_attention,
    co_attention_loss,
    contrastive_features,
    merge_co_attention_views,
)
from wsss_zoo.methods.tags.references import References
from wsss_zoo.modules import rescale

TINY = "test_efficientnet"

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(**options):
    torch.manual_seed(0)
    result = CoAttention(4, **({"backbone": TINY, "output_stride": 16, "convs": 0} | options))
    result.log = lambda *_, **__: None
    return result.eval()


def pairs(size=64, domains=False):
    generator = torch.Generator().manual_seed(0)

    def side(tags):
        return {
            "image": torch.rand(2, 3, size, size, generator=generator),
            "image_labels": torch.tensor(tags),
            "image_id": ["a", "b"],
        }

    batch = side([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    batch["other"] = side([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    if domains:
        batch["domain"], batch["other"]["domain"] = torch.tensor([0, 2]), torch.tensor([1, 0])
    return batch


def naive_pair(learner, first, second, tags, other_tags, variant):
    """The losses of one pair of images, from two passes of their own."""
    own, common = learner.model.own, learner.model.common
    w_p, w_b = learner.model.attention.w_p[0], learner.model.attention.w_b
    feat_m, feat_n = learner.model.features(first), learner.model.features(second)
    co_m, co_n = co_attention(feat_m, feat_n, w_p)
    only_m = contrastive_features(feat_m, co_m, w_b)
    only_n = contrastive_features(feat_n, co_n, w_b)

    def scores(layer, *maps):
        return tuple(layer(x.mean((2, 3))) for x in maps)

    return co_attention_loss(
        scores(own, feat_m, feat_n),
        scores(common, co_m, co_n),
        scores(common, only_m, only_n),
        tags,
        other_tags,
        variant,
    )


def test_paper_loss_is_that_of_the_pair():
    learner, batch = method(), pairs()
    other = batch["other"]
    assert learner.model.own is learner.model.common
    expected = naive_pair(
        learner,
        batch["image"],
        other["image"],
        batch["image_labels"],
        other["image_labels"],
        "paper",
    )["total"]
    torch.testing.assert_close(learner.training_step(batch, 0), expected)


@pytest.mark.parametrize("epoch", [0, 2])
def test_code_loss_adds_the_self_pairs_and_gates_the_contrast(epoch, monkeypatch):
    learner, batch = method(variant="code"), pairs()
    monkeypatch.setattr(CoAttention, "current_epoch", epoch)
    image, other, tags = batch["image"], batch["other"], batch["image_labels"]
    losses = naive_pair(learner, image, other["image"], tags, other["image_labels"], "code")
    expected = losses["basic"] + losses["common"] + (losses["exclusive"] if epoch == 2 else 0)
    for view in (image.flip(-1), rescale(image, 0.75), rescale(image, 2.0)):
        own = naive_pair(learner, image, view, tags, tags, "code")
        expected = expected + own["basic"] + own["common"]
    torch.testing.assert_close(learner.training_step(batch, 0), expected, rtol=1e-4, atol=1e-5)
    assert learner.model.own.bias is not None
    assert learner.model.common.bias is None


@pytest.mark.parametrize(("variant", "views"), [("paper", 2), ("code", 5)])
def test_each_view_goes_through_the_backbone_once(variant, views):
    learner, seen = method(variant=variant), []
    learner.model.backbone.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    learner.training_step(pairs(), 0)
    assert sum(len(images) for images in seen) == 2 * views
    flat = torch.cat([image.mean((1, 2, 3)) for image in seen])
    # A mirror has the mean of its image; everything else is distinct.
    assert len(flat.mul(1e6).round().unique()) == 2 * views - 2 * (variant == "code")


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_contrast_is_computed_for_the_two_images_alone(variant, monkeypatch):
    learner, seen = method(variant=variant), []
    contrast = learner.model.attention.contrast

    def counted(*maps):
        seen.append(maps)
        return contrast(*maps)

    monkeypatch.setattr(learner.model.attention, "contrast", counted)
    learner.training_step(pairs(), 0)
    assert len(seen) == 2


def test_domains_choose_the_matrix_and_its_orientation():
    learner, batch = method(by_domain=True), pairs(domains=True)
    attention = learner.model.attention
    domains = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 1])
    target, mixed, extra = attention.w_p
    expected = torch.stack([target, mixed, mixed.mT, extra])
    assert torch.equal(attention.affinity(*domains), expected)
    assert torch.equal(attention.affinity(), target)
    learner.training_step(batch, 0).backward()
    # Pairs (0, 1) and (2, 0): only the mixed matrix is used.
    assert [bool(grad.any()) for grad in attention.w_p.grad] == [False, True, False]


def test_pairs_of_different_size_work():
    learner = method()
    feat_m, feat_n = learner.model.features_of([torch.rand(1, 3, 64, 48), torch.rand(1, 3, 32, 80)])
    tags = torch.tensor([[1.0, 0.0, 0.0]])
    assert learner.pair_losses(feat_m, feat_n, tags, tags)["total"].isfinite()


def data(**options):
    settings = {"num_train": 12, "num_val": 2, "image_size": 64, "crop_size": 64, "batch_size": 2}
    return Shapes(supervision="pairs", num_workers=0, **(settings | options))


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_trains_and_writes_maps_of_both_kinds(variant, trainer, tmp_path):
    torch.manual_seed(0)
    module = data()
    learner = CoAttention(module.num_classes, TINY, output_stride=16, convs=1, variant=variant)
    fit = trainer(max_steps=3)
    fit.fit(learner, module)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    found = {}
    for maps in ("single_round", "multi_round"):
        again = CoAttention.load_from_checkpoint(
            tmp_path / "last.ckpt", weights_only=True, maps=maps
        )
        shown = data()
        outputs = trainer().predict(again, datamodule=shown)
        found[maps] = torch.stack([output["cam"][0] for output in outputs])
        assert found[maps].isfinite().all()
        assert 0 <= found[maps].min() <= found[maps].max() <= 1
        for image_id, cam in zip(shown.predict_ids(), found[maps], strict=True):
            absent = torch.from_numpy(shown.image_labels_of(image_id) == 0)
            assert not cam[absent].any()
    assert not torch.equal(*found.values())


def test_multi_round_maps_in_half_precision_throughout(trainer):
    module = data()
    learner = CoAttention(module.num_classes, TINY, output_stride=16, convs=0, references=1)
    output = trainer(precision="bf16-true").predict(learner, datamodule=module)[0]
    assert output["cam"].isfinite().all()


def prepared(options=None, labels=None, images=None):
    """A method with references whose maps are there."""
    learner = method(**(options or {}))
    generator = torch.Generator().manual_seed(1)
    labels = labels or {
        "a": np.array([1, 0, 0]),
        "b": np.array([1, 1, 0]),
        "c": np.array([1, 0, 0]),
        "d": np.array([0, 0, 1]),
    }
    images = {name: torch.rand(1, 3, 48, 64, generator=generator) for name in sorted(labels)}
    learner.localiser.references = References(labels, learner.hparams["references"], 0)
    for name in learner.localiser.references.needed():
        learner.localiser.keep(name, images[name])
    return learner, images


@torch.no_grad()
def test_multi_round_is_the_mean_of_the_maps_from_the_other_images():
    learner, images = prepared({"references": 2})
    maps = learner.localiser(images["a"], torch.tensor([1.0, 0.0, 0.0]), "a")[1]
    features = learner.localiser._pair(images["a"])
    raw = 0
    for name in ("b", "c"):
        other = learner.model.features(images[name]).expand(2, -1, -1, -1)
        gathered = co_attention(features, other, learner.model.attention.w_p[0])[0]
        raw = raw + class_activation_map(gathered, learner.model.common.weight)[:, 0].relu() / 2
    merged = raw[0] + raw[1].flip(-1)
    merged = F.interpolate(merged[None, None], (48, 64), mode="bilinear")[0, 0]
    torch.testing.assert_close(maps[0], merged / (merged.max() + 1e-5))
    assert not maps[1:].any()


@torch.no_grad()
def test_a_class_of_this_image_alone_has_its_single_round_map():
    learner, images = prepared()
    tags = torch.tensor([0.0, 0.0, 1.0])
    maps = learner.localiser(images["d"], tags, "d")[1]
    learner.localiser.references = None
    assert torch.equal(maps, learner.localiser(images["d"], tags, "d")[1])


@torch.no_grad()
def test_five_views_are_merged_in_the_released_order():
    learner, images = prepared({"variant": "code", "references": 2})
    image, tags = images["a"], torch.tensor([1.0, 0.0, 0.0])
    # 48 x 64 is a multiple of 64 in one direction only: images are resized to whole cells.
    maps = learner.localiser(image, tags, "a")[1]
    squashed = F.interpolate(image, (64, 64), mode="bilinear", antialias=True)
    w_p, weight = learner.model.attention.w_p[0], learner.model.common.weight
    features = learner.model.features

    def both(first, second):
        return [
            class_activation_map(gathered, weight)[0, :1]
            for gathered in co_attention(features(first), features(second), w_p)
        ]

    mirror = both(squashed, squashed.flip(-1))
    smaller, larger = (both(squashed, rescale(squashed, scale))[1] for scale in (0.75, 2.0))
    others = [
        F.interpolate(images[name], (64, 64), mode="bilinear", antialias=True)
        for name in learner.localiser.references.of(0, "a")
    ]
    # Raw scores: only their mean is rectified.
    gathered = torch.stack([both(squashed, other)[0] for other in others]).mean(0)
    views = [mirror[0], mirror[1].flip(-1), smaller, larger, gathered]
    expected = merge_co_attention_views(views, (64, 64))
    expected = F.interpolate(expected[None], (48, 64), mode="bilinear")[0]
    torch.testing.assert_close(maps[:1], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_single_round_maps_keep_the_size_in_both_variants():
    """48 x 64 is no whole number of cells of five views, which single-round maps do not have."""
    learner = method(variant="code", maps="single_round")
    image, tags = torch.rand(1, 3, 48, 64), torch.tensor([1.0, 0.0, 0.0])
    maps = learner.localiser(image, tags, "a")[1]
    raw = class_activation_map(learner.localiser._pair(image), learner.model.own.weight)[:, 0]
    raw = raw.relu()
    merged = F.interpolate((raw[0] + raw[1].flip(-1))[None, None], (48, 64), mode="bilinear")[0, 0]
    torch.testing.assert_close(maps[0], merged / (merged.max() + 1e-5))


def test_multi_round_makes_one_pass_per_image_and_per_reference(trainer):
    module = data(num_train=20)
    learner = CoAttention(module.num_classes, TINY, output_stride=16, convs=0, references=2)
    views = []
    network = learner.model.backbone.model
    network.register_forward_hook(lambda _, inputs, __: views.append(len(inputs[0])))
    trainer().predict(learner, datamodule=module)
    images, kept = len(module.predict_ids()), len(learner.localiser.references.needed())
    assert kept <= 3 * module.num_fg_classes
    # An image and its mirror in one pass; of a reference, whatever it is compared with, the image.
    assert len(views) == images + kept
    assert sum(views) == 2 * images + kept
    record = learner.label_settings()["references"]
    assert list(record) == module.fg_names
    assert all(len(ids) <= 3 for ids in record.values())


def test_references_stand_in_the_manifest_and_others_are_refused(trainer, tmp_path):
    def predict(num_train):
        module, writer = data(num_train=num_train, predict_limit=2), PseudoLabelWriter()
        learner = CoAttention(module.num_classes, TINY, output_stride=16, convs=0, references=1)
        learner.load_state_dict(weights.state_dict())
        predicting = trainer(callbacks=[writer])
        predicting.predict(learner, datamodule=module, return_predictions=False)
        return module, learner

    weights = CoAttention(7, TINY, output_stride=16, convs=0)
    module, learner = predict(12)
    options = read_manifest(tmp_path / "pseudo_labels", module.class_names).options
    drawn = learner.localiser.references.ids
    assert options["references"] == dict(zip(module.fg_names, drawn, strict=True))
    # The same images to predict, others to draw references from.
    with pytest.raises(ValueError, match=r"of another run \(options differ\)"):
        predict(30)


def test_images_without_tags_have_empty_maps_and_scores():
    learner = method(maps="single_round")
    scores, maps = learner.localiser(torch.rand(1, 3, 40, 50), torch.zeros(3), "a")
    assert scores.shape == (3,)
    assert not maps.any()


def test_step_with_domains_has_no_host_sync():
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        learner = CoAttention(4, TINY, output_stride=16, convs=1, by_domain=True)
        learner.log = lambda *_, **__: None
        batch = {
            "image": torch.rand(2, 3, 64, 64),
            "image_labels": torch.ones(2, 3),
            "domain": torch.zeros(2, dtype=torch.int64),
        }
        assert learner.training_step({**batch, "other": batch}, 0).device.type == "cuda"


def test_biases_and_drops_of_the_released_recipe():
    learner = method(
        convs=1,
        variant="code",
        optimizer="nesterov",
        lr=1e-3,
        bias_lr_mult=2.0,
        lr_drop_epochs=[5, 10],
    )
    config = learner.configure_optimizers()
    rates = {group["name"]: group["lr"] for group in config["optimizer"].param_groups}
    assert rates == pytest.approx(
        {"backbone": 1e-3, "backbone biases": 2e-3, "head": 1e-2, "head biases": 2e-2}
    )
    assert all(group["nesterov"] for group in config["optimizer"].param_groups)
    for _ in range(5):
        config["optimizer"].step()
        config["lr_scheduler"]["scheduler"].step()
    assert config["optimizer"].param_groups[0]["lr"] == pytest.approx(1e-4)


@each(
    ("options", "message"),
    [
        ({"references": 0}, "references is 0"),
        ({"maps": "rounds"}, "maps is 'rounds'"),
        ({"variant": "soft"}, "variant is 'soft'"),
        ({"affinity": "dot"}, "affinity is 'dot'"),
        ({"convs": -1}, "convs is -1"),
        ({"scales": ()}, r"scales is \[\]"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        method(**options)


def test_no_foreground_class_is_refused():
    with pytest.raises(ValueError, match="num_classes is 1"):
        CoAttention(1, TINY, output_stride=16)


def test_multi_round_without_a_data_module_says_so(trainer, loader):
    with pytest.raises(ValueError, match=r"CoAttention with maps 'multi_round', .*needs a data"):
        trainer().predict(method(), loader(batch_size=1))
