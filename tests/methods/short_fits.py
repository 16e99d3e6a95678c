"""Trainings of a few steps, and what they leave behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from tests.methods.zoo import make_data, make_method
from wsss_zoo import BaseMethod


@dataclass
class ShortFit(Callback):
    """What a training went through; as its callback it keeps record.

    Args:
        method: What is trained.
    """

    method: BaseMethod
    batches: list[Any] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    #: Of every step, by the parameter's name.
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    #: What the last step logged.
    metrics: dict[str, Tensor] = field(default_factory=dict)

    def on_train_batch_start(
        self, trainer: Trainer, method: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batches.append(batch)

    def on_after_backward(self, trainer: Trainer, method: LightningModule) -> None:
        named = method.named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})

    def on_train_batch_end(
        self, trainer: Trainer, method: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"])
        self.metrics = dict(trainer.callback_metrics)


def short_fit(
    case: str,
    trainer: Callable[..., Trainer],
    folder: Any,
    prepare: Callable[[BaseMethod], object] = lambda method: None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> ShortFit:
    """Train a case, from the same start whenever it is called.

    Args:
        case: Name in `STEPS`.
        trainer: Makes a Trainer.
        folder: For what the data need.
        prepare: What is done to the method before.
        callbacks: Act before the record's own.
        options: Of the Trainer.
    """
    torch.manual_seed(0)
    record = ShortFit(make_method(case))
    prepare(record.method)
    settings = {"max_steps": 1, "limit_val_batches": 0, "callbacks": [*callbacks, record]}
    trainer(**(settings | options)).fit(record.method, make_data(case, folder))
    return record
