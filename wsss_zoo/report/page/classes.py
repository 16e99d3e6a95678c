"""Numbers by class for the page's bars and confusion matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.groups import Group, class_lists
from wsss_zoo.report.metrics_file import Floats
from wsss_zoo.report.statistics import Estimate, estimate

# Measures by class: name of the metric without the class, and what it is.
_MEASURES = {
    "val/iou/": "IoU on val",
    "test/iou/": "IoU on test",
    "val/ap/": "average precision on val",
    "test/ap/": "average precision on test",
    "pseudo/iou/": "IoU of the pseudo-labels",
}
# A larger matrix cannot be read: its most frequent mistakes are listed instead.
_CLASSES, _MATRIX, _MISTAKES = 30, 30, 20


@dataclass(frozen=True)
class ClassFigure:
    """Bars of one measure: mean by class of each group, by the group's place in the table."""

    title: str
    table: dict[int, dict[str, Estimate]]
    classes: list[str]
    left_out: int


@dataclass(frozen=True)
class Confusion:
    """Shares of the pixels of each true class (row) that were predicted as each class, (C, C)."""

    place: int
    names: list[str]
    shares: list[list[float]]
    mistakes: list[tuple[str, str, float]]


def class_figures(comparison: Comparison, colored: Sequence[int]) -> list[ClassFigure]:
    """Collect bars of the coloured groups: a figure for each measure and list of classes."""
    groups = comparison.groups
    figures = []
    for prefix, title in _MEASURES.items():
        for names, same in class_lists(groups).items():
            chosen = [place for place in colored if groups[place] in same]
            found = {place: _by_class(groups[place], names, prefix) for place in chosen}
            table = {place: row for place, row in found.items() if row}
            # In the order of the data, the background first.
            order = (n for place in table for n in groups[place].class_names if n in table[place])
            classes = list(dict.fromkeys(order))
            if classes:
                shown = _most_different(table, classes)
                figures.append(ClassFigure(title, table, shown, len(classes) - len(shown)))
    return figures


def _by_class(group: Group, names: Sequence[str], prefix: str) -> dict[str, Estimate]:
    values = {name: group.numbers(prefix + name) for name in names}
    return {name: estimate(found) for name, found in values.items() if found}


def _most_different(table: dict[int, dict[str, Estimate]], classes: Sequence[str]) -> list[str]:
    """Keep the classes with the greatest differences between groups, if there are too many."""

    def reach(name: str) -> float:
        means = [row[name].mean for row in table.values() if name in row]
        return max(means) - min(means)

    chosen = set(sorted(classes, key=reach, reverse=True)[:_CLASSES])
    return [name for name in classes if name in chosen]


def confusions(comparison: Comparison, colored: Sequence[int]) -> list[Confusion]:
    """Sum the confusion matrices of each coloured group that has any over its runs."""
    found = []
    for place in colored:
        group = comparison.groups[place]
        names = group.class_names
        counts: Floats = np.zeros((len(names), len(names)))
        for run in group.runs:
            if run.confusion is not None and len(run.confusion) == len(names):
                counts += run.confusion
        if counts.any():
            total = counts.sum(axis=1, keepdims=True)
            shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
            mistakes = _mistakes(shares, names) if len(names) > _MATRIX else []
            found.append(Confusion(place, names, shares.tolist(), mistakes))
    return found


def _mistakes(shares: Floats, names: Sequence[str]) -> list[tuple[str, str, float]]:
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(names[truth], names[pred], float(wrong[truth, pred])) for truth, pred in pairs]
