"""Depthwise convolutions with a faster backward pass on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn


def speed_up_depthwise(network: nn.Module) -> None:
    """Give the depthwise convolutions of a network a faster backward pass on a CPU.

    PyTorch has no fast kernel for the gradients of dilated, strided or large depthwise kernels. In
    bfloat16 they take most of a step of an EfficientNet. Names, weights and outputs stay the same,
    gradients differ by rounding. Elsewhere than on a CPU, and while PyTorch compiles or exports,
    the convolutions are those of PyTorch.
    """
    for module in network.modules():
        fast = _FAST.get(type(module))
        if fast is not None and isinstance(module, nn.Conv2d) and _is_depthwise(module):
            module.__class__ = fast


def restore_depthwise(network: nn.Module) -> None:
    """Undo `speed_up_depthwise`, so that a trained network is traced and saved as PyTorch's own."""
    for module in network.modules():
        plain = _PLAIN.get(type(module))
        if plain is not None:
            module.__class__ = plain


def _is_depthwise(conv: nn.Conv2d) -> bool:
    is_plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return is_plain and 1 < conv.groups == conv.in_channels == conv.out_channels


class _Depthwise(nn.Conv2d):
    """A convolution of PyTorch whose gradients are computed by `_DepthwiseConv`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _is_left_to_torch(input):
            result: Tensor = super()._conv_forward(input, weight, bias)
            return result
        assert not isinstance(self.padding, str)
        return _convolve(input, weight, bias, self.stride, self.padding, self.dilation)


class _DepthwiseSame(Conv2dSame):
    """TensorFlow's padding, which timm adds in each pass, and `_DepthwiseConv`."""

    def forward(self, x: Tensor) -> Tensor:
        if _is_left_to_torch(x):
            result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return result
        kernel, stride, dilation = (
            list(pair) for pair in (self.kernel_size, self.stride, self.dilation)
        )
        padded = pad_same(x, kernel, stride, dilation)
        return _convolve(padded, self.weight, self.bias, self.stride, (0, 0), self.dilation)


_FAST: dict[type, type[nn.Conv2d]] = {nn.Conv2d: _Depthwise, Conv2dSame: _DepthwiseSame}
_PLAIN: dict[type, type] = {fast: plain for plain, fast in _FAST.items()}


def _is_left_to_torch(image: Tensor) -> bool:
    is_traced = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    return is_traced or image.device.type != "cpu" or not torch.is_grad_enabled()


def _convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        image, weight = image.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    result: Tensor = _DepthwiseConv.apply(image, weight, bias, stride, padding, dilation)
    return result


class _DepthwiseConv(torch.autograd.Function):
    """A depthwise convolution, image (N, C, H, W), weight (C, 1, kh, kw) and bias (C,) or None."""

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.geometry = stride, padding, dilation
        return F.conv2d(image, weight, bias, stride, padding, dilation, len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        needs_image, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        of_image = _image_gradient(grad, image, weight, *ctx.geometry) if needs_image else None
        of_weight = _weight_gradient(grad, image, weight, *ctx.geometry) if needs_weight else None
        of_bias = grad.sum((0, 2, 3)) if needs_bias else None
        return of_image, of_weight, of_bias, None, None, None


def _image_gradient(
    grad: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    kernel = weight.shape[-2:]
    rest = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    if stride == (1, 1) and min(rest) >= 0:
        # A convolution with the mirrored kernel, which has a fast kernel at any dilation.
        return F.conv2d(grad, weight.flip(2, 3), None, 1, rest, dilation, len(weight))
    # In float32: in bfloat16 up to twenty times slower.
    wide = [_at_least_float32(tensor) for tensor in (grad, image, weight)]
    return _by_torch(wide, (stride, padding, dilation), of_image=True).to(image.dtype)


def _weight_gradient(
    grad: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    height, width = grad.shape[-2:]
    kernel_height, kernel_width = weight.shape[-2:]
    if max(kernel_height, kernel_width) <= 3 and dilation == (1, 1):
        return _by_torch([grad, image, weight], (stride, padding, dilation), of_image=False)
    bottom, right = padding
    padded = F.pad(image, (right, right, bottom, bottom))
    last, wide = (_at_least_float32(tensor.permute(0, 2, 3, 1)) for tensor in (padded, grad))
    result = wide.new_empty(kernel_height, kernel_width, len(weight))
    for i in range(kernel_height):
        top = i * dilation[0]
        rows = last[:, top : top + stride[0] * (height - 1) + 1 : stride[0]]
        for j in range(kernel_width):
            left = j * dilation[1]
            seen = rows[:, :, left : left + stride[1] * (width - 1) + 1 : stride[1]]
            result[i, j] = (seen * wide).sum((0, 1, 2))
    return result.permute(2, 0, 1)[:, None].to(weight.dtype)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _by_torch(tensors: list[Tensor], geometry: tuple[Any, ...], of_image: bool) -> Tensor:
    stride, padding, dilation = geometry
    grad, image, weight = tensors
    mask = [of_image, not of_image, False]
    found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        grad, image, weight, None, stride, padding, dilation, False, [0, 0], len(weight), mask
    )
    result = found[0 if of_image else 1]
    assert result is not None
    return result
