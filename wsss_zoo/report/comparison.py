"""What is compared: which metrics, over which groups, against which baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsss_zoo.report.find_runs import Found
from wsss_zoo.report.groups import Group, choose_baseline, group_runs
from wsss_zoo.report.runs import Run
from wsss_zoo.report.statistics import Estimate, estimate, paired_difference

# Metrics that stand for a run, the most telling first.
_TELLING = ("val/miou", "test/miou", "val/map", "test/map", "pseudo/miou")
_COLUMNS = 4
# Numbers in [0, 1], shown in percent.
_SHARES = {
    "miou", "iou", "map", "ap", "pixel_acc", "boundary_f", "coverage", "pseudo_acc",
    "pseudo_acc_kept", "mask_ratio", "miou_base", "miou_novel", "miou_harmonic", "best_miou",
    "precision", "recall",
}  # fmt: skip


@dataclass
class Row:
    """A group in the table: its metrics over its runs, the first one's difference to the baseline.

    None stands where no run has the metric, or where there is no difference.
    """

    group: Group
    cells: dict[str, Estimate | None]
    delta: Estimate | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Comparison:
    """Groups of runs and their numbers.

    Args:
        rows: One for each group: the baseline first, the others by the first metric; stages of
            pipelines in their order.
        metrics: Names of the metrics in the columns, at least one; the first decides.
        baseline: Group that the others are compared to; None if there is none.
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
        """The metric that decides."""
        return self.metrics[0]

    @property
    def groups(self) -> list[Group]:
        """Groups in the order of the rows."""
        return [row.group for row in self.rows]

    def problems_of_runs(self) -> list[str]:
        """A line for each run with which something is wrong."""
        return [f"{run.name}: {'; '.join(run.problems)}" for run in self.runs if run.problems]


def compare(
    found: Found,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Compare runs.

    Args:
        found: The runs.
        metrics: Columns; empty takes the most telling that there are.
        baseline: What to compare to, see `choose_baseline`; None compares to nothing.
        confidence: Of the intervals, in (0, 1).

    Raises:
        ValueError: If there is no such baseline, no run has one of the metrics, or ``confidence``
            is out of range.
    """
    known = {name for run in found.runs for name in run.metrics}
    for name in metrics:
        if name not in known:
            near = [other for other in known if name.rsplit("/", 1)[-1] in other]
            # Those by class are many.
            order = sorted(near or known, key=lambda other: (other.count("/"), other))
            listed = ", ".join(order[:12])
            raise ValueError(f"no run has the metric {name}; there are: {listed or 'none'}")
    columns = list(dict.fromkeys(metrics)) or _telling(known)
    groups = group_runs(found.runs)
    base = None if baseline is None else choose_baseline(groups, baseline)
    rows = [_row(group, columns, base, confidence) for group in groups]
    rows.sort(key=lambda row: _order(row, columns[0], base))
    return Comparison(rows, columns, base, confidence, found.runs, found.problems)


def is_share(metric: str) -> bool:
    """Whether a metric is in [0, 1] and shown in percent.

    >>> is_share("val/iou/cat"), is_share("train/loss")
    (True, False)
    """
    parts = metric.split("/")
    return len(parts) > 1 and (parts[1] in _SHARES or parts[1].startswith("cam_miou"))


def is_loss(metric: str) -> bool:
    """Whether less of a metric is better."""
    return "loss" in metric


def shown(value: float, metric: str, *, signed: bool = False) -> str:
    """A number as people read it: shares in percent with one decimal.

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
    columns = [name for name in _TELLING if name in known]
    if not columns:
        columns = sorted(name for name in known if name.startswith(("val/", "test/", "pseudo/")))
    if not columns:
        columns = sorted(known, key=lambda name: (name != "train/loss", name))[:1]
    return columns[:_COLUMNS] or ["val/miou"]


def _row(group: Group, metrics: list[str], base: Group | None, confidence: float) -> Row:
    cells: dict[str, Estimate | None] = {}
    for metric in metrics:
        values = group.numbers(metric)
        cells[metric] = estimate(values, confidence) if values else None
    row = Row(group, cells, notes=group.notes())
    if cells[metrics[0]] is None and not group.recipe and any(run.finished for run in group.runs):
        row.notes.append(f"no {metrics[0]}")
    lacking = sum(run.finished and run.number(metrics[0]) is None for run in group.runs)
    if lacking and cells[metrics[0]] is not None:
        row.notes.append(f"{lacking} of {len(group.runs)} runs without {metrics[0]}")
    if base is None or base is group or cells[metrics[0]] is None:
        return row
    classes, theirs = sorted(group.class_names), sorted(base.class_names)
    if classes and theirs and classes != theirs:
        row.notes.append("other classes than the baseline: no difference")
        return row
    ours, others = group.by_seed(metrics[0]), base.by_seed(metrics[0])
    row.delta = paired_difference(ours, others, confidence)
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
