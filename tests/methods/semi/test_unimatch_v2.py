"""UniMatchV2's step against FixMatch's loss on each of its views, drawn channels given."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.methods.semi_batches import quiet, semi_batch
from tests.methods.zoo import DILATED
from wsss_zoo import Shapes
from wsss_zoo.functional import draw_complementary_factors, draw_cutmix_boxes, fixmatch_loss
from wsss_zoo.methods import UniMatchV2
from wsss_zoo.methods.semi import unimatch_v2

VIT = {"backbone": "test_vit", "output_stride": 16}
CNN = DILATED | {"backbone": "test_efficientnet", "freeze_backbone_bn": True}


def method(own, **options):
    torch.manual_seed(0)
    return quiet(UniMatchV2(4, **({"conf_thresh": 0.26} | own | options)))


def without_dropout(learner):
    for module in learner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return learner


@each(
    ("own", "thresh"),
    [(VIT, 0.26), (CNN | {"architecture": "largefov", "output_stride": 8}, 0.2)],
)
def test_step_is_the_mean_of_its_views_in_passes_of_their_own(own, thresh):
    batch, learner = semi_batch(), without_dropout(method(own, conf_thresh=thresh))
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    unlabeled, labeled, network = batch["unlabeled"], batch["labeled"], learner.network
    torch.manual_seed(4)
    boxes = [draw_cutmix_boxes(3, (64, 64), 0.5) for _ in range(2)]
    places = [index % len(network.backbone.channels) for index in network.decoder.inputs]
    width = network.backbone.channels[-1]
    factors = draw_complementary_factors(3, width).chunk(2)
    with torch.no_grad():
        confidence, label = learner.average(unlabeled["weak"]).softmax(1).max(1)
        losses = []
        for view, box in enumerate(boxes):
            mix = [
                torch.where(box, value.roll(1, 0), value)
                for value in (label, confidence, unlabeled["strong_valid"][:, view])
            ]
            image = unlabeled["strong"][:, view]
            image = torch.where(box[:, None], image.roll(1, 0), image)
            features = network.features(image)
            for place in places:
                features[place] = features[place] * factors[view][..., None, None]
            logits = network.decode(features, (64, 64))
            losses.append(fixmatch_loss(logits, mix[0], mix[1], thresh, mix[2]))
        loss_x = F.cross_entropy(network(labeled["image"]), labeled["mask"], ignore_index=255)
        torch.manual_seed(4)
        loss = learner.training_step(batch, 0)
    assert losses[0] > 0
    assert losses[0] != losses[1]
    torch.testing.assert_close(loss, (loss_x + sum(losses) / 2) / 2, rtol=1e-4, atol=1e-6)


@each(
    ("own", "shared"), [(VIT, True), (CNN | {"architecture": "unet", "output_stride": 32}, False)]
)
def test_channels_of_a_vit_are_drawn_once_and_those_of_a_pyramid_for_each_map(own, shared):
    learner, seen = method(own), []
    decode = learner.network.decode

    def spy(features, size):
        seen.append(features)
        return decode(features, size)

    learner.network.decode = spy
    clean = learner.network.features
    learner.network.features = lambda image: [torch.ones_like(f) for f in clean(image)]
    batch = semi_batch()
    learner.training_step(batch, 0)
    factors = [feature[:, :, 0, 0] for feature in seen[0]]
    assert all((factor[:2] == 1).all() for factor in factors), "labelled images keep all channels"
    pairs = [factor[2:].chunk(2) for factor in factors]
    assert all(torch.equal(first + second, torch.full_like(first, 2)) for first, second in pairs)
    intact = [(first == 1).all(1) for first, _ in pairs]
    assert all(one.sum() == 1 and torch.equal(one, intact[0]) for one in intact)
    width = min(first.shape[1] for first, _ in pairs)
    same = all(torch.equal(first[:, :width], pairs[0][0][:, :width]) for first, _ in pairs)
    assert same is shared


def test_labels_are_the_averages_and_the_student_does_not_change_them():
    learner = method(VIT)
    assert learner.average is not None
    with torch.no_grad():
        learner.network.head.bias[2] += 100
    learner.training_step(semi_batch(), 0)
    before = learner.logged["train/pseudo_acc"]
    with torch.no_grad():
        learner.average.network.head.bias[2] += 100
    learner.training_step(semi_batch(), 0)
    assert learner.logged["train/pseudo_acc"] != before


def test_a_frozen_backbone_has_no_group_and_no_gradient():
    learner = method(VIT, freeze_backbone=True).train()
    learner.training_step(semi_batch(), 0).backward()
    backbone = learner.network.backbone
    assert not backbone.training
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert [group["name"] for group in learner.parameter_groups()] == ["head"]


def test_defaults_are_those_of_the_paper():
    types, defaults = UniMatchV2.option_types(), UniMatchV2.__init__.__defaults__
    assert {"feature_dropout", "labels_from"} & set(types) == set()
    assert defaults == ("vit_small_patch14_dinov2", "dpt", 14, 0.5, "average", 0.996, 5e-6, 40.0)
    lines = Path(unimatch_v2.__file__).read_text().splitlines()
    assert len(lines) < 120


def test_layer_decay_lowers_the_rates_of_shallow_blocks():
    learner = method(VIT, layer_decay=0.5, lr=1.0, head_lr_mult=3.0)
    rates = {group["name"]: group["lr"] for group in learner.parameter_groups()}
    assert rates["head"] == 3
    assert rates["backbone layer -0"] == 1
    assert rates["backbone layer -6"] == 0.5**6
    count = sum(len(group["params"]) for group in learner.parameter_groups())
    assert count == sum(1 for parameter in learner.parameters() if parameter.requires_grad)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match=r"intact_share is 1\.5"):
        UniMatchV2(4, intact_share=1.5)
    with pytest.raises(ValueError, match="layer_decay is 0; give a factor"):
        UniMatchV2(4, layer_decay=0)
    with pytest.raises(ValueError, match="has patches of 16 pixels; set output_stride to 16"):
        UniMatchV2(4, "test_vit")


@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
def test_needs_two_strong_views(trainer):
    sizes = {"num_train": 8, "image_size": 64, "crop_size": 64, "num_workers": 0}
    data = Shapes(supervision="semi", labeled_split=0.5, **sizes)
    with pytest.raises(ValueError, match=r"UniMatchV2 needs 2 strong views"):
        trainer(max_steps=1).fit(UniMatchV2(7, **VIT), datamodule=data)
