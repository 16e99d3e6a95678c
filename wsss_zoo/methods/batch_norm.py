"""Crops that are too small for BatchNorm: found before the first step."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

# No network needs larger crops for a second value per channel.
_LARGEST = 129


def least_crop(network: nn.Module, crop: int) -> int | None:
    """Find the least side of a square crop from which BatchNorm has two values per channel.

    The network runs on a single image without values, in the mode that it is in.

    Args:
        network: Takes an image (1, 3, H, W).
        crop: Side to begin with, in pixels.

    Returns:
        ``crop`` itself if it is large enough, or nothing else is known of the network; None if
        every crop is too small.
    """
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    empty = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    sides = range(crop, max(crop, _LARGEST) + 1)
    return next((side for side in sides if _passes(network, empty, side)), None)


def _passes(network: nn.Module, state: dict[str, Any], side: int) -> bool:
    image = torch.empty(1, 3, side, side, device="meta")
    try:
        with torch.no_grad():
            # With tied weights a module with two names would keep its empty tensors.
            functional_call(network, state, (image,), tie_weights=False)
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    except (RuntimeError, TypeError, NotImplementedError):
        return True  # a network that needs values
    return True
