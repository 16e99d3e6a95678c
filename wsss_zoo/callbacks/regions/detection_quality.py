"""How well clean labels are told from noise: one description, for files, loggers and the table."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Trainer
from torch import Tensor

from wsss_zoo.drawing.class_table import print_class_table
from wsss_zoo.functional import DetectionReport

MEASURES = ("precision", "coverage", "recall")


def describe_detection(
    report: DetectionReport, class_names: Sequence[str], group: str
) -> dict[str, Any]:
    """A report ready for JSON.

    Args:
        report: Shares overall and by class.
        class_names: Names by class index.
        group: First part of the metrics' names.

    Returns:
        ``overall``: precision (correct ones among the clean pixels), coverage (clean ones among
        all), recall (clean ones among the correct), None where nothing was counted; ``by_class``:
        the same and ``pixels`` by class of the given label; ``metrics``: those that are numbers,
        ``<group>/precision``, ``<group>/precision/<class>`` and so on.
    """
    values: dict[str, Any] = dict(report)
    overall = {measure: values[measure] for measure in MEASURES}
    by_class: dict[str, dict[str, Any]] = {
        name: {measure: values[f"class_{measure}"][index] for measure in MEASURES}
        | {"pixels": values["class_pixels"][index]}
        for index, name in enumerate(class_names)
    }
    metrics = {f"{group}/{measure}": value for measure, value in overall.items()}
    for name, shares in by_class.items():
        metrics |= {f"{group}/{measure}/{name}": shares[measure] for measure in MEASURES}
    numbers = {name: value for name, value in metrics.items() if value is not None}
    return {"overall": overall, "by_class": by_class, "metrics": numbers}


def report_of_counts(counts: Tensor) -> DetectionReport:
    """Shares from counted pixels.

    Args:
        counts: Labelled pixels of each class, and how many of them are clean, correct, and both,
            (C, 4) int64.
    """

    def shares(part: Tensor, whole: Tensor) -> list[float | None]:
        pairs = zip(part.tolist(), whole.tolist(), strict=True)
        return [a / b if b else None for a, b in pairs]

    every, clean, correct, both = counts.unbind(1)
    total, clean_total, correct_total, both_total = (part.sum()[None] for part in counts.unbind(1))
    return {
        "precision": shares(both_total, clean_total)[0],
        "coverage": shares(clean_total, total)[0],
        "recall": shares(both_total, correct_total)[0],
        "class_precision": shares(both, clean),
        "class_coverage": shares(clean, every),
        "class_recall": shares(both, correct),
        "class_pixels": every.tolist(),
    }


def publish_detection(trainer: Trainer, title: str, described: dict[str, Any]) -> None:
    """Send the metrics of `describe_detection` to the loggers and print a table by class.

    Args:
        trainer: Has the loggers.
        title: What was measured.
        described: The description; further metrics may have been added.
    """
    metrics: dict[str, float] = described["metrics"]
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
        logger.save()
    by_class = {
        measure: {
            name: float("nan") if shares[measure] is None else shares[measure]
            for name, shares in described["by_class"].items()
        }
        for measure in MEASURES
    }
    totals = {name: value for name, value in metrics.items() if name.count("/") == 1}
    print_class_table(title, by_class, totals)
