"""Refinement against loops over positions; the branch's Grad-CAMs against gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import grad_cam
from wsss_zoo.modules import GradCAMBranch, SelfAttentionCAM


@pytest.fixture
def module():
    torch.manual_seed(0)
    result = SelfAttentionCAM(10, 4, dim=8)
    torch.nn.init.normal_(result.project.weight)
    torch.nn.init.normal_(result.offset)
    return result


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(2, d, 3, 4, generator=generator) for d in (4, 6)]
    cam = torch.rand(2, 3, 3, 4, generator=generator)
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    valid[0, 2] = False
    valid[1, :, 3] = False
    return features, cam, valid


def naive(module, features, cam, valid):
    compared = torch.cat(features, 1).flatten(2)
    weights = [module.query.weight[..., 0, 0], module.key.weight[..., 0, 0]]
    maps, seen = cam.flatten(2), valid.flatten(1)
    rows = []
    for n in range(2):
        query, key = (weight @ compared[n] for weight in weights)
        columns = []
        for i in range(12):
            if seen[n, i]:
                scores = torch.stack([query[:, i] @ key[:, j] for j in range(12)]) / math.sqrt(8)
                share = torch.where(seen[n], scores.exp(), torch.zeros(12))
            else:
                share = torch.ones(12)
            gathered = (share / share.sum() * maps[n]).sum(1) + maps[n, :, i]
            columns.append(torch.cat([2 - gathered.max()[None], gathered]))
        rows.append(module.project.weight[..., 0, 0] @ torch.stack(columns, 1))
    logits = torch.stack(rows)
    mean = logits.mean((0, 2), keepdim=True)
    var = ((logits - mean) ** 2).mean((0, 2), keepdim=True)
    result = (logits - mean) / (var + 1e-3).sqrt() + module.offset[:, None]
    return result.view(2, 4, 3, 4)


def test_equals_a_loop_over_positions(module, inputs):
    torch.testing.assert_close(module(*inputs), naive(module, *inputs), rtol=1e-4, atol=1e-5)


def test_padding_is_not_attended_to(module, inputs):
    features, cam, valid = inputs
    other = [feature.clone() for feature in features]
    for feature in other:
        feature[0, :, 2] += 5
    # What a visible position gathers does not depend on the features of padding; its own row does
    # not either, being uniform.
    torch.testing.assert_close(module(other, cam, valid), module(features, cam, valid))


def test_no_visible_position_at_all_is_finite(module, inputs):
    features, cam, valid = inputs
    assert torch.isfinite(module(features, cam, torch.zeros_like(valid))).all()


def test_empty_maps_and_single_positions_are_finite(module):
    logits = module([torch.zeros(1, 10, 1, 1)], torch.zeros(1, 3, 1, 1), torch.ones(1, 1, 1).bool())
    assert torch.isfinite(logits).all()


def test_starts_as_the_maps_say():
    cam = torch.zeros(1, 3, 4, 4)
    cam[0, 1, :2] = 1
    fresh = SelfAttentionCAM(5, 4)
    logits = fresh([torch.zeros(1, 5, 4, 4)], cam, torch.ones(1, 4, 4).bool())
    assert logits[0].argmax(0).tolist() == [[2] * 4] * 2 + [[0] * 4] * 2


def test_only_its_own_parameters_are_trained(module, inputs):
    features, cam, valid = inputs
    leaves = [*(feature.requires_grad_() for feature in features), cam.requires_grad_()]
    (module(features, cam, valid) ** 3).sum().backward()
    assert all(leaf.grad is None for leaf in leaves)
    assert all(value.grad.abs().max() > 0 for value in module.parameters())


def test_feature_maps_of_other_sizes_are_resized(module, inputs):
    (shallow, deep), cam, valid = inputs
    large = F.interpolate(shallow, (6, 8), mode="bilinear", align_corners=False)
    small = F.interpolate(large, (3, 4), mode="bilinear", align_corners=False)
    expected = module([small, deep], cam, valid)
    torch.testing.assert_close(module([large, deep], cam, valid), expected)


def test_train_and_eval_mode_are_the_same_and_leave_no_trace(module, inputs):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    assert torch.equal(module.train()(*inputs), module.eval()(*inputs))
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_bfloat16_autocast_is_float32_and_close(module, inputs):
    with torch.autocast("cpu", torch.bfloat16):
        logits = module(*inputs)
    assert logits.dtype == torch.float32
    assert (logits - module(*inputs)).abs().max() < 0.1


def test_background_alone():
    with pytest.raises(ValueError, match="num_classes is 1; maps need background and a class"):
        SelfAttentionCAM(5, 1)


@pytest.fixture
def branch():
    torch.manual_seed(0)
    return GradCAMBranch([3, 4, 6], 4, dim=8)


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(1)
    shapes = [(3, 16, 16), (4, 4, 4), (6, 4, 4)]
    return [torch.randn(2, *shape, generator=generator) for shape in shapes]


@each("training", [False, True])
def test_branch_logits_refine_the_gradients_of_the_scores(branch, features, training):
    branch.train(training)
    seen = []
    branch.refinement.register_forward_pre_hook(lambda _, args: seen.append(args))
    tags, valid = torch.tensor([[1.0, 0, 1], [1, 1, 1]]), torch.ones(2, 32, 32).bool()
    valid[:, 8:] = False
    dropout = branch.draw_dropout(features)
    branch(features, tags, valid, dropout)
    compared, cam, visible = seen[0]
    features[-1].requires_grad_()
    scores = branch.scores(features, dropout)
    for c in range(3):
        (gradients,) = torch.autograd.grad(scores[:, c].sum(), features[-1], retain_graph=True)
        expected = grad_cam(features[-1].detach(), gradients) * tags[:, c, None, None]
        peak = expected.amax((1, 2), keepdim=True)
        expected = torch.where(peak > 0, expected / peak.clamp_min(1e-5), expected)
        torch.testing.assert_close(cam[:, c], expected)
    assert [map_.shape[1] for map_ in compared] == [4, 6]
    assert torch.equal(visible, torch.tensor([True, False, False, False])[:, None].expand(2, 4, 4))


def test_branch_dropout_is_for_training(branch, features):
    dropout = branch.draw_dropout(features)
    assert set(dropout.unique().tolist()) == {0.0, 2.0}
    pooled = features[-1].mean((2, 3))
    expected = F.linear(pooled * dropout, branch.classifier.weight, branch.classifier.bias)
    torch.testing.assert_close(branch.scores(features, dropout), expected)
    assert (branch.eval().draw_dropout(features) == 1).all()
    torch.testing.assert_close(branch.scores(features), branch.classifier(pooled))
