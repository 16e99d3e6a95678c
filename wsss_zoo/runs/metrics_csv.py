"""Write and read a run's ``metrics.csv``, without torch and Lightning."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import write_atomic

Row = dict[str, str]


class MetricsFile:
    """A CSV file of metrics: rows are appended, and the header grows with each new metric.

    Rows of an earlier run from ``first_step`` on are dropped; None keeps all.
    """

    def __init__(self, path: Path, first_step: int | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        limit = math.inf if first_step is None else first_step
        kept = [row for row in read_metrics(path) if int(float(row["step"])) < limit]
        self.metrics: list[dict[str, Any]] = []
        self._keys = sorted({key for row in kept for key in row})
        if kept:
            # Even if no row is dropped: a kill may have left half a line.
            self._rewrite(kept)
        else:
            path.unlink(missing_ok=True)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add one row; tensors become numbers."""
        row = {key: float(value) for key, value in metrics.items()}
        self.metrics.append({**row, "step": step or 0})

    def save(self) -> None:
        """Write the rows added since the last call."""
        rows, self.metrics = self.metrics, []
        if not rows:
            return
        known, keys = set(self._keys), {key for row in rows for key in row}
        try:
            if self.path.exists() and keys <= known:
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self._keys).writerows(rows)
            else:
                self._keys = sorted(keys | known)
                self._rewrite([*read_metrics(self.path), *rows])
        except OSError as error:
            error.filename = str(self.path)
            raise

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._keys)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())


def read_metrics(path: Path) -> list[Row]:
    """Read the rows of a metrics file as text, without empty cells.

    Damaged lines are left out, as is an incomplete last line. A missing file has no rows.

    Raises:
        OSError: If the file cannot be read.
        UnicodeDecodeError: If it is no text.
    """
    return parse_metrics(path.read_text(encoding="utf-8"))[0] if path.exists() else []


def parse_metrics(text: str) -> tuple[list[Row], list[str]]:
    """Parse a metrics file into rows, each with a step and without empty cells, and problems."""
    complete, _, rest = text.rpartition("\n")
    problems = ["the last line of metrics.csv is cut short; it is left out"] if rest else []
    rows: list[Row] = []
    damaged = 0
    lines = csv.reader(complete.splitlines())
    try:
        header = next(lines, [])
        if "step" not in header:
            return [], [*problems, "metrics.csv has no header with a column 'step'; it is not read"]
        for cells in lines:
            row = {name: cell for name, cell in zip(header, cells, strict=False) if cell}
            if len(cells) == len(header) and _is_valid(row):
                rows.append(row)
            else:
                damaged += 1
    except csv.Error as error:
        problems.append(f"metrics.csv is damaged ({error}); its rest is left out")
    if damaged:
        noun = "lines of metrics.csv are" if damaged > 1 else "line of metrics.csv is"
        problems.append(f"{damaged} damaged {noun} left out")
    return rows, problems


def _is_valid(row: Row) -> bool:
    """Tell whether all cells are numbers, and step and epoch finite."""
    try:
        numbers = {name: float(cell) for name, cell in row.items()}
    except ValueError:
        return False
    return math.isfinite(numbers.get("step", math.nan)) and math.isfinite(numbers.get("epoch", 0))
