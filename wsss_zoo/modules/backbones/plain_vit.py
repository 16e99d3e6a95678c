"""Feature maps of plain vision transformers, all on the grid of the patches."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_TAKEN_OF_24 = (4, 11, 17, 23)


def evenly_spaced_blocks(count: int) -> tuple[int, ...]:
    """Choose the four blocks whose outputs are taken; of 24 those of DINOv2.

    Raises:
        ValueError: If there are fewer than four blocks.

    >>> evenly_spaced_blocks(12), evenly_spaced_blocks(24)
    ((2, 5, 8, 11), (4, 11, 17, 23))
    """
    if count < 4:
        raise ValueError(f"it has {count} blocks, fewer than four")
    return _TAKEN_OF_24 if count == 24 else tuple(count * k // 4 - 1 for k in range(1, 5))


def token_maps(model: Any, taken: Sequence[int], image: Tensor) -> list[Tensor]:
    """Extract the patch tokens of some blocks as maps, after the network's final norm.

    Args:
        model: A timm network of blocks with ``forward_intermediates``.
        taken: Indices of the blocks.
        image: Normalised images (N, 3, H, W); H and W are multiples of the patch side p.

    Returns:
        A map (N, D, H / p, W / p) of each block. The last one has the patch tokens of
        ``model.forward_features`` (after ``fc_norm`` where ``norm`` is an identity).
    """
    tokens = model.forward_intermediates(
        image, indices=list(taken), norm=False, output_fmt="NLC", intermediates_only=True
    )
    patch, final = patch_size(model), final_norm(model)
    rows, columns = image.shape[-2] // patch, image.shape[-1] // patch
    # In this form it can be exported: `.mT` and `unflatten` do not reach ONNX, and `.contiguous()`
    # binds torch.export to batches of more than one.
    return [
        final(each)
        .transpose(1, 2)
        .clone(memory_format=torch.contiguous_format)
        .reshape(image.shape[0], -1, rows, columns)
        for each in tokens
    ]


def patch_size(model: Any) -> int:
    """Side of a patch in pixels."""
    return int(model.feature_info[-1]["reduction"])


def final_norm(model: Any) -> nn.Module:
    """Find the norm after the last block.

    Networks that pool by the average have an identity in place of ``norm``, and ``fc_norm`` after
    the pooling.
    """
    norm: nn.Module = getattr(model, "norm", None) or nn.Identity()
    return getattr(model, "fc_norm", None) or norm if isinstance(norm, nn.Identity) else norm


def prune(model: Any, taken: Sequence[int]) -> None:
    """Remove what no map depends on: heads, pools. Names stay those of files."""
    kept = getattr(model, "fc_norm", None)
    model.prune_intermediate_layers(list(taken), prune_norm=False, prune_head=True)
    if isinstance(model.norm, nn.Identity) and kept is not None:
        model.fc_norm = kept


def read_tokens(model: Any, tokens: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """Split a block's output (N, L, D) into prefix tokens and a map.

    Args:
        model: The network.
        tokens: Output of one of its modules.
        size: Height and width of the image in pixels.

    Returns:
        Prefix tokens (N, P, D) and the map (N, D, h, w); None if the output has other tokens.
    """
    patch, prefix = patch_size(model), int(getattr(model, "num_prefix_tokens", 0))
    rows, columns = (side // patch for side in size)
    if tokens.ndim != 3 or tokens.shape[1] - rows * columns not in (0, prefix):
        return None
    prefix = tokens.shape[1] - rows * columns  # none is left where the final norm is applied
    cells = tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)
    return tokens[:, :prefix], cells


def write_tokens(prefix: Tensor, cells: Tensor) -> Tensor:
    """Reverse `read_tokens`."""
    return torch.cat([prefix, cells.flatten(2).transpose(1, 2)], 1)
