"""Quality of the detection of clean labels, for files, loggers and the table."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MEASURES = ("precision", "coverage", "recall")


def count_detection(labels: Tensor, clean: Tensor, is_correct: Tensor, num_classes: int) -> Tensor:
    """Count pixels (P,) by given class, and how many are clean, correct, and both, (C, 4) int64."""
    chosen = (torch.ones_like(clean), clean, is_correct, clean & is_correct)
    counts = [torch.bincount(labels[pixels], minlength=num_classes) for pixels in chosen]
    return torch.stack(counts, dim=1)


def describe_detection(counts: Tensor, class_names: Sequence[str], group: str) -> dict[str, Any]:
    """Turn what `count_detection` gives into shares, ready for JSON.

    Returns:
        ``overall``: precision (correct share of the clean pixels), coverage (clean share of all),
        recall (clean share of the correct ones), None where nothing was counted; ``by_class``: the
        same and ``pixels`` by class of the given label; ``metrics``: those that are numbers,
        ``<group>/precision``, ``<group>/precision/<class>`` and so on; ``class_names``.
    """
    overall = _shares(*counts.sum(0).tolist())
    by_class = {
        name: _shares(*row) | {"pixels": row[0]}
        for name, row in zip(class_names, counts.tolist(), strict=True)
    }
    metrics = {f"{group}/{measure}": share for measure, share in overall.items()}
    for name, shares in by_class.items():
        metrics |= {f"{group}/{measure}/{name}": shares[measure] for measure in MEASURES}
    return {
        "overall": overall,
        "by_class": by_class,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
        "class_names": list(class_names),
    }


def _shares(every: int, clean: int, correct: int, both: int) -> dict[str, float | None]:
    parts, wholes = (both, clean, both), (clean, every, correct)
    shares = [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)]
    return dict(zip(MEASURES, shares, strict=True))
