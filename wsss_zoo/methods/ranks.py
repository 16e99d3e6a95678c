"""What the processes of a distributed training tell each other."""

from typing import Any

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


def share_of_global_mean(mean: Tensor, count: Tensor) -> Tensor:
    """What a mean over this process's own values adds to the mean over those of all processes.

    The average of the parts, which DDP takes of their gradients, is that mean, however unequal the
    counts are. Every process has to call it; a single one gets its mean back.

    Args:
        mean: A scalar; 0 where there is nothing to average.
        count: Number of values that it is the mean of, a scalar.
    """
    ranks = number_of_ranks()
    if ranks == 1:
        return mean
    own = count.to(mean.dtype)
    # If there is anything at all, the mean count is 1 / ranks at least.
    return mean * (own / mean_over_ranks(own).clamp_min(1 / ranks))


def gathered(value: Tensor) -> Tensor:
    """The values (M, ...) of all processes, one after the other; M is the same for each.

    Gradients flow to the own values, times the number of processes: where all of them compute the
    same loss of all values, the average that DDP takes is the gradient of that loss.
    """
    if number_of_ranks() == 1:
        return value
    result: Tensor = _Gather.apply(value)
    return result


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        # Lightning's own calls a deprecated function of torch.
        values = [torch.empty_like(value) for _ in range(number_of_ranks())]
        torch.distributed.all_gather(values, value.contiguous())
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        parts = gradients[0].chunk(number_of_ranks())
        return parts[torch.distributed.get_rank()] * number_of_ranks()
