"""Cross pseudo supervision against two plain cross-entropies."""

import torch
import torch.nn.functional as F

from wsss_zoo.functional import cps_loss


def two_logits():
    torch.manual_seed(0)
    return (2 * torch.randn(2, 2, 4, 5, 6)).requires_grad_()


def test_each_learns_the_others_arg_max():
    first, second = two_logits()
    expected = F.cross_entropy(first, second.argmax(1)) + F.cross_entropy(second, first.argmax(1))
    torch.testing.assert_close(cps_loss(first, second), expected)


def test_given_labels_teach_the_other_network():
    first, second = two_logits()
    labels1, labels2 = torch.randint(0, 4, (2, 2, 5, 6))
    expected = F.cross_entropy(first, labels2) + F.cross_entropy(second, labels1)
    torch.testing.assert_close(cps_loss(first, second, labels1, labels2), expected)
    half = F.cross_entropy(first, second.argmax(1)) + F.cross_entropy(second, labels1)
    torch.testing.assert_close(cps_loss(first, second, labels1), half)


def test_is_symmetric():
    first, second = two_logits()
    torch.testing.assert_close(cps_loss(first, second), cps_loss(second, first))


def test_255_and_what_is_not_valid_do_not_count():
    first, second = two_logits()
    valid = torch.ones(2, 5, 6, dtype=torch.bool)
    valid[:, 3:] = False
    expected = cps_loss(first[:, :, :3], second[:, :, :3])
    torch.testing.assert_close(cps_loss(first, second, valid=valid), expected)
    labels = [logits.argmax(1).masked_fill(~valid, 255) for logits in (first, second)]
    torch.testing.assert_close(cps_loss(first, second, *labels), expected)


def test_nothing_left_gives_zero():
    first, second = two_logits()
    loss = cps_loss(first, second, valid=torch.zeros(2, 5, 6, dtype=torch.bool))
    loss.backward()
    assert loss == 0


def test_same_networks_would_get_the_same_gradient():
    """Why the two must start differently."""
    first = torch.randn(1, 3, 4, 4, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    cps_loss(first, second).backward()
    assert torch.equal(first.grad, second.grad)
