"""Shapes and precision of tensors, as the functions of this package require them."""

import torch
from torch import Tensor


def check_shapes(wanted: str, **tensors: Tensor) -> None:
    """Raise a ValueError unless the tensors have the wanted shapes.

    Args:
        wanted: One shape per tensor, in their order. Dimensions of one letter have one size. The
            text ends the message.
        tensors: The tensors, by their names in the message.

    >>> x, tags = torch.ones(2, 4, 1), torch.ones(2, 4)
    >>> check_shapes("(N, C, P) and (N, C)", x=x, tags=tags)
    >>> check_shapes("(N, K + 1, P) and (N, K)", x=x, tags=tags)
    Traceback (most recent call last):
    ValueError: x (2, 4, 1) and tags (2, 4) do not fit; give (N, K + 1, P) and (N, K)
    """
    sizes: dict[str, int] = {}
    for shape, tensor in zip(wanted.split("(")[1:], tensors.values(), strict=False):
        letters = shape.split(")")[0].removesuffix(",").split(", ")
        fits = len(letters) == tensor.ndim
        for dimension, size in zip(letters, tensor.shape, strict=False):
            letter, _, more = dimension.partition(" + ")
            rest = size - int(more or 0)
            expected = int(letter) if letter.isdigit() else sizes.setdefault(letter, rest)
            fits = fits and rest == expected
        if not fits:
            verb = "do" if len(tensors) > 1 else "does"
            raise ValueError(f"{_listed(tensors)} {verb} not fit; give {wanted}")


def check_equal_shapes(remedy: str, **tensors: Tensor) -> None:
    """Raise a ValueError that ends with the remedy unless all tensors have one shape."""
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        raise ValueError(f"{_listed(tensors)} differ; {remedy}")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert to float32; a float64 tensor stays as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def resized_labels(labels: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize maps (N, H, W) of any type to `size` = (h, w) by the nearest pixel, rounded down."""
    rows, columns = (
        (torch.arange(new, device=labels.device) * old).div(new, rounding_mode="floor")
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows[:, None], columns]


def _listed(tensors: dict[str, Tensor]) -> str:
    *others, last = (f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
    return f"{', '.join(others)} and {last}" if others else last
