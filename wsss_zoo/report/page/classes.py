"""Numbers of the page's bars by class and confusion matrices."""

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
_CLASSES = 30
_MATRIX = 30
_PAIRS = 20

_Table = dict[int, dict[str, Estimate]]


@dataclass(frozen=True)
class ClassFigure:
    """Bars of one measure.

    Args:
        title: What is measured.
        table: Mean over its runs by class, of each group that has any, by its place.
        classes: Classes to show.
        left_out: Number of classes that are not shown.
    """

    title: str
    table: _Table
    classes: list[str]
    left_out: int


@dataclass(frozen=True)
class Confusion:
    """A group's confusion matrix, summed over its runs.

    Args:
        place: Place of the group in the table.
        names: Classes.
        shares: Share of the pixels of each true class (row) predicted as each class, (C, C).
        mistakes: Instead of a matrix that is too large to read, the most frequent mistakes: true
            class, predicted class, share.
    """

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
            table = {place: _by_class(groups[place], names, prefix) for place in chosen}
            table = {place: row for place, row in table.items() if row}
            if table:
                order = _ordered(table, groups)
                shown = _most_different(table, order)
                figures.append(ClassFigure(title, table, shown, len(order) - len(shown)))
    return figures


def _by_class(group: Group, names: Sequence[str], prefix: str) -> dict[str, Estimate]:
    values = {name: group.numbers(prefix + name) for name in names}
    return {name: estimate(found) for name, found in values.items() if found}


def _ordered(table: _Table, groups: Sequence[Group]) -> list[str]:
    """Classes in the order of the data, the background first."""
    names = (name for place in table for name in groups[place].class_names if name in table[place])
    return list(dict.fromkeys(names))


def _most_different(table: _Table, names: Sequence[str]) -> list[str]:
    """The classes with the greatest differences between groups, if there are too many."""

    def reach(name: str) -> float:
        means = [row[name].mean for row in table.values() if name in row]
        return max(means) - min(means)

    chosen = set(sorted(names, key=reach, reverse=True)[:_CLASSES])
    return [name for name in names if name in chosen]


def confusions(comparison: Comparison, colored: Sequence[int]) -> list[Confusion]:
    """Collect the confusion matrix of each coloured group that has one."""
    found = []
    for place in colored:
        group = comparison.groups[place]
        names = group.class_names
        matrices = [
            run.confusion
            for run in group.runs
            if run.confusion is not None and len(run.confusion) == len(names) > 0
        ]
        if matrices:
            counts: Floats = np.sum(matrices, axis=0)
            total = counts.sum(axis=1, keepdims=True)
            shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
            mistakes = _mistakes(shares, names) if len(names) > _MATRIX else []
            found.append(Confusion(place, names, shares.tolist(), mistakes))
    return found


def _mistakes(shares: Floats, names: Sequence[str]) -> list[tuple[str, str, float]]:
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(names[truth], names[pred], float(wrong[truth, pred])) for truth, pred in pairs]
