"""Compare groups of runs by some metrics, and with a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsss_zoo.report.find_runs import Found
from wsss_zoo.report.groups import Group, choose_baseline, group_runs
from wsss_zoo.report.runs import Run
from wsss_zoo.report.statistics import Estimate, estimate, paired_difference

# Metrics that stand for a run, the most telling first.
_TELLING = (
    "val/miou", "test/miou", "val/map", "test/map", "pseudo/miou", "estimate/separation",
)  # fmt: skip
_MEASURED = ("val/", "test/", "pseudo/", "estimate/")
_COLUMNS = 4
# Numbers in [0, 1], shown in percent.
_SHARES = {
    "miou", "iou", "map", "ap", "pixel_acc", "boundary_f", "coverage", "pseudo_acc",
    "pseudo_acc_kept", "mask_ratio", "miou_base", "miou_novel", "miou_harmonic", "best_miou",
    "precision", "recall", "separation", "confidence", "missing", "missing_images", "share",
    "untagged_images", "untagged_pixels",
}  # fmt: skip


@dataclass
class Row:
    """A group in the table: its metrics, and the difference of the first one to the baseline.

    A cell is None if no run has the metric.
    """

    group: Group
    cells: dict[str, Estimate | None]
    delta: Estimate | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Comparison:
    """Groups of runs and their numbers.

    Args:
        rows: The baseline's, then the others by the first metric; last the stages of pipelines.
        metrics: Names of the metrics in the columns, at least one; the first decides.
        baseline: Group that the others are compared to.
        confidence: Of the intervals, in (0, 1).
        runs: All runs.
        problems: What is wrong with the folders given.
    """

    rows: list[Row]
    metrics: list[str]
    baseline: Group | None
    confidence: float
    runs: list[Run]
    problems: list[str]

    @property
    def metric(self) -> str:
        """Name of the metric that decides."""
        return self.metrics[0]

    def is_folded(self, row: Row) -> bool:
        """Tell whether a row is a stage of a pipeline without the number that decides."""
        return row.group.recipe is not None and row.cells[self.metric] is None

    def footnotes(self) -> dict[str, int]:
        """Number the notes on groups, in the order of the rows."""
        notes = dict.fromkeys(note for row in self.rows for note in row.notes)
        return {note: number for number, note in enumerate(notes, 1)}

    @property
    def groups(self) -> list[Group]:
        """Groups in the order of the rows."""
        return [row.group for row in self.rows]

    def problems_of_runs(self) -> list[str]:
        """List a line for each run with which something is wrong."""
        return [f"{run.name}: {'; '.join(run.problems)}" for run in self.runs if run.problems]


def compare(
    found: Found,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Group runs, and compare the groups by their metrics.

    Args:
        found: The runs.
        metrics: Columns; by default the most telling that there are.
        baseline: What to compare to, see `choose_baseline`.
        confidence: Of the intervals, in (0, 1).

    Raises:
        ValueError: If there is no such baseline or metric, or ``confidence`` is out of range.
    """
    known = {name for run in found.runs for name in run.metrics}
    for name in metrics:
        if name not in known:
            near = [other for other in known if name.rsplit("/", 1)[-1] in other]
            # Those by class are many.
            order = sorted(near or known, key=lambda other: (other.count("/"), other))
            listed = ", ".join(order[:12]) or "none"
            raise ValueError(f"no run has the metric {name}; there are: {listed}")
    columns = list(dict.fromkeys(metrics)) or _telling(known)
    groups = group_runs(found.runs)
    base = None if baseline is None else choose_baseline(groups, baseline)
    rows = [_row(group, columns, base, confidence) for group in groups]
    rows.sort(key=lambda row: _order(row, columns[0], base))
    return Comparison(rows, columns, base, confidence, found.runs, found.problems)


def is_share(metric: str) -> bool:
    """Tell whether a metric is in [0, 1] and shown in percent.

    >>> is_share("val/iou/cat"), is_share("train/loss")
    (True, False)
    """
    parts = metric.split("/")
    return len(parts) > 1 and (parts[1] in _SHARES or parts[1].startswith("cam_miou"))


def is_loss(metric: str) -> bool:
    """Tell whether less of a metric is better."""
    return "loss" in metric


def shown(value: float, metric: str, *, signed: bool = False) -> str:
    """Format a number: shares in percent with one decimal, others with four digits.

    >>> shown(0.58263, "val/miou"), shown(0.58263, "train/loss")
    ('58.3', '0.5826')
    >>> shown(-0.0004, "val/miou", signed=True)
    '+0.0'
    >>> shown(0.031, "val/ap", signed=True)
    '+3.1'
    """
    sign = "+" if signed else ""
    return f"{100 * value:{sign}z.1f}" if is_share(metric) else f"{value:{sign}.4g}"


def _telling(known: set[str]) -> list[str]:
    telling = [name for name in _TELLING if name in known]
    measured = sorted(name for name in known if name.startswith(_MEASURED))
    others = sorted(known, key=lambda name: (name != "train/loss", name))
    return telling[:_COLUMNS] or measured[:_COLUMNS] or others[:1] or ["val/miou"]


def _row(group: Group, metrics: list[str], base: Group | None, confidence: float) -> Row:
    first, values = metrics[0], {metric: group.numbers(metric) for metric in metrics}
    cells = {name: estimate(found, confidence) if found else None for name, found in values.items()}
    row = Row(group, cells, notes=group.notes())
    lacking = sum(run.finished and run.number(first) is None for run in group.runs)
    if lacking and values[first]:
        row.notes.append(f"{lacking} of {len(group.runs)} runs without {first}")
    elif lacking and not group.recipe:
        row.notes.append(f"no {first}")
    if base is None or base is group or not values[first]:
        return row
    classes, theirs = sorted(group.class_names), sorted(base.class_names)
    if classes and theirs and classes != theirs:
        row.notes.append("other classes than the baseline: no difference")
        return row
    row.delta = paired_difference(group.by_seed(first), base.by_seed(first), confidence)
    if row.delta is None:
        row.notes.append("no seed in common with the baseline: no difference")
    return row


def _order(row: Row, metric: str, base: Group | None) -> tuple[object, ...]:
    cell = row.cells[metric]
    value = float("inf") if cell is None else cell.mean * (1 if is_loss(metric) else -1)
    group = row.group
    if group.recipe:
        # Folder of the pipeline, then its stages in order.
        return 2, group.name.rpartition("/")[0], group.runs[0].place, value, group.name
    return 0 if group is base else 1, "", 0, value, group.name
