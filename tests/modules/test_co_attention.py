"""Affinity by domain and of unit features, the pair classifier and its passes."""

import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.functional import co_attention
from wsss_zoo.modules import Backbone, CoAttentionBlock, PairClassifier, score


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 6, 3, 5, generator=generator), torch.randn(
        4, 6, 2, 4, generator=generator
    )


def test_domains_choose_the_matrix_and_its_orientation():
    block = CoAttentionBlock(6, by_domain=True)
    domains = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 1])
    target, mixed, extra = block.w_p
    assert torch.equal(block.affinity(*domains), torch.stack([target, mixed, mixed.mT, extra]))
    assert torch.equal(block.affinity(), target)
    # Which image of a mixed pair comes first makes no difference.
    feat_m, feat_n = (feat[1:3] for feat in maps())
    domain_m, domain_n = (domain[1:3] for domain in domains)
    swapped = block(feat_n, feat_m, domain_n, domain_m)
    torch.testing.assert_close(swapped[::-1], block(feat_m, feat_n, domain_m, domain_n))


def test_without_domains_there_is_one_matrix():
    block, (feat_m, feat_n) = CoAttentionBlock(6), maps()
    assert block.w_p.shape == (1, 6, 6)
    domains = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 1])
    expected = co_attention(feat_m, feat_n, block.w_p[0])
    torch.testing.assert_close(block(feat_m, feat_n, *domains), expected)


def test_cosine_affinity_compares_unit_features_and_gathers_the_features():
    block, (feat_m, feat_n) = CoAttentionBlock(6, cosine=True), maps()
    assert torch.equal(block.w_p[0], 10 * torch.eye(6))
    unit_m, unit_n = (F.normalize(x, dim=1).flatten(2) for x in (feat_m, feat_n))
    co_m, co_n = block(feat_m, feat_n)
    look = (10 * unit_m.mT @ unit_n).softmax(2)
    torch.testing.assert_close(co_m.flatten(2), feat_n.flatten(2) @ look.mT)
    look = (10 * unit_n.mT @ unit_m).softmax(2)
    torch.testing.assert_close(co_n.flatten(2), feat_m.flatten(2) @ look.mT)


def classifier(**options):
    torch.manual_seed(0)
    return PairClassifier(Backbone("test_resnet", None, 16), 3, **options).eval()


def test_images_of_one_size_share_a_pass_in_their_order():
    model, passes = classifier(convs=1), []
    images = [torch.rand(2, 3, *size) for size in ((32, 48), (64, 32), (32, 48))]
    expected = [model.features(image) for image in images]
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    for found, wanted in zip(model.features_of(images), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert len(passes) == 2


def test_scores_are_means_of_class_maps_and_layers_are_shared_or_not():
    image = torch.rand(2, 3, 48, 64)
    shared, apart = classifier(), classifier(shared=False)
    assert shared.own is shared.common
    assert shared.own.bias is None
    torch.testing.assert_close(shared(image), score(shared.own, shared.features(image)))
    assert apart.own is not apart.common
    assert apart.own.bias is not None
    assert shared.features(image).shape[1] == 512
    assert classifier(convs=0).features(image).shape[1] == shared.backbone.channels[-1]


@torch.no_grad()
def test_start_values_of_the_new_layers():
    model = classifier(shared=False)
    assert float(model.convs[2].weight.std()) == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    assert float(model.own.weight.std()) == pytest.approx((2 / 3) ** 0.5, rel=0.1)
    assert not model.own.bias.any()
    assert float(model.attention.w_p.abs().max()) == pytest.approx(512**-0.5, rel=0.01)


def test_a_negative_number_of_convolutions_is_refused():
    with pytest.raises(ValueError, match="convs is -1"):
        classifier(convs=-1)
