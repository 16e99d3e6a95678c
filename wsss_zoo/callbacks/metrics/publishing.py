"""Sums over ranks, and measures of files on loggers and terminal."""

import math
from collections.abc import Sequence

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from wsss_zoo.drawing.class_table import print_class_table


def sum_over_ranks(trainer: Trainer, counts: Tensor) -> Tensor:
    """Sum a tensor of counts over all ranks, on the CPU."""
    total = trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum")
    return torch.as_tensor(total).cpu()


def publish_measures(
    trainer: Trainer,
    title: str,
    metrics: dict[str, float],
    group: str,
    by_class: Sequence[str],
    class_names: Sequence[str],
) -> None:
    """Send metrics to the loggers and print a table of the measures ``by_class``.

    Metrics are named ``<group>/<measure>`` and ``<group>/<measure>/<class>``.
    """
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
        logger.save()
    columns = {
        measure: {name: metrics.get(f"{group}/{measure}/{name}", math.nan) for name in class_names}
        for measure in by_class
    }
    print_class_table(title, columns, {k: v for k, v in metrics.items() if k.count("/") == 1})
