"""Read a run's ``metrics.csv``; needs neither torch nor Lightning."""

import csv
import math
from pathlib import Path

Row = dict[str, str]


def read_metrics(path: Path) -> list[Row]:
    """Read the rows of a metrics file as text, without empty cells.

    Damaged lines are left out, as is a last line that a kill cut short. A missing file has no rows.

    Raises:
        OSError: If the file cannot be read.
        UnicodeDecodeError: If it is no text.
    """
    return parse_metrics(path.read_text(encoding="utf-8"))[0] if path.exists() else []


def parse_metrics(text: str) -> tuple[list[Row], list[str]]:
    """Read the rows in a metrics file's text.

    Returns:
        Rows, each with a step and without empty cells; and what is wrong with the text.
    """
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
    """Whether all cells are numbers, and step and epoch finite ones."""
    try:
        numbers = {name: float(cell) for name, cell in row.items()}
    except ValueError:
        return False
    return math.isfinite(numbers.get("step", math.nan)) and math.isfinite(numbers.get("epoch", 0))
