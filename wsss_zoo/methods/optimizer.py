"""The optimisers and the schedule that methods choose from."""

import math
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

Optimizer = Literal["sgd", "adamw"]


def make_optimizer(
    name: Optimizer, groups: list[dict[str, Any]], weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW, over parameter groups that carry their learning rates.

    Raises:
        ValueError: If the name is another.
    """
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay)
    raise ValueError(f"optimizer is {name!r}; give 'sgd' or 'adamw'")


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
