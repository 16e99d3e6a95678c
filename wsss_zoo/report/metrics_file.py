"""A run's ``metrics.csv``: curves, last values, and what is wrong with the file.

Apart from `wsss_zoo.run_folder`, which writes the file, because that needs Lightning.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# A loss of one batch says little: numbers of the training are means over its last steps.
LAST_STEPS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A metric over the training.

    Args:
        steps: Steps, rising, (n,).
        values: Finite values, (n,).
    """

    steps: Floats
    values: Floats


@dataclass
class Metrics:
    """What a metrics file holds.

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

    Rows whose step is smaller than that of a row before them were measured after the training (by
    ``validate`` in the same folder): they count as last values and are no part of a curve.
    """
    found = Metrics()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        found.problems.append(f"metrics.csv cannot be read: {error.strerror}")
        return found
    complete, _, rest = text.rpartition("\n")
    if rest:
        found.problems.append("the last line of metrics.csv is cut short; it is left out")
    points: dict[str, list[tuple[int, float]]] = {}
    for step, row in _rows(complete, found):
        training = step >= found.step
        if training:
            found.step = step
            found.epoch = int(row.get("epoch", found.epoch))
        for name, value in row.items():
            if name == "epoch":
                continue
            found.last[name] = value
            if training:
                points.setdefault(name, []).append((step, value))
    for name, pairs in points.items():
        table = np.array(pairs, dtype=np.float64)
        if name.startswith("train/"):
            found.last[name] = (
                float(table[table[:, 0] > found.step - LAST_STEPS, 1].mean())
                if (table[-1, 0] > found.step - LAST_STEPS)
                else float(table[-1, 1])
            )
        finite = table[np.isfinite(table[:, 1])]
        if len(finite):
            found.curves[name] = Curve(finite[:, 0], finite[:, 1])
    return found


def _rows(text: str, found: Metrics) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and numbers of each line; lines that are not as the header says are reported."""
    lines = csv.reader(text.splitlines())
    try:
        header = next(lines, [])
        if "step" not in header:
            found.problems.append("metrics.csv has no header with a column 'step'; it is not read")
            return
        place = header.index("step")
        bad = 0
        for cells in lines:
            try:
                if len(cells) != len(header):
                    raise ValueError
                step = float(cells[place])
                if not math.isfinite(step):
                    raise ValueError
                row = {
                    name: float(cell)
                    for name, cell in zip(header, cells, strict=True)
                    if cell and name != "step"
                }
                if not math.isfinite(row.get("epoch", 0)):
                    raise ValueError
            except ValueError:
                bad += 1
                continue
            yield int(step), row
        if bad:
            lines_are = "lines of metrics.csv are" if bad > 1 else "line of metrics.csv is"
            found.problems.append(f"{bad} damaged {lines_are} left out")
    except csv.Error as error:
        found.problems.append(f"metrics.csv is damaged ({error}); its rest is left out")
