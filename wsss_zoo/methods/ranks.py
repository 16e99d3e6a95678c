"""What the processes of a distributed training tell each other."""

from typing import Any

import torch
from torch import Tensor


def number_of_ranks() -> int:
    """Count the processes that train together; 1 without any distribution."""
    distributed = torch.distributed
    available = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if available else 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """Average a value without gradient over all processes, each of which has to call it.

    With this mean as the divisor of a sum, DDP's average of gradients is that of one process.
    """
    ranks = number_of_ranks()
    if ranks == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / ranks


def share_of_global_mean(mean: Tensor, count: Tensor) -> Tensor:
    """Scale the mean over a process's own values to its share of the mean over all processes.

    DDP averages the gradients of the shares. That is the gradient of the mean over all values,
    however unequal the counts are. Every process has to call it; a single one gets its mean back.

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
    """Concatenate the values (M, ...) of all processes; M is the same for each.

    Gradients flow to the own values, times the number of processes. Where all processes compute
    the same loss of all values, DDP's average is the gradient of that loss.
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
