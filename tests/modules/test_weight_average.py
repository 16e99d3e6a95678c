"""The running average against its closed form."""

import copy

import pytest
import torch
from torch import nn

from wsss_zoo.modules import WeightAverage


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("buffers", ["average", "copy", "own"])
def test_follows_weights_and_statistics(buffers):
    net = network()
    average = WeightAverage(net, 0.7, buffers)
    expected = {name: value.double() for name, value in net.state_dict().items()}
    for step in range(1, 5):
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.add_(torch.randn(()) if tensor.is_floating_point() else 1)
        decay = min(1 - 1 / (step + 1), 0.7)
        for name, value in net.state_dict().items():
            is_buffer = "running" in name or "tracked" in name
            if is_buffer and buffers == "own":
                continue
            whole = is_buffer and (buffers == "copy" or not value.is_floating_point())
            old = expected[name]
            expected[name] = value.double() if whole else decay * old + (1 - decay) * value
        average.update(net, step)
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_has_no_gradients_and_stays_in_eval_mode():
    net = network()
    average = WeightAverage(net, 0.9)
    average.train()
    assert not any(module.training for module in average.modules())
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not average(torch.randn(1, 3, 8, 8)).requires_grad
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_own_statistics_come_from_its_own_passes():
    average = WeightAverage(network(), 0.9, "own").train()
    before = average.network[1].running_mean.clone()
    average(torch.randn(4, 3, 8, 8) + 3)
    assert not torch.equal(average.network[1].running_mean, before)


def test_reset_and_state_dict():
    net = network()
    average, other = WeightAverage(net, 0.9), copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.add_(1)
    average.reset(other)
    assert torch.equal(average.network[0].weight, other[0].weight)
    assert not torch.equal(average.network[0].weight, net[0].weight)
    again = WeightAverage(net, 0.9)
    again.load_state_dict(average.state_dict())
    assert torch.equal(again.network[0].weight, other[0].weight)


def test_decay_out_of_range():
    with pytest.raises(ValueError, match=r"decay is 1\.0"):
        WeightAverage(network(), 1.0)
