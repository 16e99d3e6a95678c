"""Gradients of depthwise convolutions against PyTorch's own."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from wsss_zoo.methods import Supervised
from wsss_zoo.modules.depthwise import speed_up_depthwise


def gradients(conv, image, dtype=None):
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        result = conv(image)
    conv.zero_grad()
    (result.float() * torch.linspace(-1, 1, result.numel()).view(result.shape)).sum().backward()
    return [result, image.grad, *[parameter.grad for parameter in conv.parameters()]]


@pytest.mark.parametrize("shape", [(3, 1), (5, 2), (5, 0), ((1, 3), (0, 1)), (3, 5)])
@pytest.mark.parametrize("steps", [(1, 1), (1, 2), (2, 1), (2, 2), ((1, 2), (3, 1))])
def test_equals_pytorch(shape, steps):
    (kernel, padding), (stride, dilation) = shape, steps
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, dilation, groups=6)
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    image = torch.randn(2, 6, 17, 14)
    for ours, theirs in zip(gradients(fast, image), gradients(plain, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    for ours, exact in zip(
        gradients(fast, image, torch.bfloat16), gradients(plain, image), strict=True
    ):
        assert (ours - exact).abs().max() <= 0.02 * exact.abs().max()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (5, 1)])
def test_equals_padding_of_tensorflow(kernel, stride):
    torch.manual_seed(0)
    plain = Conv2dSame(6, 6, kernel, stride, groups=6, bias=False)
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    image = torch.randn(2, 6, 17, 14).contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(gradients(fast, image), gradients(plain, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_other_convolutions_stay():
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(4, 4, 3), nn.Conv2d(1, 1, 3), nn.Linear(2, 2),
        nn.Conv2d(4, 4, 3, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, groups=4, padding="same"),
    )  # fmt: skip
    speed_up_depthwise(network)
    assert [type(module) for module in network] == [*[nn.Conv2d] * 3, nn.Linear, *[nn.Conv2d] * 2]


def test_same_outputs_names_and_frozen_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 4, 5, groups=4), nn.ReLU6(), nn.Conv2d(4, 2, 1))
    fast = copy.deepcopy(network)
    speed_up_depthwise(fast)
    assert list(fast.state_dict()) == list(network.state_dict())
    image = torch.randn(1, 4, 9, 9)
    assert torch.equal(fast(image), network(image))
    with torch.inference_mode():
        assert torch.equal(fast(image), network(image))
    fast[0].requires_grad_(False)
    fast(image).sum().backward()
    assert fast[0].weight.grad is None
    assert fast[2].weight.grad is not None


def test_a_second_derivative_is_refused():
    conv = nn.Conv2d(3, 3, 3, groups=3)
    speed_up_depthwise(conv)
    image = torch.randn(1, 3, 5, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(conv(image).square().sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_and_exported_networks_have_pytorchs_convolutions(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 5, 1, 4, 2, groups=3), nn.Conv2d(3, 2, 1))
    speed_up_depthwise(network)
    image = torch.randn(2, 3, 12, 9)
    expected = network(image)
    torch.testing.assert_close(torch.compile(network, backend="eager")(image), expected)
    program = torch.export.export(network, (image,))
    torch.testing.assert_close(program.module()(image), expected)
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (image,), str(path), dynamo=False)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Conv", "Conv"]


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(5, 1, 2), (5, 2, 1)])
def test_double_precision_stays(kernel, stride, dilation):
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 4, kernel, stride, 2, dilation, groups=4, dtype=torch.float64)
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    image = torch.randn(2, 4, 13, 11, dtype=torch.float64)
    image.requires_grad_()
    grads = []
    for conv in (fast, plain):
        inputs = [image, *conv.parameters()]
        grads.append(torch.autograd.grad(conv(image).square().sum(), inputs))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-10)


def test_a_method_has_them_while_it_trains():
    method = Supervised(3, "tf_efficientnet_lite0")
    before = [type(module) for module in method.modules()]
    method.on_fit_start()
    after = [type(module) for module in method.modules()]
    assert sum(a is not b for a, b in zip(before, after, strict=True)) > 15
    method.on_fit_end()
    assert [type(module) for module in method.modules()] == before
