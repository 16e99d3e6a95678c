"""Axes of the page's main table, for runs and intervals beside the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from wsss_zoo.report.comparison import Comparison, is_share
from wsss_zoo.report.groups import Group, seeds_of
from wsss_zoo.report.page.curves import ticks
from wsss_zoo.report.statistics import Estimate

# Two seeds can give an interval that dwarfs everything; it is cut and its end marked.
_WIDEST = 3


@dataclass(frozen=True)
class Axis:
    """A horizontal axis that all rows share.

    Args:
        marks: Values that are written at it, rising; the first and the last are its ends.
        factor: What they are multiplied by where they are written.
    """

    marks: Sequence[float]
    factor: int

    def place(self, value: float) -> float:
        """Place a value, in percent of the axis; values beyond its ends lie on them."""
        low, high = self.marks[0], self.marks[-1]
        share = (value - low) / (high - low) if high > low else 0.5
        return round(100 * min(max(share, 0.0), 1.0), 1)

    def cut(self, delta: Estimate) -> str:
        """Name the ends of the axis that an interval exceeds, as classes of the style sheet."""
        low, high = (delta.low or 0) < self.marks[0], (delta.high or 0) > self.marks[-1]
        return " ".join(["lo"] * low + ["hi"] * high)


def axes(comparison: Comparison) -> tuple[Axis, Axis]:
    """Make the axis of the first metric and that of differences, the baseline in its middle."""
    factor = 100 if is_share(comparison.metric) else 1
    values = [v for group in comparison.groups for v in group.numbers(comparison.metric)]
    marks = ticks(min(values), max(values), 3) if values else [0.0, 1.0]
    deltas = [row.delta for row in comparison.rows if row.delta is not None]
    greatest = max((max(abs(d.mean), d.spread or 0.0) for d in deltas), default=0.0) or 0.01
    ends = [max(abs(d.low or d.mean), abs(d.high or d.mean)) for d in deltas]
    reach = ticks(0, min(max(ends, default=0.01), _WIDEST * greatest) or 0.01, 2)[-1]
    return Axis(marks, factor), Axis([-reach, 0.0, reach], factor)


def breakable(text: str) -> str:
    """Allow line breaks where words of a name meet; keep a number and its unit together."""
    zero_width, fixed = "\N{ZERO WIDTH SPACE}", "\N{NO-BREAK SPACE}"
    text = text.replace("/", f"/{zero_width}").replace("_", f"_{zero_width}")
    return text.replace(" %", f"{fixed}%")


def seed_ranges(group: Group) -> str:
    """Write the seeds of a group as ranges, as ``0-2, 7``."""
    # In a row of seeds, a seed less its place is always the same.
    rows = groupby(enumerate(seeds_of([group])), lambda pair: pair[1] - pair[0])
    parts = [[seed for _, seed in row] for _, row in rows]
    texts = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts]
    return ", ".join(texts[:6]) + (", …" if len(texts) > 6 else "")
