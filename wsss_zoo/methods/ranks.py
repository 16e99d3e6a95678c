"""What the processes of a distributed training tell each other."""

import torch
from torch import Tensor


def number_of_ranks() -> int:
    """Processes that train together; 1 without any distribution."""
    distributed = torch.distributed
    available = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if available else 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean of a value without gradient over all processes; every one of them has to call it.

    As the divisor of a sum it makes the gradient, which DDP averages, that of one process with all
    images.
    """
    ranks = number_of_ranks()
    if ranks == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / ranks


def gathered(value: Tensor) -> Tensor:
    """The values (M, ...) of all processes, one after the other."""
    if number_of_ranks() == 1:
        return value
    # Lightning's own calls a deprecated function of torch.
    values = [torch.empty_like(value) for _ in range(number_of_ranks())]
    torch.distributed.all_gather(values, value.contiguous())
    return torch.cat(values)
