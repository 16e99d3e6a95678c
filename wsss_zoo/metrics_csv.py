"""Write and read ``metrics.csv``, whose columns grow and whose last line a kill may cut short."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss_zoo.atomic import write_atomic


class MetricsFile:
    """A CSV of metrics: rows are appended, and the header grows when a new metric comes.

    Args:
        path: The file; its folder is made.
        first_step: Rows of this step and later ones are dropped; None keeps all.
    """

    def __init__(self, path: Path, first_step: int | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        existing = read_metrics(path)
        kept = [row for row in existing if first_step is None or int(row["step"]) < first_step]
        self.metrics: list[dict[str, Any]] = []
        self._keys = sorted({key for row in kept for key in row})
        if kept:
            # Even when no row is dropped: a kill may have left half a line.
            self._rewrite(kept)
        else:
            path.unlink(missing_ok=True)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Take one row; tensors become numbers."""
        row = {key: float(value) for key, value in metrics.items()}
        self.metrics.append({**row, "step": step or 0})

    def save(self) -> None:
        """Write the rows taken since the last time."""
        rows, self.metrics = self.metrics, []
        if not rows:
            return
        try:
            self._write(rows)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def _write(self, rows: list[dict[str, Any]]) -> None:
        keys = {key for row in rows for key in row}
        if not self.path.exists() or not keys <= set(self._keys):
            self._keys = sorted(keys | set(self._keys))
            self._rewrite([*read_metrics(self.path), *rows])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._keys).writerows(rows)

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._keys)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file, without empty cells and without a last line that a kill cut short."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(complete.splitlines())
    filled = [{key: value for key, value in row.items() if key and value} for row in rows]
    return [row for row in filled if "step" in row]
