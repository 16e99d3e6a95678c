"""The optimisers and the schedule that methods choose from."""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

logger = logging.getLogger(__name__)

Optimizer = Literal["sgd", "nesterov", "adam", "adamw"]
#: Optimisers whose states have the same tensors, so that one can go on with another's.
KINDS = {"sgd": "SGD", "nesterov": "SGD", "adam": "Adam", "adamw": "Adam"}


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
    options: dict[str, Any] = {"params": groups, "weight_decay": weight_decay}
    made: torch.optim.Optimizer
    if name == "adam":
        made = torch.optim.Adam(**options)
    elif name == "adamw":
        made = torch.optim.AdamW(**options)
    elif name in ("sgd", "nesterov"):
        made = torch.optim.SGD(**options, momentum=0.9, nesterov=name == "nesterov")
    else:
        raise ValueError(f"optimizer is {name!r}; give 'sgd', 'nesterov', 'adam' or 'adamw'")
    made.register_load_state_dict_pre_hook(_keep_options)
    return made


def _keep_options(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Take moments from a checkpoint, but no option: those of this run count.

    Raises:
        ValueError: If the state is of another kind of optimiser, or of other groups.
    """
    saved, own = state["param_groups"], optimizer.param_groups
    held, kind = ("Adam" if "betas" in groups[0] else "SGD" for groups in (saved, own))
    if held != kind:
        raise ValueError(
            f"the checkpoint has the state of {held}, and optimizer asks for {kind}; leave out "
            "optimizer to resume the run, or start a new run from its weights with init_from"
        )
    sizes = [[len(group["params"]) for group in groups] for groups in (saved, own)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the optimiser of the checkpoint has groups of {sizes[0]} parameters, this run has "
            f"{sizes[1]}; give the options of the run to resume it, or start a new run from its "
            "weights with init_from"
        )
    pairs = zip(saved, own, strict=True)
    return state | {"param_groups": [now | {"params": old["params"]} for old, now in pairs]}


class Schedule(LambdaLR):
    """Learning rates lr f(t), by a function of the number t of steps or epochs alone.

    A resumed run takes t from its checkpoint. The rates and f are those of its own options, from
    the first step on.

    Args:
        optimizer: The optimiser, with its learning rates.
        factor: Function f.
        unit: What t counts, "step" or "epoch".
        steps: Length of the training; None if f does not depend on it.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        factor: Callable[[int], float],
        unit: Literal["step", "epoch"] = "step",
        steps: int | None = None,
    ) -> None:
        self.unit, self.steps = unit, steps
        super().__init__(optimizer, factor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the position, and set the learning rates of this run's options.

        Raises:
            ValueError: If the checkpoint's schedule counts in another unit.
        """
        # Schedules of earlier versions have no unit; milestones were those of epochs.
        unit = state_dict.get("unit", "epoch" if "milestones" in state_dict else "step")
        if unit != self.unit:
            raise ValueError(
                f"the schedule of the checkpoint counts {unit}s, that of this run {self.unit}s; "
                "leave out lr_drop_epochs to resume the run, or start a new one with init_from"
            )
        before = state_dict.get("steps")
        if before != self.steps and before is not None:
            text = "the learning rate now falls over %s steps; in the checkpoint's run over %s"
            logger.info(text, self.steps, before)
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict.get("_step_count", self.last_epoch + 1)
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        self._last_lr = [base * factor(self.last_epoch) for base, factor in pairs]
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def polynomial_schedule(optimizer: torch.optim.Optimizer, steps: float) -> Schedule:
    """Make the learning rate lr (1 - t/T)^0.9 in step t of T = `steps`.

    Raises:
        ValueError: If the number of steps is infinite.
    """
    if math.isinf(steps):
        raise ValueError(
            "the polynomial schedule needs an end; set trainer.max_steps or trainer.max_epochs"
        )
    return Schedule(optimizer, lambda t: max(0.0, 1 - t / steps) ** 0.9, steps=int(steps))


def drop_schedule(optimizer: torch.optim.Optimizer, epochs: Sequence[int]) -> Schedule:
    """Make the learning rate lr 0.1^n in an epoch at or after n of ``epochs``."""
    drops = sorted(epochs)
    return Schedule(optimizer, lambda t: 0.1 ** bisect_right(drops, t), unit="epoch")


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
