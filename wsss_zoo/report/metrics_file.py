"""Read curves and last values from a run's ``metrics.csv``."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.runs.metrics_csv import parse_metrics

# A loss of one batch says little: numbers of the training are means over its last steps.
LAST_STEPS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A metric over the training: finite values at rising steps, (n,) each."""

    steps: Floats
    values: Floats


@dataclass
class Metrics:
    """Content of a metrics file.

    Args:
        curves: Metrics by name, as they came during the training.
        last: Last value of each; of ``train/`` metrics the mean over the last 100 steps. May hold
            nan and infinity.
        step: Last step of the training; -1 without any.
        epoch: Its epoch; -1 without any.
        problems: What is wrong with the file.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    step: int = -1
    epoch: int = -1
    problems: list[str] = field(default_factory=list)


def read_metrics_file(path: Path) -> Metrics:
    """Read a metrics file, as far as it can be read.

    A row of a smaller step than an earlier one is of a later ``validate`` in the same folder: it
    gives last values and no points of curves.
    """
    found = Metrics()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        found.problems.append(f"metrics.csv cannot be read: {error.strerror}")
        return found
    rows, found.problems = parse_metrics(text)
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        values = {name: float(cell) for name, cell in row.items()}
        step, epoch = int(values.pop("step")), int(values.pop("epoch", found.epoch))
        found.last |= values
        if step >= found.step:
            found.step, found.epoch = step, epoch
            for name, value in values.items():
                points.setdefault(name, []).append((step, value))
    for name, pairs in points.items():
        steps, numbers = np.array(pairs, dtype=np.float64).T
        late = steps > found.step - LAST_STEPS
        if name.startswith("train/"):
            found.last[name] = float(numbers[late].mean() if late.any() else numbers[-1])
        finite = np.isfinite(numbers)
        if finite.any():
            found.curves[name] = Curve(steps[finite], numbers[finite])
    return found
