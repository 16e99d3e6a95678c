"""The optimisers and the schedule that methods choose from."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

Optimizer = Literal["sgd", "nesterov", "adam", "adamw"]


def make_optimizer(
    name: Optimizer, groups: list[dict[str, Any]], weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with momentum 0.9 (plain or Nesterov's), Adam or AdamW, over groups with learning rates.

    Adam adds the decay to the gradient, as the papers before AdamW did.

    Raises:
        ValueError: If the name is another.
    """
    if name in ("sgd", "nesterov"):
        nesterov = name == "nesterov"
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=weight_decay, nesterov=nesterov)
    if name == "adam":
        return torch.optim.Adam(groups, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay)
    raise ValueError(f"optimizer is {name!r}; give 'sgd', 'nesterov', 'adam' or 'adamw'")


def polynomial_schedule(optimizer: torch.optim.Optimizer, steps: float) -> LambdaLR:
    """Learning rate lr (1 - t/T)^0.9 in step t of T = `steps`.

    A closed form, so that a resumed run with more steps follows the longer schedule.

    Raises:
        ValueError: If the number of steps is infinite.
    """
    if math.isinf(steps):
        raise ValueError(
            "the polynomial schedule needs an end; set trainer.max_steps or trainer.max_epochs"
        )
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps) ** 0.9)


def drop_schedule(optimizer: torch.optim.Optimizer, epochs: list[int]) -> MultiStepLR:
    """Learning rate that falls to a tenth at the start of each of these epochs, counted from 0."""
    return MultiStepLR(optimizer, epochs)


def split_undecayed(
    groups: list[dict[str, Any]], undecayed: Sequence[torch.nn.Parameter]
) -> list[dict[str, Any]]:
    """Parameter groups with some parameters apart, which have no weight decay.

    Args:
        groups: Groups with ``name``, ``lr`` and ``params``.
        undecayed: The parameters.
    """
    apart = {id(parameter) for parameter in undecayed}
    result = []
    for group in groups:
        kept = [parameter for parameter in group["params"] if id(parameter) not in apart]
        free = [parameter for parameter in group["params"] if id(parameter) in apart]
        result.append({**group, "params": kept})
        name = f"{group['name']} undecayed"
        result.append({**group, "name": name, "params": free, "weight_decay": 0.0})
    return [group for group in result if group["params"]]


def split_biases(groups: list[dict[str, Any]], factor: float) -> list[dict[str, Any]]:
    """Parameter groups with their biases (vectors) apart, at ``factor`` times the learning rate.

    Args:
        groups: Groups with ``name``, ``lr`` and ``params``.
        factor: Factor on the learning rate of the biases; 1 leaves the groups as they are.
    """
    if factor == 1:
        return groups
    result = []
    for group in groups:
        weights = [parameter for parameter in group["params"] if parameter.ndim > 1]
        biases = [parameter for parameter in group["params"] if parameter.ndim == 1]
        result.append({**group, "params": weights})
        result.append(
            {"name": f"{group['name']} biases", "lr": factor * group["lr"], "params": biases}
        )
    return [group for group in result if group["params"]]
