"""The classifier's branch: scores, dropout, and Grad-CAMs against gradients."""

import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.functional import grad_cam
from wsss_zoo.modules import GradCAMBranch


@pytest.fixture
def branch():
    torch.manual_seed(0)
    return GradCAMBranch([3, 4, 6], 4, dim=8)


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(1)
    shapes = [(3, 16, 16), (4, 4, 4), (6, 4, 4)]
    return [torch.randn(2, *shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("training", [False, True])
def test_logits_refine_the_gradients_of_the_scores(branch, features, training):
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


def test_dropout_is_for_training(branch, features):
    dropout = branch.draw_dropout(features)
    assert set(dropout.unique().tolist()) == {0.0, 2.0}
    pooled = features[-1].mean((2, 3))
    expected = F.linear(pooled * dropout, branch.classifier.weight, branch.classifier.bias)
    torch.testing.assert_close(branch.scores(features, dropout), expected)
    assert (branch.eval().draw_dropout(features) == 1).all()
    torch.testing.assert_close(branch.scores(features), branch.classifier(pooled))
