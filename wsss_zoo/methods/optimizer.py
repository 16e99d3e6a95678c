"""The optimisers and the schedule that methods choose from."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

Optimizer = Literal["sgd", "nesterov", "adam", "adamw"]


def make_optimizer(
    name: Optimizer, groups: list[dict[str, Any]], weight_decay: float
) -> torch.optim.Optimizer:
    """Make SGD with momentum 0.9 (plain or Nesterov's), Adam or AdamW.

    Adam adds the decay to the gradient, as the papers before AdamW did.

    Args:
        name: Name of the optimiser.
        groups: Parameter groups, each with its learning rate.
        weight_decay: Weight decay of the groups without one.

    Raises:
        ValueError: If the name is another.
    """
    if name == "adam":
        return torch.optim.Adam(groups, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay)
    if name in ("sgd", "nesterov"):
        nesterov = name == "nesterov"
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=weight_decay, nesterov=nesterov)
    raise ValueError(f"optimizer is {name!r}; give 'sgd', 'nesterov', 'adam' or 'adamw'")


def polynomial_schedule(optimizer: torch.optim.Optimizer, steps: float) -> LambdaLR:
    """Make the learning rate lr (1 - t/T)^0.9 in step t of T = `steps`.

    A closed form, so that a resumed run with more steps follows the longer schedule.

    Raises:
        ValueError: If the number of steps is infinite.
    """
    if math.isinf(steps):
        raise ValueError(
            "the polynomial schedule needs an end; set trainer.max_steps or trainer.max_epochs"
        )
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps) ** 0.9)


def split_groups(
    groups: list[dict[str, Any]],
    apart: Iterable[torch.nn.Parameter],
    name: str,
    lr_factor: float = 1.0,
    **options: Any,
) -> list[dict[str, Any]]:
    """Split parameter groups, so that some parameters have options of their own.

    Args:
        groups: Groups with ``name``, ``lr`` and ``params``.
        apart: The parameters to take out of them.
        name: Added to the name of each new group.
        lr_factor: Factor on their learning rates.
        **options: Their other options.
    """
    chosen, result = set(map(id, apart)), []
    for group in groups:
        own = {"name": f"{group['name']} {name}", "lr": lr_factor * group["lr"]} | options
        inside = [parameter for parameter in group["params"] if id(parameter) in chosen]
        outside = [parameter for parameter in group["params"] if id(parameter) not in chosen]
        result += [group | {"params": outside}, group | own | {"params": inside}]
    return [group for group in result if group["params"]]
