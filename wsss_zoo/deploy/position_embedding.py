"""Position embeddings of ViTs in a form that exporters can follow to any image size."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_NAME = "resample_abs_pos_embed"
# Of the cubic kernel; that of bicubic resizing with antialiasing.
_A = -0.5


@contextmanager
def free_grids(network: nn.Module) -> Iterator[None]:
    """Let timm's ViTs resample their position embedding by products of matrices.

    ONNX has no bicubic resizing with antialiasing. Embeddings of patches are copied, because a view
    of them binds torch.export to the example's size.

    Args:
        network: The network to export.
    """
    with ExitStack() as stack:
        for name, file in list(sys.modules.items()):
            if name.startswith("timm.models.") and hasattr(file, _NAME):
                stack.callback(setattr, file, _NAME, getattr(file, _NAME))
                setattr(file, _NAME, resample_position_embedding)
        for module in network.modules():
            embed = getattr(module, "patch_embed", None)
            if hasattr(module, "blocks") and isinstance(embed, nn.Module):
                stack.enter_context(embed.register_forward_hook(_copied))
        yield


def resample_position_embedding(
    posemb: Tensor,
    new_size: Sequence[Any],
    old_size: Sequence[Any] | None = None,
    num_prefix_tokens: int = 1,
    *_: Any,
    **__: Any,
) -> Tensor:
    """Resample a position embedding as timm does: bicubic, with antialiasing, in float32.

    Args:
        posemb: (1, prefix tokens + h w, D).
        new_size: Rows and columns of the new grid.
        old_size: Rows and columns h, w; None for a square grid.
        num_prefix_tokens: Tokens before the grid, which are kept.

    Returns:
        (1, prefix tokens + h' w', D).
    """
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:].float()
    # A tracer gives tensors for sizes; those of a parameter are constants.
    side = math.isqrt(int(posemb.shape[1]) - num_prefix_tokens)
    rows, columns = (side, side) if old_size is None else (int(old_size[0]), int(old_size[1]))
    grid = grid.reshape(rows, columns, -1)
    down = resampling_matrix(rows, new_size[0], posemb.device)
    across = resampling_matrix(columns, new_size[1], posemb.device)
    # (h', h) x (h, w D), then (w', w) x (w, h' D).
    grid = (down @ grid.flatten(1)).reshape(-1, columns, grid.shape[-1])
    grid = torch.einsum("vw,hwd->hvd", across, grid)
    cells = grid.reshape(1, -1, grid.shape[-1]).to(posemb.dtype)
    return torch.cat([prefix, cells], 1)


def resampling_matrix(old: int, new: Any, device: torch.device) -> Tensor:
    """Make the matrix (new, old) of bicubic resizing with antialiasing."""
    rows = torch.arange(new, device=device, dtype=torch.float32)
    # Not a quotient of numbers: that would bind the export to the example's size.
    scale = old / torch.ones_like(rows).sum()
    centers = torch.arange(old, device=device, dtype=torch.float32) + 0.5
    distance = centers - (rows[:, None] + 0.5) * scale
    weight = _cubic(distance / scale.clamp_min(1.0))
    return weight / weight.sum(1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _copied(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone(memory_format=torch.contiguous_format)
    return output
