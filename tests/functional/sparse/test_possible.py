import pytest
import torch

from wsss_zoo.functional import gate_by_possible, reassign_by_tags


def by_hand(probs, possible):
    """One pixel after the other."""
    result = torch.zeros_like(probs)
    for n, y, x in torch.cartesian_prod(*map(torch.arange, (len(probs), *probs.shape[2:]))):
        p, may = probs[n, :, y, x].tolist(), possible[n, :, y, x].tolist()
        foreground = [k for k in range(1, len(p)) if may[k]]
        share = sum(p[k] for k in foreground)
        values = [p[0] if may[0] else 0.0] + [0.0] * (len(p) - 1)
        for k in foreground:
            values[k] = p[k] * sum(p[1:]) / share
        result[n, :, y, x] = torch.tensor([value / sum(values) for value in values])
    return result


def test_equals_a_loop_over_pixels():
    torch.manual_seed(0)
    probs = torch.randn(2, 4, 5, 6).softmax(1)
    possible = torch.rand(2, 4, 5, 6) < 0.5
    possible[:, 2] |= ~possible.any(1)
    gated = gate_by_possible(probs, possible)
    torch.testing.assert_close(gated, by_hand(probs, possible))
    assert not gated[~possible].any()


def test_tags_are_a_set_per_image():
    logits, tags = torch.randn(2, 4, 5, 6), torch.tensor([[1, 0, 1], [0, 0, 1]])
    possible = torch.cat([torch.ones(2, 1), tags], 1).bool()[:, :, None, None]
    expected = reassign_by_tags(logits, tags).softmax(1)
    torch.testing.assert_close(gate_by_possible(logits.softmax(1), possible), expected)


def test_single_class_takes_all_and_no_probability_is_shared():
    probs = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 4, 1, 1)
    only = torch.tensor([False, False, True, False]).view(1, 4, 1, 1)
    assert gate_by_possible(probs, only).flatten().tolist() == [0, 0, 1, 0]
    two = torch.tensor([False, True, True, False]).view(1, 4, 1, 1)
    assert gate_by_possible(probs, two).flatten().tolist() == [0, 0.5, 0.5, 0]


def test_without_a_background_all_classes_share():
    probs = torch.tensor([0.4, 0.5, 0.1]).view(1, 3, 1, 1)
    possible = torch.tensor([True, False, True]).view(1, 3, 1, 1)
    gated = gate_by_possible(probs, possible, background=False)
    torch.testing.assert_close(gated.flatten(), torch.tensor([0.8, 0.0, 0.2]))


def test_all_possible_changes_nothing():
    probs = torch.randn(1, 3, 2, 2).softmax(1)
    torch.testing.assert_close(gate_by_possible(probs, torch.ones(1, 3, 1, 1).bool()), probs)


def test_other_shapes():
    with pytest.raises(ValueError, match="do not fit"):
        gate_by_possible(torch.rand(1, 3, 2, 2), torch.ones(1, 4, 2, 2).bool())
